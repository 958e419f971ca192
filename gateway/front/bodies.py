"""Request bodies: in memory, bounded each and in sum; and what they may be."""

from aiohttp.web import RequestPayloadError

from gateway.errors import BadRequest, Overloaded, TooLarge, UnsupportedMediaType
from gateway.front.request import Request

MAX_BODY = 16 * 1024 * 1024
_FULL = "Too many request bodies wait for Keepa"

# These read a form; what else comes would be priced without being read, and a key in it pass.
_FORM_ENDPOINTS = frozenset(
    {
        "bestsellers", "category", "graphimage", "lightningdeal", "product", "search", "seller",
        "token", "topseller",
    }
)  # fmt: skip
_FORM_DATA = b"--"
# JSON, XML, and what marks the order of bytes in front of either: a form begins with a name.
_NO_FORM = frozenset(b'{["<\xef\xff\xfe\0')
# How a member of JSON ends that holds a key: `key`, `apikey`, `apiKey`; none that Keepa documents.
_KEY_MEMBERS = (b'key"', b'Key"')
# Values may end so too. Each takes a step of Python, and a body has room for millions.
_KEYS_AT_MOST = 100
_COLON_WITHIN_BYTES = 64
# Above the largest genuine body; to search 16 MiB would keep the event loop from all others.
_SEARCHED_BYTES = 2 * 1024 * 1024


def reads_as_form(method: str, endpoint: str, body: bytes) -> bool:
    """Say whether a body is a form by its first bytes, whatever it is labelled; one of none is.

    Raises:
        UnsupportedMediaType: The endpoint does not read such a body, or the caller's key is in it
            where it cannot be taken out.
    """
    signs = body.lstrip()[:2]
    if not signs or (signs[0] not in _NO_FORM and signs != _FORM_DATA):
        return True
    if signs == _FORM_DATA or (method == "POST" and endpoint.lower() in _FORM_ENDPOINTS):
        raise UnsupportedMediaType
    if any(_has_member(body, name) for name in _KEY_MEMBERS):
        raise UnsupportedMediaType(
            "A key inside JSON names nobody: send it in the query or as `Authorization: Bearer`"
        )
    return False


def _has_member(body: bytes, name: bytes) -> bool:
    at = -1
    for _ in range(_KEYS_AT_MOST):
        at = body.find(name, at + 1, _SEARCHED_BYTES)
        if at < 0:
            return False
        after = at + len(name)
        if body[after : after + _COLON_WITHIN_BYTES].lstrip()[:1] == b":":
            return True
    return True


class Bodies:
    """Reads request bodies; those of all calls under way have a bound together.

    What has come is counted, not what is announced: else a few callers who announce much and send
    nothing would shut out all others.

    Args:
        at_most_bytes: Of all bodies that are held.
    """

    def __init__(self, at_most_bytes: int) -> None:
        self._free_bytes = at_most_bytes

    def check(self, request: Request) -> None:
        """Refuse a body that could not be held, before any of it is asked for.

        Raises:
            TooLarge: It announces more than one body may have.
            Overloaded: It announces more than there is room for.
        """
        announced = request.content_length
        if announced > MAX_BODY:
            raise TooLarge
        if announced > self._free_bytes:
            raise Overloaded(_FULL)

    async def read(self, request: Request) -> bytes:
        """Return the body; it counts until it is released.

        Raises:
            TooLarge: More came than one body may have.
            Overloaded: More came than there is room for.
            BadRequest: Its framing is broken.
        """
        body = bytearray()
        try:
            while piece := await request.content.readany():
                self._take(request, len(piece))
                body += piece
                if len(body) > MAX_BODY:
                    raise TooLarge
        except RequestPayloadError:
            raise BadRequest from None
        return bytes(body)

    def release(self, request: Request) -> None:
        """Count the request's body no longer: its call is over."""
        if request.held_bytes:
            self._free_bytes += request.held_bytes
            request.held_bytes = 0

    def _take(self, request: Request, size: int) -> None:
        if size > self._free_bytes:
            raise Overloaded(_FULL)
        self._free_bytes -= size
        request.held_bytes += size
