"""What `keepa-gateway check` looks at: settings, store, Keepa."""

from dataclasses import dataclass

from gateway.app import make_allowances, open_store, upstream_of
from gateway.costs import CostTable
from gateway.credentials import RealKey
from gateway.envelope import read_envelope
from gateway.errors import Refusal
from gateway.settings import Settings
from gateway.upstream import Upstream


@dataclass(slots=True)
class Report:
    """What `check_setup` found."""

    good: bool
    lines: list[str]


async def check_setup(settings: Settings) -> Report:
    """Reach the store and Keepa's free `/token`; nothing is reserved or changed."""
    make_allowances(settings, CostTable(settings.endpoint_costs))
    report = Report(good=True, lines=[f"settings: good, account {settings.account_name}"])
    store = open_store(settings)
    await store.open()
    if store.up:
        report.lines.append(f"store: {store.kind} answers")
    else:
        report.good = False
        report.lines.append(f"store: {store.kind} does not answer; check REDIS_URL")
    await store.close()
    async with upstream_of(settings) as base_url:
        upstream = Upstream(base_url, RealKey(settings.keepa_api_key.get_secret_value()).encoded)
        try:
            body, encoding, _ = await upstream.fetch_token()
            envelope = read_envelope(body, encoding)
            if envelope.has_observation:
                report.lines.append(
                    f"keepa: {envelope.tokens_left} tokens, {envelope.refill_rate} more each minute"
                )
            else:
                report.good = False
                report.lines.append("keepa: answers without a balance; check KEEPA_API_KEY")
        except Refusal as refusal:
            report.good = False
            report.lines.append(f"keepa: {str(refusal).lower()}; check KEEPA_BASE_URL and network")
        finally:
            await upstream.close()
    return report
