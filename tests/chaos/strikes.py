"""How a fault is made on entry and lifted on exit: on the wires, in Redis, to the gateways."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from support.network.fault_proxy import FaultProxy
from support.waiting import until

from chaos.fleet import REPLICAS, Fleet

# The gateway is connected again a quarter of a second after a loss, and gets some work done.
_AGAIN_SECONDS = 0.4

Strike = Callable[[Fleet], AbstractAsyncContextManager[None]]


def _wires(fleet: Fleet, of: str) -> list[FaultProxy]:
    return fleet.to_redis if of == "redis" else fleet.to_keepa


def on_wires(
    of: str, act: Callable[[FaultProxy], None], *, again: bool = False, first_only: bool = False
) -> Strike:
    """Do that to the wires, once or again and again; then lift it."""

    @asynccontextmanager
    async def strike(fleet: Fleet) -> AsyncIterator[None]:
        wires = _wires(fleet, of)[: 1 if first_only else None]

        async def keep_acting() -> None:
            while True:
                await asyncio.sleep(_AGAIN_SECONDS)
                for wire in wires:
                    act(wire)

        for wire in wires:
            act(wire)
        acting = asyncio.create_task(keep_acting()) if again else None
        try:
            yield
        finally:
            if acting:
                acting.cancel()
                with suppress(asyncio.CancelledError):
                    await acting
            for wire in wires:
                await wire.lift()

    return strike


def delay_and_cut(wire: FaultProxy) -> None:
    """Be late from the connection's greeting on."""
    wire.delay(0.5)
    wire.cut()


@asynccontextmanager
async def halt_redis(fleet: Fleet) -> AsyncIterator[None]:
    fleet.redis.stop()
    try:
        yield
    finally:
        fleet.redis.proceed()


@asynccontextmanager
async def kill_redis(fleet: Fleet) -> AsyncIterator[None]:
    fleet.redis.kill()
    try:
        yield
    finally:
        await asyncio.to_thread(fleet.redis.start)


@asynccontextmanager
async def empty_redis(fleet: Fleet) -> AsyncIterator[None]:
    await fleet.empty_redis()
    try:
        yield
    finally:
        await asyncio.to_thread(fleet.redis.start)


def command(*words: str, lift: tuple[str, ...] = ()) -> Strike:
    @asynccontextmanager
    async def strike(fleet: Fleet) -> AsyncIterator[None]:
        assert fleet.redis.command(*words).startswith(b"+OK")
        try:
            yield
        finally:
            if lift:
                assert fleet.redis.command(*lift).startswith(b"+OK")

    return strike


@asynccontextmanager
async def calls_suffer(_: Fleet) -> AsyncIterator[None]:
    """The calls' own headers ask the simulator for the fault."""
    yield


@asynccontextmanager
async def spend_all(fleet: Fleet) -> AsyncIterator[None]:
    """Somebody else spends all that is left, and it comes back."""
    left = await fleet.simulator.balance()
    await fleet.sim("/sim/spend", tokens=max(0, left))
    try:
        yield
    finally:
        await fleet.set_balance(max(left, 20))


@asynccontextmanager
async def kill_one(fleet: Fleet) -> AsyncIterator[None]:
    fleet.gateways[0].kill()
    try:
        yield
    finally:
        await fleet.replace(0)


@asynccontextmanager
async def stop_one(fleet: Fleet) -> AsyncIterator[None]:
    leaving = fleet.gateways[0]
    leaving.terminate()
    try:
        yield
    finally:
        await until(lambda: leaving.has_ended, 10)
        assert leaving.process.returncode == 0
        await fleet.replace(0)


@asynccontextmanager
async def kill_all(fleet: Fleet) -> AsyncIterator[None]:
    for gateway in fleet.gateways:
        gateway.kill()
    try:
        yield
    finally:
        await asyncio.gather(*(fleet.replace(place) for place in range(REPLICAS)))
