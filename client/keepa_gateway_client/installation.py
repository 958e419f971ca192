"""Switching the stock client over to a gateway, and back."""

from pathlib import Path
from types import TracebackType
from typing import Self

from keepa_gateway_client.detour import detour_aiohttp, detour_async, detour_requests, detour_sync
from keepa_gateway_client.route import Route, plan_route
from keepa_gateway_client.stock import Half, find_stock


class _Switch:
    """Which way the stock client of this process is set."""

    def __init__(self) -> None:
        self.route: Route | None = None
        self._stock: tuple[Half, Half] | None = None

    def turn(self, route: Route | None) -> None:
        """Set the stock client to a route; None: to Keepa, as it was."""
        if route is None:
            for half in self._stock or ():
                half.restore()
            self._stock = self.route = None
            return
        # Looked for once: now the stand-ins are in the stock parts' places.
        self._stock = self._stock or find_stock()
        blocking, looping = self._stock
        blocking.replace(
            detour_requests(blocking.library, route), detour_sync(blocking.request, route)
        )
        too_few = looping.module.SCODES["429"]
        looping.replace(
            detour_aiohttp(looping.library, route), detour_async(looping.request, too_few, route)
        )
        self.route = route


_switch = _Switch()


class Installation:
    """What `install` did. At the end of a `with` it is undone: what was before is back."""

    def __init__(self, route: Route, before: Route | None) -> None:
        self.base_url = route.base_url
        self._before = before

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _switch.turn(self._before)


def install(
    base_url: str | None = None,
    *,
    wait: bool | None = None,
    max_wait_seconds: float | None = None,
    prefer_wait_seconds: int = 0,
    service_name: str | None = None,
    service_key: str | None = None,
    ca_file: str | Path | None = None,
) -> Installation:
    """Route the stock `keepa` package of this process, sync and async, to the gateway.

    The access key that keepa is given is the service key, unless there is a `service_key`. Again
    with other arguments: those count.

    Args:
        base_url: The gateway's; None: `KEEPA_BASE_URL` of the environment.
        wait: Whether to sleep on a refusal that passes, as the stock client does on a 429. False:
            it is raised at once. What does not pass is raised either way. None: `KEEPA_WAIT`, else
            true.
        max_wait_seconds: How long one call may sleep on refusals, in all; a wait that would end
            later is not begun, the refusal is raised. None: `KEEPA_MAX_WAIT_SECONDS`, else for
            ever, as the stock client.
        prefer_wait_seconds: How long each call may wait in the gateway's queue before it is
            refused; the client's time-out becomes that much longer.
        service_name: Sent as `X-Service-Name`, which counts where the gateway has no
            `SERVICE_KEYS`. None: `KEEPA_SERVICE_NAME`, else not sent.
        service_key: Sent, in a header, in place of the access key that keepa is given. None:
            `KEEPA_SERVICE_KEY`, else that access key is sent.
        ca_file: Certificates to check the gateway's against; None: those of `REQUESTS_CA_BUNDLE` or
            `SSL_CERT_FILE`, else the libraries' own.

    Raises:
        NotRouted: No URL of a gateway, another bad value, no certificates, or a keepa that looks
            different inside. Then all is as it was.
    """
    before = _switch.route
    route = plan_route(
        base_url,
        wait=wait,
        max_wait_seconds=max_wait_seconds,
        prefer_wait_seconds=prefer_wait_seconds,
        service_name=service_name,
        service_key=service_key,
        ca_file=ca_file,
    )
    _switch.turn(route)
    return Installation(route, before)


def uninstall() -> None:
    """Put the stock client back, however often it was routed."""
    _switch.turn(None)
