"""`keepa-gateway check`: looks at the settings, the store and Keepa."""

import argparse
import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.alerts.texts import describe_test
from gateway.alerts.webhook import Webhook
from gateway.app import make_allowances, make_origin, make_rules, open_store, upstream_of
from gateway.balance import Events
from gateway.commands.repeats import describe_repeats
from gateway.commands.start import read_settings_and_log
from gateway.errors import BadSetting, LedgerUnavailable, Refusal, UpstreamUnreachable
from gateway.keepa.costs import CostTable
from gateway.keepa.envelope import Envelope, read_envelope
from gateway.keepa.real_key import RealKey
from gateway.keepa.upstream import NotSent, Upstream
from gateway.ledger import EmbeddedStore, Ledger, Observation, RedisStore, UsageHistory
from gateway.log import Redactor, set_up_logging
from gateway.settings import ENV_FILE, Settings, describe_misspelt, is_loopback
from gateway.views.review import review_plan, review_settings

_OLDEST_REDIS = (6, 2)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which file to read, and whether to test the webhook."""
    parser.add_argument("--env-file", type=Path, metavar="FILE", help="read this file, not .env")
    parser.add_argument("--webhook", action="store_true", help="post a test alert as well")


def run(options: argparse.Namespace) -> int:
    """Check and print a line for each finding; return the exit code."""
    env_file = options.env_file or ENV_FILE
    if options.env_file and not env_file.is_file():
        raise BadSetting(f"--env-file {env_file}: there is no such file")
    settings = read_settings_and_log(env_file)
    # The findings say what the log would.
    set_up_logging("CRITICAL", "console", settings.secrets)
    reports = [asyncio.run(check_setup(settings, describe_misspelt(env_file)))]
    if options.webhook:
        reports.append(asyncio.run(check_webhook(settings)))
    for report in reports:
        print("\n".join(report.lines))
    return 0 if all(report.is_good for report in reports) else 1


@dataclass(slots=True)
class Report:
    """The findings, a line each. `is_good`: there are no bad ones, though perhaps warnings."""

    is_good: bool = True
    lines: list[str] = field(default_factory=list)

    def good(self, text: str) -> None:
        """Add a finding that is right."""
        self.lines.append(f"good     {text}")

    def warn(self, text: str) -> None:
        """Add a finding that works but is probably a mistake."""
        self.lines.append(f"warning  {text}")

    def bad(self, text: str) -> None:
        """Add a finding that the gateway would fail with."""
        self.is_good = False
        self.lines.append(f"bad      {text}")


async def check_setup(settings: Settings, misspelt: Sequence[str] = ()) -> Report:
    """Check the settings, the store, and Keepa by its free `/token`; nothing is changed.

    Args:
        settings: Those to check.
        misspelt: A line for each variable that looks like a misspelt setting.

    Raises:
        BadSetting: A policy names an endpoint that does not exist.
    """
    report = Report()
    for line in misspelt:
        report.warn(f"settings: {line}")
    _check_settings(settings, report)
    _check_callers(settings, report)
    await _check_store(settings, report)
    await _check_keepa(settings, report)
    if repeats := await describe_repeats(settings):
        report.good(repeats)
    for name, value, is_default in settings.in_force():
        report.lines.append(f"setting  {name}={value}{' (default)' if is_default else ''}")
    return report


async def check_webhook(settings: Settings) -> Report:
    """Post a test alert; report the receiver's response."""
    report = Report()
    url = settings.alert_webhook_url.get_secret_value()
    if not url:
        report.bad("webhook: ALERT_WEBHOOK_URL is empty, so there is nowhere to post")
        return report
    async with Webhook(url) as webhook:
        outcome = await webhook.try_once(describe_test(make_origin(settings), at=time.time()))
    said = Redactor(settings.secrets).redact(f", {outcome.said}" if outcome.said else "")
    if outcome.problem is None:
        report.good(f"webhook: the test alert arrived: {outcome.status}{said}")
    else:
        report.bad(f"webhook: the test alert failed: {outcome.problem}{said}; check its URL")
    return report


def _check_settings(settings: Settings, report: Report) -> None:
    make_allowances(settings, CostTable(settings.endpoint_costs))
    floor = settings.min_balance_threshold
    report.good(f"settings: account {settings.account_name}, floor {floor}")
    for line in review_settings(settings):
        report.warn(f"settings: {line}")


def _check_callers(settings: Settings, report: Report) -> None:
    place = f"{settings.host}:{settings.port}"
    is_local = is_loopback(settings.host)
    if settings.service_keys:
        report.good(f"callers: {len(settings.service_keys)} services, by their keys, at {place}")
    elif is_local:
        report.good(f"callers: anybody on this machine, at {place}; nobody else")
    else:
        report.warn(f"callers: ALLOW_ANONYMOUS, so whoever reaches {place} spends the tokens")
    if not is_local and not settings.admin_token.get_secret_value():
        report.warn(f"callers: without ADMIN_TOKEN whoever reaches {place} sees all figures")


