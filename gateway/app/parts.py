"""Builds a gateway's parts from its settings; nothing here runs yet."""

import os
import socket
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry

from gateway import tasks
from gateway.alerts import Alerts
from gateway.alerts.conditions import Alarm, BalanceBelow, Drift, KeepaOutage, StoreOutage
from gateway.alerts.outages import Outages
from gateway.alerts.texts import Origin
from gateway.alerts.webhook import Webhook
from gateway.balance import Balance
from gateway.call.allowances import Allowances
from gateway.call.dispatch import Dispatcher
from gateway.call.gate import Gate
from gateway.call.intake import Intake
from gateway.call.observer import Observer
from gateway.call.proxy import Proxy
from gateway.call.reports import Reports
from gateway.call.services import Services
from gateway.front.bodies import Bodies
from gateway.jobs import Job
from gateway.keepa.breaker import Breaker
from gateway.keepa.costs import CostTable
from gateway.keepa.real_key import RealKey
from gateway.keepa.stalls import Stalls
from gateway.keepa.upstream import Slots, Upstream
from gateway.ledger import AUTO, Alarms, EmbeddedStore, Ledger, Queue, RedisStore, Rules, Store
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.views.review import check_endpoint_names, review_plan

_log: Any = structlog.get_logger(__name__)

# An observation so many times older than it should be is no ground to spend on.
_STALE_FACTOR = 5


@dataclass(frozen=True, slots=True)
class Account:
    """The account's tokens, and what watches over them."""

    ledger: Ledger
    queue: Queue
    drift: Drift | None
    """What alerts hear of the ledger; None: nobody is alerted."""


@dataclass(frozen=True, slots=True)
class Keepa:
    """The way to Keepa."""

    real_key: RealKey
    upstream: Upstream
    stalls: Stalls
    breaker: Breaker
    observer: Observer


@dataclass(frozen=True, slots=True)
class Calls:
    """What a call passes through."""

    intake: Intake
    allowances: Allowances
    reports: Reports
    gate: Gate
    proxy: Proxy


def open_store(settings: Settings) -> Store:
    """Return the store that the settings ask for, not yet opened."""
    url = settings.redis_url.get_secret_value()
    if url:
        return RedisStore(url, settings.account_name)
    _log.warning("embedded_store", hint="one process only, nothing is kept; set REDIS_URL to share")
    return EmbeddedStore()


def make_rules(settings: Settings) -> Rules:
    """Return what the ledger needs of the settings."""
    return Rules(
        hold_seconds=settings.hold_seconds,
        rate_per_minute=_rate_of(settings.rate_limit_per_minute),
        rate_burst=_rate_of(settings.rate_limit_burst),
        fresh_seconds=settings.balance_max_age_seconds,
        stale_seconds=settings.balance_max_age_seconds * _STALE_FACTOR,
    )


def _rate_of(setting: int | Literal["auto"]) -> int:
    return AUTO if setting == "auto" else setting


def make_allowances(settings: Settings, costs: CostTable) -> Allowances:
    """Return what each service may do.

    Raises:
        BadSetting: A setting names an endpoint that there is not, or must name none.
    """
    check_endpoint_names(settings, costs)
    return Allowances(settings.policies, settings.min_balance_threshold, settings.overdraft)


def make_metrics(settings: Settings) -> Metrics:
    """Return what Prometheus scrapes."""
    return Metrics(
        CollectorRegistry(),
        floor=settings.min_balance_threshold,
        safety_buffer=settings.safety_buffer,
        alert_balance=settings.alert_balance,
        balance_max_age_seconds=settings.balance_max_age_seconds,
    )


def make_account(settings: Settings, metrics: Metrics) -> Account:
    """Return the ledger on its store, not yet opened."""
    has_webhook = bool(settings.alert_webhook_url.get_secret_value())
    drift = Drift(metrics, time.monotonic) if has_webhook else None
    ledger = Ledger(
        open_store(settings), settings.account_name, make_rules(settings), drift or metrics
    )
    return Account(ledger, Queue(ledger, settings.max_queue), drift)


def make_keepa(settings: Settings, base_url: str, ledger: Ledger, metrics: Metrics) -> Keepa:
    """Return the way to Keepa, or to what stands in for it at `base_url`."""
    # The built-in simulator takes any key; this one is no secret.
    real_key = RealKey(settings.keepa_api_key.get_secret_value() or "none")
    stalls = Stalls()
    breaker = Breaker(settings.breaker_failures, settings.breaker_cooldown_seconds, stalls)
    metrics.watch_breaker(lambda: not breaker.is_closed, breaker.endpoints)
    upstream = Upstream(base_url, real_key.encoded, breaker.note_answer)
    rules = make_rules(settings)
    observer = Observer(
        ledger, upstream, fresh_seconds=rules.fresh_seconds, stale_seconds=rules.stale_seconds
    )
    return Keepa(real_key, upstream, stalls, breaker, observer)


