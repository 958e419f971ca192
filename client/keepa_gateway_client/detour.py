"""What stands in for the parts of the stock client while it is routed.

The stand-ins of `requests` and `aiohttp` have what keepa takes from them and nothing else: a part
that is not routed is an AttributeError, never a call to the real Keepa. They raise the gateway's
refusals; the stand-ins of `_request` wait for those that pass, without blocking in async code.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from keepa_gateway_client.refusals import GatewayRefusal, read_refusal
from keepa_gateway_client.route import Route

_log = logging.getLogger(__package__)
_OK = 200


def detour_requests(requests: Any, route: Route) -> SimpleNamespace:
    """Return what stands in for `requests`."""
    tls = {"verify": route.ca_file} if route.ca_file else {}

    def get(url: str, params: Any = None, **options: Any) -> Any:
        target = route.redirect(url)
        if target is None:
            return requests.get(url, params, **options)
        answer = requests.get(target, **route.adapt({"params": params, **options}), **tls)
        _raise_refusal(answer.status_code, answer.content)
        return answer

    return SimpleNamespace(get=get, Response=requests.Response)


def detour_aiohttp(aiohttp: Any, route: Route) -> SimpleNamespace:
    """Return what stands in for `aiohttp`."""
    tls = {"ssl": route.tls} if route.tls else {}

    class Session:
        """Has one of aiohttp's own, which does not want to be a base class."""

        def __init__(self) -> None:
            self._session = aiohttp.ClientSession()

        async def __aenter__(self) -> Self:
            await self._session.__aenter__()
            return self

        async def __aexit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            trace: TracebackType | None,
        ) -> None:
            await self._session.__aexit__(kind, error, trace)

        @asynccontextmanager
        async def get(self, url: str, **options: Any) -> AsyncIterator[Any]:
            target = route.redirect(url)
            if target is not None:
                url, options = target, {**route.adapt(options), **tls}
            async with self._session.get(url, **options) as answer:
                if target is not None and answer.status != _OK:
                    # aiohttp keeps what was read: the client may read it again.
                    _raise_refusal(answer.status, await answer.read())
                yield answer

    return SimpleNamespace(ClientSession=Session)


def _raise_refusal(status: int, body: bytes) -> None:
    refusal = read_refusal(status, body) if status != _OK else None
    if refusal:
        raise refusal


def detour_sync(stock: Callable[..., Any], route: Route) -> Callable[..., Any]:
    """Return what stands in for `Keepa._request`."""

    def _request(
        self: Any, request_type: str, payload: dict[str, Any], wait: bool = True, **how: Any
    ) -> Any:
        latest = route.latest()
        while True:
            try:
                return stock(self, request_type, payload, wait=wait, **how)
            except GatewayRefusal as refusal:
                seconds = _pause(self, refusal, wait=wait and route.wait, latest=latest)
            time.sleep(seconds)

    return _request


def detour_async(
    stock: Callable[..., Awaitable[Any]], too_few: str, route: Route
) -> Callable[..., Awaitable[Any]]:
    """Return what stands in for `AsyncKeepa._request`.

    Args:
        stock: The method itself; it is never let wait, for it sleeps with the event loop.
        too_few: What it says then to a 429 of Keepa's own.
        route: The way to the gateway.
    """

    async def _request(
        self: Any, request_type: str, payload: dict[str, Any], wait: bool = True, **how: Any
    ) -> Any:
        latest = route.latest()
        while True:
            try:
                return await stock(self, request_type, payload, wait=False, **how)
            except GatewayRefusal as refusal:
                seconds: float = _pause(self, refusal, wait=wait and route.wait, latest=latest)
            except RuntimeError as error:
                seconds = self.time_to_refill
                if not wait or str(error) != too_few or time.monotonic() + seconds > latest:
                    raise
                _log.warning("Waiting %.0f seconds for additional tokens", seconds)
            await asyncio.sleep(seconds)

    return _request


def _pause(client: Any, refusal: GatewayRefusal, *, wait: bool, latest: float) -> int:
    """Note what the refusal says of the tokens; return the seconds to wait, or raise it.

    Args:
        client: The stock one, sync or async.
        refusal: Of the gateway.
        wait: Whether to wait at all.
        latest: When the wait has to have ended, on the monotonic clock.
    """
    # As the stock client does with every answer.
    client.tokens_left = client.status.tokensLeft = refusal.fields.get("tokensLeft")
    for name in ("refillIn", "refillRate", "timestamp"):
        setattr(client.status, name, refusal.fields.get(name))
    seconds = refusal.seconds_to_wait
    # What no waiting helps, the stock client would ask again every hour, for ever.
    if not wait or seconds is None or time.monotonic() + seconds > latest:
        raise refusal
    _log.warning("Waiting %d seconds: %s", seconds, refusal)
    return seconds
