"""What the gateway of these settings, if it runs, has paid for again: a line for `check`."""

from typing import Any

import aiohttp
import orjson

from gateway.commands.usage_table import NoAnswer, own_url
from gateway.settings import Settings

# It is on this machine; without one there is nothing to wait for.
_PATIENCE = aiohttp.ClientTimeout(total=2)


async def describe_repeats(settings: Settings) -> str:
    """Return what a cache of a day would have saved there since it started; empty: none runs."""
    token = settings.admin_token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        url = f"{own_url(settings.host, settings.port)}/status"
        async with (
            aiohttp.ClientSession(timeout=_PATIENCE) as session,
            # A redirect could lead the token elsewhere.
            session.get(url, headers=headers, allow_redirects=False) as answer,
        ):
            status: Any = orjson.loads(await answer.read())
        day = status["repeated_tokens"]["24h"]
        tokens, minutes = int(day["tokens"]), day["minutes"]
    except (NoAnswer, aiohttp.ClientError, OSError, ValueError, TypeError, LookupError):
        return ""
    plan = "" if minutes is None else f" ({float(minutes):g} minutes of the plan)"
    return (
        f"repeats: the gateway at port {settings.port} has paid {tokens} tokens{plan} for answers "
        "that it had paid for within a day, since it started"
    )
