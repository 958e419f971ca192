"""Builds the paths that operators see."""

from gateway.app.parts import Account, Calls, Keepa
from gateway.call.quotes import Quotes
from gateway.front.turnstile import Turnstile
from gateway.ledger import Chronicle, UsageHistory
from gateway.machine import Machine
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.views.admin import Admin
from gateway.views.dashboard import Dashboard, LiveView, Sessions
from gateway.views.site import Site
from gateway.views.status import Status
from gateway.views.usage import UsagePage


def make_site(
    settings: Settings,
    account: Account,
    keepa: Keepa,
    calls: Calls,
    *,
    metrics: Metrics,
    turnstile: Turnstile,
    machine: Machine,
) -> Site:
    """Return what answers every request."""
    store = account.ledger.store
    status = Status(
        floor=settings.min_balance_threshold,
        safety_buffer=settings.safety_buffer,
        allowances=calls.allowances,
        services=tuple(settings.policies.named()),
        breaker=keepa.breaker,
        store=store.kind,
        enforces=settings.enforce,
        is_simulated=lambda: settings.simulated or keepa.upstream.is_simulated,
        max_age_seconds=settings.balance_max_age_seconds,
        repeated_tokens=lambda: calls.reports.repeated_tokens,
    )
    history = UsageHistory(store, settings.account_name)
    chronicle = Chronicle(store, settings.account_name)
    live = LiveView(account.ledger, chronicle, history, calls.reports, status)
    admin_token = settings.admin_token.get_secret_value()
    admin = Admin(admin_token)
    return Site(
        proxy=calls.proxy,
        quotes=Quotes(calls.intake, calls.gate, settings.min_balance_threshold),
        usage=UsagePage(history, settings.account_name, machine.clock),
        ledger=account.ledger,
        queue=account.queue,
        observer=keepa.observer,
        metrics=metrics,
        dashboard=Dashboard(live, admin, Sessions(admin_token)),
        status=status,
        admin=admin,
        turnstile=turnstile,
    )
