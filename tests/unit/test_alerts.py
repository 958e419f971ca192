"""When an alarm begins and ends, and what is said of it; the settings of alerts."""

import time

import pytest

from gateway.alerts.conditions import Alarm, BalanceBelow, Drift, KeepaOutage, StoreOutage
from gateway.alerts.texts import Origin, describe_event, describe_test
from gateway.balance import NO_EVENTS, UNKNOWN, Balance, Events
from gateway.errors import BadSetting
from gateway.log import Redactor
from gateway.settings import Settings, read_settings

BALANCE = Balance(
    known=True, tokens=43, held=12, refill_rate=20, flow_micro=0, lump_in_ms=1000,
    observed_ms_ago=10, consumed=0,
)  # fmt: skip
ORIGIN = Origin("0123456789abcdef", "gateway-1:7", 10)
WEBHOOK = "https://alerts.example/services/T01/B02/s3cretOfWebhook?token=hunter2"


def holds(tokens: int | None, threshold: int = 50, **changes: int) -> bool | None:
    """Say what BalanceBelow sees: below, above, or in between."""
    balance = None if tokens is None else BALANCE._replace(tokens=tokens, **changes)
    sighting = BalanceBelow(Alarm.BALANCE_LOW, threshold, lambda: balance).look(0)
    return sighting.is_on(0) if sighting.is_sure else None


@pytest.mark.parametrize(
    ("tokens", "seen"),
    [(-5, True), (49, True), (50, None), (69, None), (70, False), (1200, False), (None, None)],
)
def test_a_low_balance_is_over_one_lump_higher(tokens, seen):
    """Below 50 it begins; with 20 a minute it is over at 70; in between it stays as it was."""
    assert holds(tokens) is seen


@pytest.mark.parametrize(
    ("tokens", "threshold", "changes", "seen"),
    [
        # Price trackings take all that comes: nothing is added.
        (50, 50, {"flow_micro": 20_000_000}, False),
        (60, 50, {"flow_micro": 15_000_000}, False),
        (54, 50, {"flow_micro": 15_000_000}, None),
        # 60 tokens are a full bucket.
        (60, 60, {"refill_rate": 1}, False),
        (60, 100, {"refill_rate": 1}, True),
        (-10, -10, {}, None),
        (-11, -10, {}, True),
        (10, -10, {}, False),
    ],
)  # fmt: skip
def test_the_lump_is_the_accounts_own(tokens, threshold, changes, seen):
    """The step up is what a minute really brings, and never above a full bucket."""
    assert holds(tokens, threshold, **changes) is seen


def test_a_sawtooth_is_one_alarm():
    """A balance that falls below and is lifted by each lump is told once."""
    told, posts = False, 0
    for tokens in [45, 65, 48, 68, 30, 50, 69] * 20:
        seen = holds(tokens)
        if seen is not None and seen != told:
            told, posts = seen, posts + 1
    assert posts == 1


def test_holds_make_no_alarm():
    """What is reserved comes back, or is spent: only the balance counts."""
    assert holds(80, held=79) is False


@pytest.mark.parametrize(
    ("tokens", "doubtful", "seen"),
    [(-510, 560, None), (49, 1, None), (-511, 560, True), (49, 0, True), (70, 560, False)],
)
def test_tokens_in_doubt_make_no_alarm(tokens, doubtful, seen):
    """Where Keepa may not have charged what is missing, the alarm stays as it was."""
    assert holds(tokens, doubtful=doubtful) is seen


def test_thresholds_are_alarms_of_their_own():
    """While one is changed, gateways with the old and the new do not contradict each other."""
    keys = {BalanceBelow(Alarm.BALANCE_LOW, n, lambda: None).key for n in (50, 80)}
    assert len(keys) == 2


def test_keepas_outage_lasts_from_open_to_closed():
    """Seen as long as the circuit is not closed, and then that long ago."""
    is_open = False
    outage = KeepaOutage(lambda: is_open)
    assert outage.look(100).seconds_ago is None
    is_open = True
    assert outage.look(101).seconds_ago == 0
    is_open = False
    assert outage.look(111) == (10, True, 0)
    assert outage.look(111).is_on(outage.quiet_seconds)
    assert not outage.look(116).is_on(outage.quiet_seconds)


class Ear:
    def __init__(self):
        self.heard = []

    def replied(self, script, seconds, events):
        self.heard.append((script, seconds, events))


def test_drift_passes_on_all_and_counts_what_others_spent():
    """The metrics hear every reply; of them only tokens spent by others make an alarm."""
    ear, now = Ear(), 100.0
    drift = Drift(ear, lambda: now)
    replies = [
        ("reserve", 0.1, NO_EVENTS),
        ("observe", 0.1, Events(5, 0, 7, 1, 2, 3)),
        ("settle", 0.2, Events(0, 30, 0, 0, 0, 0)),
    ]
    for reply in replies[:2]:
        drift.replied(*reply)
    assert drift.look(now) == (None, True, 0)
    drift.replied(*replies[2])
    drift.replied(*replies[2])
    assert ear.heard == [*replies, replies[2]]
    assert drift.look(130) == (30, True, 60)
    drift.counted(60)
    assert drift.look(699) == (599, True, 0)
    assert drift.look(699).is_on(drift.quiet_seconds)
    assert not drift.look(700).is_on(drift.quiet_seconds)