def make_calls(
    settings: Settings,
    account: Account,
    keepa: Keepa,
    bodies: Bodies,
    *,
    metrics: Metrics,
    executor: Executor,
    to_simulator: bool,
) -> Calls:
    """Return what a call passes through, from its request to its line in the log.

    Raises:
        BadSetting: As `make_allowances`.
    """
    costs = CostTable(settings.endpoint_costs)
    allowances = make_allowances(settings, costs)
    reports = Reports(metrics)
    intake = Intake(
        services=Services(settings.service_secrets, settings.policies.named()),
        allowances=allowances,
        costs=costs,
        real_key=keepa.real_key.encoded,
        bodies=bodies,
        fills_limits=settings.enforce,
    )
    slots = Slots(settings.max_concurrency, settings.max_queue)
    gate = Gate(
        ledger=account.ledger,
        queue=account.queue,
        observer=keepa.observer,
        breaker=keepa.breaker,
        slots=slots,
        reports=reports,
        default_wait_seconds=settings.default_wait_seconds,
        max_wait_seconds=settings.max_wait_seconds,
        enforces=settings.enforce,
    )
    dispatcher = Dispatcher(
        keepa.upstream,
        executor,
        keepa.real_key,
        hold_patience_seconds=settings.hold_seconds - settings.upstream_timeout_seconds,
        to_simulator=to_simulator,
    )
    proxy = Proxy(
        intake=intake,
        gate=gate,
        ledger=account.ledger,
        observer=keepa.observer,
        dispatcher=dispatcher,
        slots=slots,
        reports=reports,
        floor=settings.min_balance_threshold,
        upstream_seconds=settings.upstream_timeout_seconds,
        retries=settings.upstream_retries,
    )
    return Calls(intake, allowances, reports, gate, proxy)


def make_origin(settings: Settings) -> Origin:
    """Return the account and gateway that alerts name."""
    gateway = f"{socket.gethostname()}:{os.getpid()}"
    return Origin(settings.account_name, gateway, settings.min_balance_threshold)


def make_alerts(settings: Settings, account: Account, keepa: Keepa) -> Alerts | None:
    """Return what posts alerts to the webhook; None: there is none."""
    if account.drift is None:
        return None
    ledger, breaker, observer = account.ledger, keepa.breaker, keepa.observer

    def read_balance() -> Balance | None:
        return ledger.latest if observer.knows else None

    floor, name = settings.min_balance_threshold, settings.account_name
    origin = make_origin(settings)
    webhook = Webhook(settings.alert_webhook_url.get_secret_value())
    return Alerts(
        ledger=ledger,
        alarms=Alarms(ledger.store, name, origin.gateway),
        conditions=(
            BalanceBelow(Alarm.BELOW_FLOOR, floor, read_balance),
            BalanceBelow(Alarm.BALANCE_LOW, settings.alert_balance, read_balance),
            account.drift,
            KeepaOutage(lambda: not breaker.is_closed),
        ),
        outages=Outages(
            ledger=ledger,
            # A post that fails and is tried again takes longer than the usual claim.
            alarms=Alarms(ledger.store, name, origin.gateway, claim_seconds=60.0),
            outage=StoreOutage(lambda: ledger.store.up),
            webhook=webhook,
            origin=origin,
        ),
        webhook=webhook,
        origin=origin,
    )


def list_jobs(
    settings: Settings, account: Account, keepa: Keepa, reports: Reports, run_live: Job
) -> dict[str, Job]:
    """Return what runs in the background, by the name that logs and metrics have."""
    tend = partial(
        tasks.tend_ledger,
        account.ledger,
        reports,
        settings.safety_buffer,
        partial(review_plan, settings),
    )
    jobs: dict[str, Job] = {
        "dashboard": run_live,
        "observer": keepa.observer.run,
        "breaker": partial(keepa.breaker.run, keepa.upstream.fetch_token),
        "stalls": keepa.stalls.watch,
        "queue": account.queue.run,
        "tend": tend,
    }
    if alerts := make_alerts(settings, account, keepa):
        jobs["alerts"] = alerts.run
    return jobs