async def _check_store(settings: Settings, report: Report) -> None:
    store = open_store(settings)
    await store.open()
    try:
        if not isinstance(store, RedisStore):
            report.warn("store: embedded, one gateway only and nothing is kept; see REDIS_URL")
        elif store.refuses_writes:
            report.bad(f"store: Redis takes no writes ({store.trouble})")
        elif not store.up:
            hint = f"; {store.hint}" if store.hint else ""
            report.bad(f"store: Redis does not answer ({store.trouble}); check REDIS_URL{hint}")
        else:
            await _check_redis(store, settings.account_name, report)
    except LedgerUnavailable:
        report.bad("store: Redis refuses what the ledger needs; check the user of REDIS_URL")
    finally:
        await store.close()


async def _check_redis(store: RedisStore, account: str, report: Report) -> None:
    version = await store.read_info("server", "redis_version")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST_REDIS:
        report.bad(f"store: Redis {version or 'of no version'} is older than 6.2")
    else:
        report.good(f"store: Redis {version} answers")
    # A script that only reads: the ledger does everything by scripts.
    async for _ in UsageHistory(store, account).read(0, 1):
        pass
    policy = await store.read_info("memory", "maxmemory_policy") or "noeviction"
    limit = int(await store.read_info("memory", "maxmemory") or 0)
    if policy == "noeviction":
        report.good("store: maxmemory-policy noeviction")
    elif limit and policy.startswith("allkeys"):
        report.bad(f"store: maxmemory-policy {policy} may throw the ledger away; set noeviction")
    else:
        report.warn(f"store: maxmemory-policy {policy}; set noeviction")


async def _check_keepa(settings: Settings, report: Report) -> None:
    # The built-in simulator takes any key; this one is no secret.
    key = RealKey(settings.keepa_api_key.get_secret_value() or "none")
    async with upstream_of(settings) as base_url:
        upstream = Upstream(base_url, key.encoded)
        try:
            body, encoding, _ = await upstream.fetch_token()
        except NotSent as refusal:
            report.bad(f"keepa: no connection{_why(refusal)}; check KEEPA_BASE_URL and the network")
        except Refusal as refusal:
            what = f"{str(refusal).lower()}{_why(refusal)}"
            report.bad(f"keepa: {what}; check KEEPA_BASE_URL and the network")
        else:
            envelope = read_envelope(body, encoding)
            _check_balance(envelope, settings, report)
            await _check_request_rate(envelope, settings, report)
        finally:
            upstream.close()


def _why(refusal: Refusal) -> str:
    trouble = refusal.trouble if isinstance(refusal, UpstreamUnreachable) else ""
    return f" ({trouble})" if trouble else ""


async def _check_request_rate(envelope: Envelope, settings: Settings, report: Report) -> None:
    """Report the request rate that the ledger's scripts derive from that plan."""
    store = EmbeddedStore()
    await store.open()
    try:
        ledger = Ledger(store, "check", make_rules(settings), _Silence())
        turn = await ledger.claim()
        observation = Observation(0, 0, envelope.refill_rate or 0, 0, time.monotonic())
        await ledger.observe(turn, observation)
        rate = (await ledger.overview()).request_rate
    finally:
        await store.close()
    if rate.per_minute:
        limit = f"{rate.per_minute} requests a minute, {rate.burst} at once"
    else:
        limit = "any number of requests"
    report.good(
        f"requests: {limit} (RATE_LIMIT_PER_MINUTE={settings.rate_limit_per_minute}, "
        f"RATE_LIMIT_BURST={settings.rate_limit_burst})"
    )


class _Silence:
    def replied(self, script: str, seconds: float, events: Events) -> None:
        """Ignore it."""


def _check_balance(envelope: Envelope, settings: Settings, report: Report) -> None:
    rate, tokens = envelope.refill_rate or 0, envelope.tokens_left or 0
    if envelope.is_empty:
        report.bad("keepa: what answers is no Keepa; check KEEPA_BASE_URL")
        return
    if not envelope.has_observation:
        report.bad("keepa: it does not know the key, or it has expired; check KEEPA_API_KEY")
        return
    capacity = 60 * rate
    report.good(f"keepa: {tokens} tokens, {rate} more each minute, {capacity} at most")
    if (envelope.flow_reduction or 0) > rate - 1:
        report.warn("keepa: trackings take all tokens, so there will be no more")
    floor = settings.min_balance_threshold
    for line in review_plan(settings, rate):
        (report.bad if line.startswith("no call") else report.warn)(f"keepa: {line}")
    if tokens <= floor < capacity:
        report.warn(f"keepa: the balance is not above the floor of {floor}, calls are refused now")
    for service in settings.policies.named():
        own = settings.policies.of(service).floor
        if own is not None and own >= capacity > floor:
            report.warn(f"keepa: no call of {service} can ever run above its floor of {own}")