def test_a_store_is_away_after_three_seconds_and_back_after_fifteen():
    """A fail-over is no outage, and a store that comes and goes is one."""
    is_up = True
    outage = StoreOutage(lambda: is_up)
    assert [outage.look(now) for now in (0, 14.9, 15)] == [None, None, False]
    is_up = False
    assert [outage.look(now) for now in (16, 18.9, 19, 60)] == [None, None, True, True]
    is_up = True
    assert [outage.look(now) for now in (61, 75)] == [None, None]
    is_up = False
    assert outage.look(75.5) is None
    is_up = True
    assert [outage.look(now) for now in (76, 90.9, 91)] == [None, None, False]


@pytest.mark.parametrize("alarm", Alarm)
@pytest.mark.parametrize("is_on", [True, False])
def test_every_event_is_one_sentence_with_all_fields(alarm, is_on):
    """One sentence that names the account, in Slack's `text`, beside the same fields each time."""
    event = describe_event(
        alarm, ORIGIN, is_on=is_on, balance=BALANCE, threshold=50, tokens=30,
        since=1_795_347_000, at=1_795_347_060.5,
    )  # fmt: skip
    text = event["text"]
    assert text.startswith(f"Keepa account {ORIGIN.account}: ")
    assert text.endswith(".")
    assert ". " not in text
    # Slack reads these three as its own.
    assert not set("<>&{}?") & set(text)
    assert event | {"text": ""} == {
        "text": "", "name": alarm.value, "state": "firing" if is_on else "resolved",
        "account": ORIGIN.account, "gateway": "gateway-1:7", "balance": 43, "available": 31,
        "floor": 10, "threshold": 50, "tokens": 30 if alarm is Alarm.DRIFT else None,
        "since": "2026-11-22T11:30:00.000Z", "at": "2026-11-22T11:31:00.500Z",
    }  # fmt: skip


def test_what_is_not_known_is_null():
    """With Redis away nothing is said of the balance."""
    for balance in (None, UNKNOWN):
        event = describe_event(
            Alarm.REDIS_OUTAGE, ORIGIN, is_on=True, balance=balance, since=0, at=time.time()
        )
        assert [event[name] for name in ("balance", "available", "since", "tokens")] == [None] * 4
        assert "gateway-1:7" in event["text"]


def settings(**chosen):
    return Settings(_env_file=None, keepa_base_url="simulator", **chosen)


@pytest.mark.parametrize(
    "url",
    ["hooks.example/s3cret", "ftp://hooks.example/s3cret", "https://", "https:///s3cret",
     "https://x:port/s3cret", "https://[::1/s3cret", "https://x/s3cret key",
     "https://x/s3cr\xe9t", "https://x/s3cret#part", "mailto:s3cret@x.example"],
)  # fmt: skip
def test_a_bad_webhook_stops_the_start_without_showing_it(monkeypatch, url):
    """A webhook's URL has to be http or https, and is never printed, bad or good."""
    monkeypatch.setenv("KEEPA_BASE_URL", "simulator")
    monkeypatch.setenv("ALERT_WEBHOOK_URL", url)
    with pytest.raises(BadSetting) as caught:
        read_settings(None)
    assert str(caught.value).startswith("ALERT_WEBHOOK_URL=***: allowed is an http(s) URL")


@pytest.mark.parametrize(
    "text",
    [
        f"cannot connect to {WEBHOOK}",
        "path=/services/T01/B02/s3cretOfWebhook?token=hunter2 refused",
    ],
)
def test_a_webhook_is_masked_wherever_it_is_printed(text):
    """Neither the URL nor its path is in any line of the log, nor in what settings print."""
    chosen = settings(alert_webhook_url=WEBHOOK)
    line = Redactor(chosen.secrets).redact(text)
    assert "s3cretOfWebhook" not in line
    assert "hunter2" not in line
    assert "s3cretOfWebhook" not in repr(chosen) + str(chosen)


def test_a_short_path_masks_no_words():
    """`/alerts` is no secret, and would be masked in lines that have nothing to do with it."""
    chosen = settings(alert_webhook_url="https://me:pass-of-hook@alerts.example/alerts")
    redactor = Redactor(chosen.secrets)
    assert redactor.redact("GET /alerts") == "GET /alerts"
    assert redactor.redact("me:pass-of-hook") == "me:***"


def test_defaults_are_those_of_the_contract():
    """The alert is due below 50, and nothing is posted unless asked for."""
    chosen = settings()
    assert chosen.alert_balance == 50
    assert chosen.alert_webhook_url.get_secret_value() == ""


def test_drift_that_goes_on_says_how_much_is_new():
    """Told again, its sentence has what came since the last alert, and the sum."""
    event = describe_event(
        Alarm.DRIFT, ORIGIN, is_on=True, balance=BALANCE, tokens=50, tokens_told=30,
        since=1_795_347_000, at=1_795_347_660,
    )  # fmt: skip
    assert "20 tokens since the last alert, 50 in all" in event["text"]
    assert (event["state"], event["tokens"]) == ("firing", 50)


def test_an_outage_may_end_with_its_gateway():
    """Then nobody says that Redis is back."""
    event = describe_event(
        Alarm.REDIS_OUTAGE, ORIGIN, is_on=False, balance=None, since=0, at=0, has_stopped=True
    )
    assert "gateway-1:7 has stopped" in event["text"]
    assert event["state"] == "resolved"


def test_a_test_has_the_fields_of_every_event():
    """Whoever reads events can read it, and sees that nothing is wrong."""
    event = describe_event(Alarm.DRIFT, ORIGIN, is_on=True, balance=None, since=0, at=0)
    test = describe_test(ORIGIN, at=0)
    assert list(test) == list(event)
    assert "nothing is wrong" in test["text"]
