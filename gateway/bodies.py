"""Request bodies in memory: bounded each, and in sum."""

from aiohttp import web

from gateway.errors import BadRequest, Overloaded, TooLarge

MAX_BODY = 16 * 1024 * 1024
_FULL = "Too many request bodies wait for Keepa"
_HELD = web.RequestKey("held_body_bytes", int)


class Bodies:
    """Reads request bodies; those of all calls under way have a bound together.

    What has come is counted, not what is announced: else a few callers who announce much and send
    nothing would shut out all others.

    Args:
        at_most_bytes: Of all bodies that are held.
    """

    def __init__(self, at_most_bytes: int) -> None:
        self._free_bytes = at_most_bytes

    def check(self, request: web.BaseRequest) -> None:
        """Refuse a body that could not be held, before any of it is asked for.

        Raises:
            TooLarge: It announces more than one body may have.
            Overloaded: It announces more than there is room for.
        """
        announced = request.content_length or 0
        if announced > MAX_BODY:
            raise TooLarge
        if announced > self._free_bytes:
            raise Overloaded(_FULL)

    async def read(self, request: web.BaseRequest) -> bytes:
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
        except web.RequestPayloadError:
            raise BadRequest from None
        return bytes(body)

    def release(self, request: web.BaseRequest) -> None:
        """Count the request's body no longer: its call is over."""
        if request.body_exists:
            self._free_bytes += request.pop(_HELD, 0)

    def _take(self, request: web.BaseRequest, size: int) -> None:
        if size > self._free_bytes:
            raise Overloaded(_FULL)
        self._free_bytes -= size
        request[_HELD] = request.get(_HELD, 0) + size
