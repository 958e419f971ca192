"""One Keepa account: its bucket, what it has been asked, and what it answers."""

import collections
import functools
import random
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from gateway.simulator.answers import Data, Manner, describe, describe_error
from gateway.simulator.bucket import Bucket
from gateway.simulator.call import Call, RejectedCallError, read_call
from gateway.simulator.charge import Charge
from gateway.simulator.charges import ENDPOINTS, domain_of, price
from gateway.simulator.checks import check
from gateway.simulator.config import Oddity, SimulatorConfig
from gateway.simulator.fields import TokenFields
from gateway.simulator.pictures import Pictures
from gateway.simulator.shelf import Shelf
from gateway.simulator.steering import NO_FAULT, Fault


class Reply(NamedTuple):
    """What a call came to; the token fields are added when it is sent.

    Attributes:
        status: of the answer.
        data: of the answer; None: the picture of `/graphimage`, which has no token fields.
        consumed: what was charged, in tokens.
        key_known: False: all the token fields are zero.
    """

    status: int
    data: Data | None
    consumed: int = 0
    key_known: bool = True


read_again = functools.lru_cache(maxsize=256)(read_call)
"""`read_call` for calls that come again and again, as in a benchmark."""

LONGEST_KEPT_QUERY = 512
FAULTS = tuple(Fault)
NOT_ENOUGH = Reply(429, describe_error("notEnoughTokens", "the token balance is used up"))
WRONG_KEY = Reply(400, describe_error("invalidKey", "the API key is not known"), key_known=False)


class Received(NamedTuple):
    """A call as it arrived, byte for byte, for tests of what a proxy passes on."""

    method: str
    raw_path: str
    raw_headers: tuple[tuple[bytes, bytes], ...]
    body_bytes: int
    body_sha256: str

    def report(self) -> dict[str, Any]:
        """Put it in JSON's terms: header lines in order as pairs; Latin-1 keeps each byte."""
        return {
            **self._asdict(),
            "raw_path": self.raw_path.encode("utf-8", "surrogateescape").decode("latin-1"),
            "raw_headers": [[part.decode("latin-1") for part in line] for line in self.raw_headers],
        }


