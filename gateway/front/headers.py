"""Which headers pass, which are the gateway's own, and what it adds."""

import base64
import re
from collections.abc import Callable, Iterable, Mapping

from multidict import CIMultiDict, MultiMapping

from gateway.balance import HOUR_SECONDS, Balance
from gateway.front.record import Record

# RFC 9110, 7.6.1: for this connection only; also whatever `Connection` names.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# All that Keepa, a third party, is told of a caller: cookies, identity tokens, addresses and traces
# stay in the house. Host, Accept-Encoding and Content-Length are the gateway's own.
_FORWARDED = frozenset(
    {"accept", "accept-language", "content-encoding", "content-type", "user-agent"}
)
# How a call asks the simulator for a fault or a delay.
_STEERING = "x-sim-"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_REFUSED = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*")
_TRACE_CHARS = 256
# W3C Trace Context, 3.2: version, trace, parent, flags; a later version may have more of them.
_TRACE = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
# What stands between commas that are in no quotes.
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"|")+')
_WAIT = re.compile(r'\s*wait\s*=\s*(?:([0-9]+)|"([0-9]+)")\s*(?:;|$)', re.IGNORECASE)
# More than anybody says: a thousand quotes would take their time.
_PREFER_FIELDS, _PREFER_CHARS = 4, 256
_LONGEST_WAIT = 10**9


def forward_request_headers(
    headers: MultiMapping[str], *, to_simulator: bool = False
) -> CIMultiDict[str]:
    """Return those of the caller's headers that Keepa gets, and the gateway's own Accept-Encoding.

    Args:
        headers: The caller's.
        to_simulator: Whether the upstream may be a simulator: then what steers it passes too.
    """
    passed = _FORWARDED - _dropped(headers, frozenset())
    forwarded = CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if (folded := name.lower()) in passed or (to_simulator and folded.startswith(_STEERING))
    )
    wanted = headers.get("Accept-Encoding")
    if wanted is not None:
        # Callers offer zstd and br too, in which nothing here could read the token fields.
        forwarded["Accept-Encoding"] = "gzip" if accepts_gzip(headers) else "identity"
    return forwarded


def forward_answer_headers(headers: MultiMapping[str]) -> CIMultiDict[str]:
    """Return Keepa's end-to-end headers."""
    dropped = _dropped(headers, HOP_BY_HOP)
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in dropped
    )


def leave_out(headers: CIMultiDict[str], is_secret: Callable[[bytes], bool]) -> bool:
    """Leave out the headers whose name or value is secret (a redirect repeats our URL); say if any.

    Args:
        headers: Is changed.
        is_secret: Whether a text shows what it must not.
    """
    lines = map(": ".join, headers.items())
    if not is_secret("\n".join(lines).encode("utf-8", "surrogateescape")):
        return False
    kept = [
        header
        for header in headers.items()
        if not is_secret(": ".join(header).encode("utf-8", "surrogateescape"))
    ]
    headers.clear()
    headers.extend(kept)
    return True


def accepts_gzip(headers: Mapping[str, str] | MultiMapping[str]) -> bool:
    """Say whether the caller takes gzip (RFC 9110, 12.5.3); who does not say gets plain text."""
    anything = False
    for choice in headers.get("Accept-Encoding", "").lower().split(","):
        coding, _, parameters = choice.partition(";")
        welcome = not _REFUSED.fullmatch(parameters)
        if coding.strip() in {"gzip", "x-gzip"}:
            return welcome
        if coding.strip() == "*":
            anything = welcome
    return anything


def given_request_id(headers: MultiMapping[str]) -> str:
    """Return the caller's `X-Request-Id` where it is harmless; empty: none, or no such."""
    given = headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else ""


def traceparent(headers: MultiMapping[str]) -> str:
    """Return the caller's W3C trace context, which passes as it is; empty: none, or no such."""
    given = headers.getall("traceparent", ())
    if len(given) != 1 or len(given[0]) > _TRACE_CHARS:
        return ""
    match = _TRACE.fullmatch(given[0])
    return given[0] if match and not (match[1] == "00" and match[2]) else ""


def credentials_of(headers: MultiMapping[str]) -> Iterable[str]:
    """Yield the keys that the headers carry: a Bearer token, a Basic password, `X-Api-Key`.

    What clients send to an HTTP proxy counts as well: HTTP_PROXY=http://name:key@gateway.
    """
    for name in ("Authorization", "Proxy-Authorization"):
        scheme, _, token = headers.get(name, "").strip().partition(" ")
        if scheme.lower() == "basic":
            token = _read_password(token)
        elif scheme.lower() != "bearer":
            continue
        if token := token.strip():
            yield token
    key = headers.get("X-Api-Key", "").strip()
    if key:
        yield key


def _read_password(token: str) -> str:
    """Return the password of a Basic token, or the user where there is none (RFC 7617)."""
    try:
        text = base64.b64decode(token).decode("utf-8", "surrogateescape")
    except ValueError:
        return ""
    user, _, password = text.partition(":")
    return password or user


def own_headers(record: Record, reserved: int, balance: Balance) -> dict[str, str]:
    """Return what the gateway adds to each response to a call.

    RateLimit and RateLimit-Policy are those of the IETF draft on RateLimit header fields: what is
    left above the floor of the caller's service, and the seconds until the next lump.
    """
    headers = {"X-Request-Id": record.request_id, "X-Keepa-Gateway-Reserved": str(reserved)}
    if balance.known:
        left = max(0, balance.available - record.asked.floor)
        seconds = -(-balance.lump_in_ms // 1000)
        headers["RateLimit-Policy"] = f'"keepa";q={balance.capacity};w={HOUR_SECONDS}'
        headers["RateLimit"] = f'"keepa";r={left};t={seconds}'
    if record.preference_applied:
        headers["Preference-Applied"] = record.preference_applied
    return headers


def preferred_wait(headers: MultiMapping[str]) -> int | None:
    """Return the seconds of `Prefer: wait=N` (RFC 7240); None: nothing that can be read as such."""
    for field in headers.getall("Prefer", ())[:_PREFER_FIELDS]:
        for preference in _PREFERENCE.findall(field[:_PREFER_CHARS]):
            match = _WAIT.match(preference)
            if match:
                # Of two, the first counts.
                return min(int(match[1] or match[2]), _LONGEST_WAIT)
    return None


def _dropped(headers: MultiMapping[str], always: frozenset[str]) -> frozenset[str]:
    """Return the names of `always`, and those that `Connection` has besides."""
    named = headers.getall("Connection", ())
    if not named:
        return always
    return always | {name.strip().lower() for value in named for name in value.split(",")}
