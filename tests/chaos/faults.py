"""What fails, for how long, and what callers may be told meanwhile."""

from dataclasses import dataclass

from support.network.fault_proxy import Direction, FaultProxy

from chaos import strikes
from chaos.fleet import UPSTREAM_SECONDS
from chaos.strikes import Strike, command, on_wires

_PAGE = b"<html><body><h1>Please try again later</h1></body></html>"
_PAGE_503 = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)
)
_GARBAGE = b"\x16\x03\x01\x00\x05 no HTTP at all \xff\xfe\r\n\r\n\x00" * 3
_LESS_MEMORY = ("CONFIG", "SET", "maxmemory", "1")
_MORE_MEMORY = ("CONFIG", "SET", "maxmemory", "0")
# Longer than the gateway waits for Redis, or for Keepa.
_REDIS_SECONDS = 1.2
_TIME_OUT_SECONDS = UPSTREAM_SECONDS + 0.5
_LEDGER = "503 ledger_unavailable"
_UNKNOWN = "503 balance_unknown"
_UNREACHABLE = "502 upstream_unreachable"
_TIMEOUT = "504 upstream_timeout"
_OPEN = "503 circuit_open"
_GONE = frozenset({"gone"})


@dataclass(frozen=True)
class Fault:
    """One thing that fails.

    Attributes:
        of: what it befalls: `redis`, `keepa` or `gateway`.
        strike: makes it on entry and lifts it on exit.
        told: what callers may be told because of it, besides answers, `429 floor` and `must`.
        seconds: how long it stands.
        headers: of the calls made while it stands.
        spares_calls: whether calls that were under way at Keepa are answered all the same.
        serves: whether some of the calls made while it stands are answered.
        must: what some caller has to be told; else the fault did not strike.
    """

    of: str
    name: str
    strike: Strike
    told: frozenset[str]
    seconds: float = _REDIS_SECONDS
    headers: tuple[str, ...] = ()
    spares_calls: bool = False
    serves: bool = False
    must: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        return f"{self.of} {self.name}"


def _redis(name: str, strike: Strike, *told: str, away: bool = True, **more: object) -> Fault:
    """Name a fault of Redis; `away`: calls are refused for it."""
    must = frozenset({_LEDGER} if away else ())
    return Fault("redis", name, strike, frozenset(told), spares_calls=True, must=must, **more)


def _keepa(name: str, strike: Strike, *told: str, seconds: float = 0.8, **more: object) -> Fault:
    """Name a fault of Keepa; retries and the circuit breaker may follow from any."""
    may = frozenset({_UNREACHABLE, _TIMEOUT, _OPEN, _UNKNOWN, *told})
    return Fault("keepa", name, strike, may, seconds, **more)


FAULTS = (
    _redis("refuses", on_wires("redis", FaultProxy.refuse)),
    _redis("cut", on_wires("redis", FaultProxy.cut), seconds=0.5, serves=True),
    _redis("cut again and again", on_wires("redis", FaultProxy.cut, again=True), serves=True),
    _redis("reply lost", on_wires("redis", FaultProxy.lose_reply, again=True), serves=True),
    _redis("reply cut", on_wires("redis", lambda wire: wire.cut_answers(20))),
    _redis("silent", on_wires("redis", FaultProxy.fall_silent)),
    _redis("black hole", on_wires("redis", FaultProxy.swallow)),
    _redis("answers stalled", on_wires("redis", lambda wire: wire.stall(Direction.ANSWER))),
    # Merely slow: nobody is refused for it, and it can be connected to.
    _redis("late", on_wires("redis", lambda wire: wire.delay(0.5)), away=False, serves=True),
    _redis("cut and late", on_wires("redis", strikes.delay_and_cut), seconds=2.5, serves=True),
    # Replies come in parts: three times as fast as the calls need them, and never whole in time.
    _redis(
        "trickle", on_wires("redis", lambda wire: wire.trickle(12_000)), away=False, serves=True
    ),
    _redis("starved", on_wires("redis", lambda wire: wire.trickle(100))),
    _redis("away from one", on_wires("redis", FaultProxy.swallow, first_only=True), serves=True),
    _redis("halted", strikes.halt_redis),
    _redis("killed and emptied", strikes.empty_redis, _UNKNOWN),
    _redis("killed and restored", strikes.kill_redis, _UNKNOWN),
    _redis("scripts flushed", command("SCRIPT", "FLUSH"), away=False, seconds=0.3, serves=True),
    _redis("flushed", command("FLUSHALL"), _UNKNOWN, away=False, seconds=0.3),
    _redis("full", command(*_LESS_MEMORY, lift=_MORE_MEMORY)),
    _keepa("refuses", on_wires("keepa", FaultProxy.refuse), "cut"),
    _keepa("cut", on_wires("keepa", FaultProxy.cut), "cut", seconds=0.3),
    _keepa("answer lost", on_wires("keepa", lambda wire: wire.cut_answers(0)), "cut"),
    _keepa("body cut", on_wires("keepa", lambda wire: wire.cut_answers(400)), "cut"),
    _keepa("silent", on_wires("keepa", FaultProxy.fall_silent), "cut", seconds=_TIME_OUT_SECONDS),
    _keepa("black hole", on_wires("keepa", FaultProxy.swallow), "cut", seconds=_TIME_OUT_SECONDS),
    _keepa("late", on_wires("keepa", lambda wire: wire.delay(0.3)), serves=True),
    _keepa("trickle", on_wires("keepa", lambda wire: wire.trickle(20_000)), "cut", serves=True),
    _keepa("5xx page", on_wires("keepa", lambda wire: wire.say(_PAGE_503)), "503 page", "cut"),
    _keepa(
        "5xx with envelope", strikes.calls_suffer, "500 keepa", headers=("X-Sim-Fault: http_500",)
    ),
    _keepa("429 of its own", strikes.spend_all, "429 keepa"),
    _keepa("garbage", on_wires("keepa", lambda wire: wire.say(_GARBAGE)), "cut"),
    Fault("gateway", "one killed", strikes.kill_one, frozenset({"cut"}), serves=True, must=_GONE),
    Fault(
        "gateway",
        "one stopped",
        strikes.stop_one,
        frozenset({"gone"}),
        spares_calls=True,
        serves=True,
    ),
    Fault("gateway", "all killed", strikes.kill_all, frozenset({"cut"}), seconds=0.3, must=_GONE),
)
