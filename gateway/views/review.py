"""Warnings about settings that are allowed and probably a mistake."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.errors import BadSetting
from gateway.keepa.costs import CostTable
from gateway.settings import Settings, is_loopback
from gateway.settings.nearest import did_you_mean
from gateway.settings.proxies import find_proxies

_MINUTES_OF_BUCKET = 60
# The default ALERT_BALANCE is this part of the smallest common bucket.
_ALERT_SHARE = 24


def check_endpoint_names(settings: Settings, costs: CostTable) -> None:
    """Check the endpoints that settings name.

    Raises:
        BadSetting: There is no such endpoint, or the setting must not name one.
    """
    for service, endpoint in settings.policies.endpoints_named():
        if not costs.knows(endpoint):
            raise BadSetting(
                f'SERVICE_POLICIES: service "{service}": endpoints: there is no "{endpoint}"'
                f"{did_you_mean(endpoint, costs.names)}; "
                "allowed are Keepa's, those in ENDPOINT_COSTS, and `unknown` for all others"
            )
    base, _, last = settings.keepa_base_url.rpartition("/")
    if urlsplit(settings.keepa_base_url).path and costs.knows(last):
        # The endpoint of each call would be appended to this one.
        given = f"KEEPA_BASE_URL={settings.keepa_base_url}"
        raise BadSetting(f"{given}: allowed is a URL without endpoint, as {base}")


def review_settings(settings: Settings) -> Iterator[str]:
    """Yield a warning for each odd setting, one line each, without secrets."""
    url, floor = settings.keepa_base_url, settings.min_balance_threshold
    if settings.simulated:
        yield "KEEPA_BASE_URL=simulator, so there is no real Keepa"
    elif url.startswith("http:") and not is_loopback(urlsplit(url).hostname or ""):
        yield "KEEPA_BASE_URL is http://, so the key travels unencrypted"
    for name in ("safety_buffer", "alert_balance"):
        if (value := getattr(settings, name)) < floor:
            yield (
                f"{name.upper()}={value} is below the floor of {floor}, "
                "so it comes after the refusals"
            )
    if not settings.enforce:
        yield "ENFORCE=false, so nothing is refused"
    yield from _review_costs(settings)
    if not settings.simulated and (found := find_proxies(url)):
        yield f"{' and '.join(found)} set, and not used: the gateway connects to Keepa directly"


def review_plan(settings: Settings, refill_rate: int) -> Iterator[str]:
    """Yield a warning for each threshold that does not suit the plan, one line each.

    Args:
        settings: The thresholds.
        refill_rate: Tokens a minute; the bucket holds those of an hour.
    """
    capacity = _MINUTES_OF_BUCKET * refill_rate
    floor, alert = settings.min_balance_threshold, settings.alert_balance
    if floor >= capacity:
        yield f"no call can ever run above MIN_BALANCE_THRESHOLD={floor}: the bucket is {capacity}"
    for name, effect in (
        ("min_balance_threshold", "so most tokens can never be spent"),
        ("safety_buffer", "so its warning is on most of the time"),
        ("alert_balance", "so its alert is on most of the time"),
    ):
        value = getattr(settings, name)
        if 2 * value > capacity and (name != "min_balance_threshold" or floor < capacity):
            yield f"{name.upper()}={value} is more than half of the bucket of {capacity}, {effect}"
    if floor <= alert < refill_rate:
        yield (
            f"ALERT_BALANCE={alert} is less than the {refill_rate} tokens of one minute, so its "
            f"alert comes too late; {capacity // _ALERT_SHARE} would suit the bucket of {capacity}"
        )


def _review_costs(settings: Settings) -> Iterator[str]:
    table = CostTable({})
    for name, tokens in settings.endpoint_costs.items():
        if not table.knows(name):
            yield (
                f'ENDPOINT_COSTS: Keepa has no "{name}" that this version knows'
                f"{did_you_mean(name, table.names)}"
            )
        elif table.base(name) == tokens:
            yield f'ENDPOINT_COSTS: {{"{name}": {tokens}}} is the default and changes nothing'
