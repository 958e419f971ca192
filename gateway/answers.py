"""Answers of the gateway's own making, as Keepa would shape them."""

import time

import orjson
from aiohttp import web
from isal import isal_zlib

from gateway.balance import UNKNOWN, Balance
from gateway.errors import Refusal, RefusedCall, render
from gateway.headers import accepts_gzip, own_headers
from gateway.reply import Reply

_JSON = "application/json;charset=utf-8"


def refuse(
    request: web.BaseRequest, refusal: Refusal, call: RefusedCall, reserved: int = 0
) -> Reply:
    """Answer with the refusal's status, headers and JSON; `reserved` is what stays held for it."""
    balance = call.balance if refusal.shows_balance else UNKNOWN
    headers = own_headers(call.request_id, reserved, balance, call.floor) | refusal.headers
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return _send(request, refusal.status, render(refusal, call, _now_ms()), headers)


def tell_balance(request: web.BaseRequest, balance: Balance, call_id: str, floor: int) -> Reply:
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
    return _send(request, 200, body, own_headers(call_id, 0, balance, floor))


def _send(
    request: web.BaseRequest, status: int, body: dict[str, object], headers: dict[str, str]
) -> Reply:
    text = orjson.dumps(body)
    headers["Content-Type"] = _JSON
    headers["Vary"] = "Accept-Encoding"
    # Keepa's Java client un-gzips whatever comes, errors too, when it asked for gzip.
    if accepts_gzip(request.headers):
        # The quickest level: half a kilobyte is a packet either way.
        text = isal_zlib.compress(text, 0, wbits=31)
        headers["Content-Encoding"] = "gzip"
    return Reply(status, headers, text)


def _now_ms() -> int:
    return int(time.time() * 1000)
