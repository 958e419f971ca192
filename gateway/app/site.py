"""Builds what operators see."""

from gateway.app.parts import Account, Calls, Keepa
from gateway.call.quotes import Quotes
from gateway.front.turnstile import Turnstile
from gateway.ledger import Chronicle, UsageHistory
from gateway.machine import Machine
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.views.admin import Admin
from gateway.views.dashboard import Dashboard, Sessions
from gateway.views.feed import Feed
from gateway.views.picture import Setting
from gateway.views.site import Site, Standing
from gateway.views.status import Thresholds
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
    standing = Standing(
        Thresholds(settings.min_balance_threshold, settings.safety_buffer),
        services=tuple(settings.policies.named()),
        enforces=settings.enforce,
    )
    store = account.ledger.store
    history = UsageHistory(store, settings.account_name)
    feed = Feed(
        account.ledger,
        Chronicle(store, settings.account_name),
        history,
        calls.reports,
        Setting(
            thresholds=standing.thresholds,
            allowances=calls.allowances,
            services=standing.services,
            breaker=keepa.breaker,
            store=store.kind,
            enforces=settings.enforce,
            is_simulated=lambda: settings.simulated or keepa.upstream.is_simulated,
            max_age_seconds=settings.balance_max_age_seconds,
        ),
    )
    admin_token = settings.admin_token.get_secret_value()
    admin = Admin(admin_token)
    return Site(
        proxy=calls.proxy,
        quotes=Quotes(calls.intake, calls.gate, settings.min_balance_threshold),
        usage=UsagePage(history, settings.account_name, machine.clock),
        ledger=account.ledger,
        queue=account.queue,
        allowances=calls.allowances,
        observer=keepa.observer,
        breaker=keepa.breaker,
        metrics=metrics,
        dashboard=Dashboard(feed, admin, Sessions(admin_token)),
        standing=standing,
        admin=admin,
        turnstile=turnstile,
    )
