"""Short words for what ledger tests do over and over: know a balance, reserve, settle, look."""

import time

from gateway.ledger import (
    Admission,
    Ask,
    Code,
    Hold,
    Ledger,
    Observation,
    Overview,
    Purpose,
    Reply,
    Terms,
    Usage,
)
from gateway.ledger.replies import read_reply
from gateway.ledger.scripts import Script

MICRO = 1_000_000


def observed(
    tokens: int,
    refill_in_ms: int = 30_000,
    *,
    age: float = 0.0,
    rate: int = 20,
    flow: float = 0.0,
) -> Observation:
    """Return what an answer says whose headers came `age` seconds ago."""
    return Observation(tokens, refill_in_ms, rate, int(flow * MICRO), time.monotonic() - age)


async def know(
    ledger: Ledger,
    tokens: int,
    refill_in_ms: int = 30_000,
    *,
    age: float = 0.0,
    rate: int = 20,
    flow: float = 0.0,
) -> None:
    """Observe a `/token` answer, as of now."""
    turn = await ledger.claim(at_once=True)
    assert turn.code == Code.DONE, turn
    await ledger.observe(turn, observed(tokens, refill_in_ms, age=age, rate=rate, flow=flow))


async def reserve(ledger: Ledger, name: str, tokens: int, floor: int = 10) -> Hold:
    """Reserve, and insist on being admitted."""
    admission = await ledger.reserve(Ask(name, tokens, Terms(floor), "shop", "product"))
    assert admission.code == Code.DONE, admission
    assert admission.hold
    return admission.hold


async def ask(ledger: Ledger, name: str, tokens: int, floor: int = 10) -> int:
    """Reserve, whatever comes of it; return the code."""
    return (await ledger.reserve(Ask(name, tokens, Terms(floor), "shop", "product"))).code


async def ask_under(
    ledger: Ledger,
    name: str,
    tokens: int,
    terms: Terms,
    service: str = "shop",
    *,
    purpose: Purpose = Purpose.ADMIT,
) -> Admission:
    """Reserve under a service's own terms, whatever comes of it."""
    return await ledger.reserve(Ask(name, tokens, terms, service, "product", purpose=purpose))


async def reserve_under(
    ledger: Ledger, name: str, tokens: int, terms: Terms, service: str = "shop"
) -> Hold:
    """Reserve under a service's own terms, and insist on being admitted."""
    admission = await ask_under(ledger, name, tokens, terms, service)
    assert admission.code == Code.DONE, admission
    assert admission.hold
    return admission.hold


async def settle(
    ledger: Ledger, hold: Hold, consumed: int, observation: Observation | None = None
) -> None:
    """Settle, and wait until the store has it."""
    ledger.settle(hold, consumed, observation)
    assert await ledger.delivered(2)


async def release(ledger: Ledger, hold: Hold) -> None:
    """Release, and wait until the store has it."""
    ledger.release(hold)
    assert await ledger.delivered(2)


def record(*fields: str | int) -> str:
    """Return fields as the scripts read them."""
    return "|".join(map(str, fields))


def ended(hold: Hold, consumed: str | int, *observation: int) -> tuple[str, str]:
    """Return the arguments of a settle."""
    return hold.ended_record(consumed), record(*observation)  # type: ignore[arg-type]


async def run(ledger: Ledger, script: Script, *arguments: str | int) -> Reply:
    """Run one transition with arguments of the test's own, as a resent copy would."""
    return read_reply(await ledger.store.run(script, ledger._keys, lambda: arguments))


async def tokens(ledger: Ledger) -> int:
    """Return T, after whatever is due."""
    return (await ledger.overview()).balance.tokens


async def accounts(ledger: Ledger) -> tuple[int, int, int]:
    """Return T, held and C."""
    look: Overview = await ledger.overview()
    return look.balance.tokens, look.balance.held, look.balance.consumed


def tallies(look: Overview, service: str = "shop") -> tuple[int, int, int]:
    """Return the service's tokens used, calls refused, tokens held."""
    usage = look.services[service]
    return usage.used, usage.denied, usage.reserved


async def usage(ledger: Ledger, service: str = "shop") -> Usage:
    """Return what `/status` tells of the service."""
    return (await ledger.overview()).services[service]
