"""Virtual time, killed and stopped machines, and connections in memory, each by itself."""

import asyncio
import random

import pytest

from simulation.loop import START, Stuck, VirtualLoop
from simulation.network import Network


@pytest.fixture
def loop():
    loop = VirtualLoop(random.Random(1))
    loop.network = Network(loop, random.Random(2), lambda *_: None)
    yield loop
    loop.bury()


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def _connect(loop):
    await loop.on_node("b", loop.create_server(Echo, "b", 1))
    return await loop.on_node("a", asyncio.open_connection("b", 1))


def test_time_jumps_to_the_next_timer(loop):
    """An hour takes no time, and timers fire at their exact moments."""
    moments = []

    async def sleep():
        for seconds in (0.1, 3600, 0.25):
            await asyncio.sleep(seconds)
            moments.append(loop.now - START)

    loop.run_until_complete(sleep())
    assert moments == [pytest.approx(0.1), pytest.approx(3600.1), pytest.approx(3600.35)]


def test_nothing_to_wait_for_is_told(loop):
    """Where nothing will ever happen the loop says so."""
    with pytest.raises(Stuck):
        loop.run_until_complete(loop.create_future())


def test_a_killed_node_runs_nothing_more(loop):
    """Not even its `finally`; and who talks to it gets a reset."""
    ran = []

    async def work():
        try:
            await asyncio.sleep(1)
        finally:
            ran.append("finally")

    async def play():
        reader, writer = await _connect(loop)
        loop.on_node("b", work())
        await asyncio.sleep(0.5)
        loop.network.kill("b")
        loop.kill("b")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await asyncio.sleep(5)

    loop.run_until_complete(play())
    assert not ran


def test_a_stopped_node_goes_on_where_it_was(loop):
    """What is due while a node is stopped runs when it continues, and not before."""
    moments = []

    async def tick():
        for _ in range(4):
            await asyncio.sleep(1)
            moments.append(round(loop.now - START, 3))

    async def play():
        ticking = loop.on_node("b", tick())
        await asyncio.sleep(1.5)
        loop.stop_node("b")
        await asyncio.sleep(10)
        loop.continue_node("b")
        await ticking

    loop.run_until_complete(play())
    assert moments == [1.0, 11.5, 12.5, 13.5]


def test_bytes_come_whole_and_in_order(loop):
    """A large text goes there and back through windows and pieces."""
    loop.network.split_share = 0.9
    loop.network.lossy = 0.05
    text = random.Random(3).randbytes(700_000)

    async def play():
        reader, writer = await _connect(loop)
        writer.write(text)
        assert await reader.readexactly(len(text)) == text
        writer.close()

    loop.run_until_complete(play())


def test_a_connection_is_cut_at_a_byte(loop):
    """Just so many bytes arrive, then both ends are reset."""

    async def play():
        reader, writer = await _connect(loop)
        (end,) = loop.network.between("a", "b")
        end.cut_after = 7
        writer.write(b"0123456789")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(10)
        assert bytes(reader._buffer) == b"0123456"
        writer.close()

    loop.run_until_complete(play())


def test_a_partition_holds_back_and_lets_go(loop):
    """What is sent through a partition comes when it is over; a swallowed one never does."""

    async def play():
        reader, writer = await _connect(loop)
        loop.network.part("a", "b")
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await reader.readexactly(4)
        loop.network.rejoin("a", "b")
        assert await reader.readexactly(4) == b"late"
        loop.network.swallow(*loop.network.between("a", "b"))
        writer.write(b"never")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(300):
                await reader.readexactly(5)
        writer.close()

    loop.run_until_complete(play())
