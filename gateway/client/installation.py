"""Switching the stock client over to a gateway, and back."""

from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.client.detour import detour_aiohttp, detour_async, detour_requests, detour_sync
from gateway.client.route import Route, plan_route
from gateway.client.stock import Half, find_stock


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
    wait: bool = True,
    prefer_wait_seconds: int = 0,
    ca_file: str | Path | None = None,
) -> Installation:
    """Route the stock `keepa` package of this process, sync and async, to the gateway.

    The access key that keepa is given is the service key. Again with other arguments: those count.

    Args:
        base_url: The gateway's; None: `KEEPA_BASE_URL` of the environment.
        wait: Whether to sleep on a refusal that passes, as the stock client does on a 429. False:
            it is raised at once. What does not pass is raised either way.
        prefer_wait_seconds: How long each call may wait in the gateway's line before it is refused;
            the client's time-out becomes that much longer.
        ca_file: Certificates to check the gateway's against; None: those of `REQUESTS_CA_BUNDLE` or
            `SSL_CERT_FILE`, else the libraries' own.

    Raises:
        NotRouted: No URL of a gateway, no certificates, or a keepa that looks different inside.
            Then all is as it was.
    """
    before = _switch.route
    route = plan_route(
        base_url, wait=wait, prefer_wait_seconds=prefer_wait_seconds, ca_file=ca_file
    )
    _switch.turn(route)
    return Installation(route, before)


def uninstall() -> None:
    """Put the stock client back, however often it was routed."""
    _switch.turn(None)