class Account:
    """The simulated account behind one key.

    Args:
        config: how it begins, and what `reset` returns to.
        clock: the time in seconds since 1970.
    """

    def __init__(self, config: SimulatorConfig, clock: Callable[[], float]) -> None:
        self.config = config
        self.in_flight = 0
        self._clock = clock
        self._chance = random.Random()  # noqa: S311 - seeded: the same faults on every run
        self._answered_first = False
        self.reset()

    def reset(self, tokens: int | None = None, first_lump_in_ms: int | None = None) -> None:
        """Begin anew: balance, phase, counts, copies, chance; calls in flight stay counted."""
        config = self.config
        self.bucket = Bucket(
            config.tokens if tokens is None else tokens,
            config.refill_rate,
            self.now_ms(),
            flow_reduction=config.flow_reduction,
            first_lump_in_ms=(
                config.first_lump_in_ms if first_lump_in_ms is None else first_lump_in_ms
            ),
        )
        self._chance.seed(config.seed)
        self._pictures = Pictures()
        self._shelf = Shelf(self.now_ms)
        self._calls: collections.Counter[str] = collections.Counter()
        self._faults: collections.Counter[str] = collections.Counter()
        self._refused = 0
        self._last: Received | None = None
        self._last_by_endpoint: dict[str, Received] = {}

    def change(self, config: SimulatorConfig) -> None:
        """Take over another configuration, live; where it begins counts at the next `reset`."""
        self.bucket.change_rate(config.refill_rate, config.flow_reduction, self.now_ms())
        if config.seed != self.config.seed:
            self._chance.seed(config.seed)
        self.config = config

    def now_ms(self) -> int:
        """Tell the time."""
        return int(self._clock() * 1000)

    def note(self, endpoint: str, received: Received) -> None:
        """Count a call that arrived, and keep its head for `state`."""
        known = endpoint if endpoint in ENDPOINTS else "other"
        self._calls[known] += 1
        self._last = self._last_by_endpoint[known] = received

    def choose_fault(self, asked: Fault | Literal["none"] | None) -> Fault | None:
        """Choose the fault a call suffers: the one asked for, else by the fault rate."""
        fault = None if asked == NO_FAULT else asked
        if asked is None and self.config.fault_rate > self._chance.random():
            fault = self._chance.choice(FAULTS)
        if fault is not None:
            self._faults[fault.value] += 1
        return fault

    def run(
        self, endpoint: str, query: str, body: bytes, padding: int, odd: Oddity | None = None
    ) -> Reply:
        """Run a call: read it, charge it, find what it asks for; never raises.

        Args:
            endpoint: the path without slashes.
            query: the raw query string.
            body: as received.
            padding: bytes of product data to add.
            odd: what is wrong with the answer; None: as configured.
        """
        read = read_again if not body and len(query) <= LONGEST_KEPT_QUERY else read_call
        call = read(endpoint, query, body)
        if self.config.api_key not in {None, call.params.get("key")}:
            return WRONG_KEY
        try:
            call = call if self.config.lenient else check(call)
            charge = price(call, self._shelf)
        except RejectedCallError as rejection:
            error = describe_error("invalidParameter", rejection.message, rejection.details)
            return Reply(rejection.status, error)
        return self._charge(call, charge, padding, odd)

    def _charge(self, call: Call, charge: Charge, padding: int, odd: Oddity | None) -> Reply:
        now_ms, tokens = self.now_ms(), charge.tokens
        picture = charge.items[0] if call.endpoint == "graphimage" else None
        if picture is not None and self._pictures.is_kept(picture, now_ms):
            tokens = 0
        if not self.bucket.charge(tokens, now_ms):
            self._refused += 1
            return NOT_ENOUGH
        if picture is not None:
            self._pictures.keep(picture, now_ms)
            return Reply(200, None, tokens)
        domain = domain_of(call)
        for product in charge.products:
            self._shelf.put(domain, product.asin, product.copy)
        config = self.config
        manner = Manner(self._shelf.began, padding, config.decoys, odd or config.odd)
        return Reply(200, describe(call, charge, manner), tokens)

    def read_fields(self, reply: Reply, received_ms: int) -> TokenFields:
        """Read the token fields as they are now, for an answer about to be sent."""
        now_ms = self.now_ms()
        if not reply.key_known:
            return TokenFields(now_ms, 0, 0, 0, 0.0, 0, 0)
        return TokenFields(
            timestamp=now_ms,
            tokens_left=self.bucket.balance(now_ms),
            refill_in=self.bucket.refill_in_ms(now_ms),
            refill_rate=self.bucket.refill_rate,
            token_flow_reduction=float(self.bucket.flow_reduction),
            tokens_consumed=reply.consumed,
            processing_time_in_ms=max(0, now_ms - received_ms),
        )

    def choose_order(self, asked: Literal["first", "sorted"] | None) -> Literal["first", "sorted"]:
        """Choose the order of an answer's token fields: the one asked for, else as configured."""
        order = asked or self.config.field_order
        if order == "alternate":
            self._answered_first = not self._answered_first
            return "first" if self._answered_first else "sorted"
        return order

    def state(self) -> dict[str, Any]:
        """Tell the truth about the account, in JSON's terms; see `GET /sim/state`."""
        now_ms = self.now_ms()
        bucket = self.bucket
        return {
            "tokens_left": bucket.balance(now_ms),
            "lowest_balance": bucket.lowest,
            "lowest_balance_by_charge": bucket.lowest_by_charge,
            "refill_in_ms": bucket.refill_in_ms(now_ms),
            "refill_rate": bucket.refill_rate,
            "flow_reduction": bucket.flow_reduction,
            "capacity": bucket.capacity,
            "charged_total": bucket.charged_total,
            "spent_total": bucket.spent_total,
            "gained_total": bucket.gained_total,
            "lost_total": bucket.lost_total,
            "calls_total": self._calls.total(),
            "calls": dict(self._calls),
            "refused_total": self._refused,
            "faults": dict(self._faults),
            "in_flight": self.in_flight,
            "last_call": None if self._last is None else self._last.report(),
            "last_call_by_endpoint": {
                endpoint: received.report() for endpoint, received in self._last_by_endpoint.items()
            },
        }
