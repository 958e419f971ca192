"""One request of a caller's, on the connection that it came on."""

from typing import Protocol, cast

from aiohttp import web

from gateway.front.headers import given_request_id


class Connection(Protocol):
    """What a request knows of its caller's connection; nobody else touches the socket."""

    @property
    def is_ending(self) -> bool:
        """Whether the response under way is the connection's last."""

    @property
    def is_surplus(self) -> bool:
        """Whether there are too many connections for it to make calls."""

    @property
    def has_left(self) -> bool:
        """Whether the caller has gone."""

    def new_id(self) -> str:
        """Return a request id, one gateway's own."""

    def cancel_if_left(self) -> None:
        """From now on, a caller who leaves cancels what is done for it."""

    def carry_on(self) -> None:
        """From now on, a caller who leaves changes nothing."""

    def abort(self) -> None:
        """Close at once; what is not sent is dropped."""

    def reset(self) -> None:
        """Abort so that the caller hears of it: to HTTP/1.0, a plain close ends a body properly."""


class Request(web.BaseRequest):
    """One request; its target is a path and a query, whichever way the caller wrote it."""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays after the response."""
        return not self._message.should_close and not self.connection.is_ending

    @property
    def connection(self) -> Connection:
        """The connection that it came on."""
        return cast("Connection", self.protocol)

    @property
    def request_id(self) -> str:
        """The caller's `X-Request-Id` where it is harmless, else a new one at each look."""
        return given_request_id(self.headers) or self.connection.new_id()
