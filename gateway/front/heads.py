"""What a request's head may be, and what is told of one that is not."""

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http_exceptions import LineTooLong

from gateway.errors import BadRequest, InternalError, Refusal, TooLarge, UriTooLong

# Above the longest URL that a call may have, so that the intake refuses it and not the parser.
MAX_LINE = 136 * 1024
# All headers of a request together, and how many.
MAX_HEADERS = 64 * 1024
MAX_HEADER_LINES = 128


def check_head(request: web.BaseRequest) -> None:
    """Refuse a head that another server might read otherwise, or that is too large.

    Raises:
        BadRequest: No HTTP/1.0 or 1.1, or a framing in doubt (RFC 9112, 6.1).
        TooLarge: All its headers together.
    """
    headers = request.headers
    if request.version not in {HttpVersion11, HttpVersion10}:
        raise BadRequest
    codings = headers.getall("Transfer-Encoding", ())
    if codings and (
        request.version == HttpVersion10 or [coding.lower() for coding in codings] != ["chunked"]
    ):
        raise BadRequest
    if sum(map(len, headers)) + sum(map(len, headers.values())) > MAX_HEADERS:
        raise too_large_headers()


def too_large_headers() -> TooLarge:
    """Return the refusal of a request with more headers than it may have."""
    return TooLarge("The request's headers are larger than 64 KiB")


def refusal_of(status: int, fault: BaseException | None) -> Refusal:
    """Return what is told of a fault that aiohttp would answer with that status."""
    if isinstance(fault, Refusal):
        return fault
    if status != BadRequest.status:
        return InternalError()
    if isinstance(fault, LineTooLong):
        return UriTooLong() if fault.args[1] == MAX_LINE else too_large_headers()
    return BadRequest()
