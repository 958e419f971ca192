"""How a test steers a single call through the gateway: by headers that the gateway passes on."""

import enum
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, cast

from gateway.simulator.config import ODDITIES, Oddity

MOST_BYTES = 1 << 30
"""A gigabyte of answer is enough for any test."""
MOST_MS = 600_000


class Fault(enum.StrEnum):
    """What can go wrong with a call, by the name that `X-Sim-Fault` asks for it.

    Charged are those that Keepa had already worked for; see `UNCHARGED` for the others.
    """

    CHARGE_AND_DROP = "charge_and_drop"  # charged, then the connection closes without an answer
    DROP = "drop"  # the connection closes without an answer
    CUT_BODY = "cut_body"  # charged, and the connection closes in the middle of the body
    CUT_BODY_EARLY = "cut_body_early"  # the same, before all the token fields were sent
    CUT_BODY_LATE = "cut_body_late"  # the same, after the token fields, at the very end
    HTTP_500 = "http_500"  # an error envelope
    HTML_503 = "html_503"  # a web page, as from something in front of Keepa
    EMPTY_502 = "empty_502"  # nothing but a status
    ERROR_IN_200 = "error_in_200"  # charged, and an error envelope with status 200
    SLOW_BODY = "slow_body"  # charged, headers at once, the body spread over some time
    SLOW_HEAD = "slow_head"  # charged, nothing for some time, then the answer
    CHARGE_THEN_HTML = "charge_then_html"  # charged, and a web page with status 500
    ALL_ZERO = "all_zero"  # the answer to a wrong key


UNCHARGED = frozenset({Fault.DROP, Fault.HTTP_500, Fault.HTML_503, Fault.EMPTY_502, Fault.ALL_ZERO})
NO_FAULT: Final = "none"


class Steering(NamedTuple):
    """What the headers of a call ask for; None: as the simulator is configured.

    Attributes:
        fault: the fault to suffer; `NO_FAULT`: none, whatever the fault rate.
        latency_seconds: between charge and answer.
        padding: bytes of product data to add, before compression.
        order: of the token fields.
        slow_seconds: how slow `slow_head` and `slow_body` are.
        odd: what is wrong with the answer.
    """

    fault: Fault | Literal["none"] | None = None
    latency_seconds: float | None = None
    padding: int = 0
    order: Literal["first", "sorted"] | None = None
    slow_seconds: float = 1.0
    odd: Oddity | None = None


UNSTEERED = Steering()


def read_steering(headers: Mapping[str, str]) -> Steering:
    """Read the `X-Sim-` headers; raises ValueError for one that asks for what there is not."""
    fault = headers.get("X-Sim-Fault")
    latency = headers.get("X-Sim-Latency-Ms")
    padding = headers.get("X-Sim-Bytes")
    order = headers.get("X-Sim-Order")
    slow = headers.get("X-Sim-Slow-Seconds")
    odd = headers.get("X-Sim-Odd")
    if fault is latency is padding is order is slow is odd is None:
        return UNSTEERED
    if order not in {None, "first", "sorted"}:
        raise ValueError(f"X-Sim-Order must be first or sorted, got {order!r}")
    if odd is not None and odd not in ODDITIES:
        raise ValueError(f"X-Sim-Odd must be one of {', '.join(ODDITIES)}, got {odd!r}")
    return Steering(
        fault=_read_fault(fault),
        latency_seconds=None if latency is None else _read_number(latency, MOST_MS) / 1000,
        padding=0 if padding is None else int(_read_number(padding, MOST_BYTES)),
        order=cast("Literal['first', 'sorted'] | None", order),
        slow_seconds=UNSTEERED.slow_seconds if slow is None else _read_number(slow, MOST_MS / 1000),
        odd=odd,
    )


def _read_fault(text: str | None) -> Fault | Literal["none"] | None:
    if text is None:
        return None
    return NO_FAULT if text == NO_FAULT else Fault(text)


def _read_number(text: str, most: float) -> float:
    number = float(text)
    if not 0 <= number <= most:  # not a number is not in any range either
        raise ValueError(f"a number from 0 to {most} is needed, got {text!r}")
    return number
