"""Responses of the gateway's own making, as Keepa would shape its answers."""

import struct
import time
from collections.abc import Iterable
from typing import Any

import orjson
from isal import isal_zlib

from gateway.balance import UNKNOWN, Balance
from gateway.errors import Refusal
from gateway.front.headers import accepts_gzip, own_headers
from gateway.front.record import Record
from gateway.front.request import Request
from gateway.front.response import Response
from gateway.front.wording import deficit_of, describe

_JSON = "application/json;charset=utf-8"
# What a caller is told to wait when waiting will not help (Keepa's clients sleep `refillIn` and ask
# again, for ever): an hour keeps them quiet. Without a balance at hand a minute, one lump.
_NEVER_MS = 3_600_000
_NO_BALANCE_MS = 60_000
# RFC 1952, 2.3: deflate, no time, no name, an unknown system. RFC 1951, 3.2.4: one last block,
# stored, its length and that inverted. Then the text's checksum and length.
_GZIP_HEAD = bytes.fromhex("1f8b 08 00 00000000 00 ff 01")
_BLOCK_LENGTH = struct.Struct("<HH")
_GZIP_TAIL = struct.Struct("<LL")


def refuse(request: Request, refusal: Refusal, record: Record, reserved: int = 0) -> Response:
    """Respond with the refusal's status, headers and JSON; `reserved` is what stays held for it."""
    balance = record.balance if refusal.shows_balance else UNKNOWN
    headers = own_headers(record, reserved, balance) | refusal.headers
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return _send(request, refusal.status, render(refusal, record, _now_ms()), headers)


def turn_away(request: Request, refusal: Refusal) -> Response:
    """Refuse a request that never became a call."""
    return refuse(request, refusal, Record(request.request_id))


def quote(
    request: Request,
    refusal: Refusal | None,
    record: Record,
    parts: Iterable[tuple[str, int]],
) -> Response:
    """Respond with what would be told to a call: its refusal, or that it would be admitted."""
    body = render(refusal or Refusal(), record, _now_ms())
    del body["error"]
    if refusal is None:
        refill_in = max(1, record.balance.lump_in_ms)
        body |= {"reason": None, "retryable": True, "retry_after_seconds": 0, "refillIn": refill_in}
    body["admitted"] = refusal is None
    body["parts"] = [{"what": what, "tokens": tokens} for what, tokens in parts]
    return _send(request, 200, body, own_headers(record, 0, record.balance))


def tell_balance(request: Request, balance: Balance, record: Record) -> Response:
    """Answer `/token` from the ledger, in Keepa's own shape: what is left is what is available."""
    body: dict[str, object] = {
        "timestamp": _now_ms(),
        "tokensLeft": balance.available,
        "refillIn": balance.lump_in_ms,
        "refillRate": balance.refill_rate,
        "tokenFlowReduction": balance.flow_reduction,
        "tokensConsumed": 0,
        "processingTimeInMs": 0,
    }
    return _send(request, 200, body, own_headers(record, 0, balance))


def _send(
    request: Request, status: int, body: dict[str, object], headers: dict[str, str]
) -> Response:
    text = orjson.dumps(body)
    headers["Content-Type"] = _JSON
    headers["Vary"] = "Accept-Encoding"
    # Keepa's Java client un-gzips whatever comes, errors too, when it asked for gzip.
    if accepts_gzip(request.headers):
        text = _as_gzip(text)
        headers["Content-Encoding"] = "gzip"
    return Response(status, headers, text)


def _as_gzip(text: bytes) -> bytes:
    """Return a text of less than 64 KiB as gzip, stored: half a kilobyte is a packet either way.

    To look for what repeats in it takes four times as long, and finds next to nothing.
    """
    size = len(text)
    length = _BLOCK_LENGTH.pack(size, size ^ 0xFFFF)
    return b"".join((_GZIP_HEAD, length, text, _GZIP_TAIL.pack(isal_zlib.crc32(text), size)))


def _now_ms() -> int:
    return int(time.time() * 1000)


def render(refusal: Refusal, record: Record, now_ms: int) -> dict[str, Any]:
    """Return the refusal as the contract's one JSON shape.

    The upper half is for people and programs that know the gateway; from `timestamp` on it is what
    Keepa's Java, PHP and Python clients read to wait just long enough: integers, `refillIn` > 0,
    `refillRate` > 0, `tokensLeft` >= 0.
    """
    shows = refusal.shows_balance and record.balance.known
    asked, balance = record.asked, record.balance
    if refusal.shows_balance:
        refill_in = refusal.retry_after_ms if refusal.retryable else _NEVER_MS
    else:
        refill_in = _NO_BALANCE_MS
    answer = {
        "error": {
            "type": refusal.type,
            "message": describe(refusal, record),
            "details": asked.endpoint,
        },
        "reason": refusal.reason,
        "endpoint": asked.endpoint,
        "service": asked.service,
        "request_id": record.request_id,
        "current_balance": balance.available if shows else None,
        "required_tokens": asked.required_tokens if refusal.shows_balance else None,
        "floor": asked.floor if refusal.shows_balance else None,
        "deficit": deficit_of(refusal, record),
        "reserved": balance.held if shows else None,
        "capacity": balance.capacity if shows else None,
        "retryable": refusal.retryable,
        "retry_after_seconds": refusal.retry_after_seconds,
        "max_items_now": record.max_items_now,
        "timestamp": now_ms,
        "tokensLeft": max(0, balance.available) if shows else 0,
        "refillIn": max(1, refill_in or _NO_BALANCE_MS),
        "refillRate": max(1, balance.refill_rate) if refusal.shows_balance else 1,
        "tokenFlowReduction": balance.flow_reduction if shows else 0.0,
        "tokensConsumed": 0,
        "processingTimeInMs": 0,
    }
    if record.max_items_now is None:
        del answer["max_items_now"]
    return answer
