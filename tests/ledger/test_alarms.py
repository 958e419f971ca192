"""Alarms agreed on through the store: who posts, who takes over, when it is over."""

import asyncio
from collections.abc import Callable

import pytest
from support.waiting import until

from gateway.ledger import OUTAGE, Agreement, Alarms, Sighting, Store
from gateway.ledger.ledger import Ledger

SEEN = Sighting(0.0)
NOT_SEEN = Sighting(None)
UNSURE = Sighting(None, is_sure=False)


class Gateway:
    """One gateway's part: it believes what it heard, as alerts.py does."""

    def __init__(self, store: Store, account: str, claim_seconds: float = 10.0) -> None:
        self.alarms = Alarms(store, account, "gateway-1:7", claim_seconds=claim_seconds)
        self.believed = False

    async def say(
        self, sighting: Sighting, *, quiet: float = 0.0, name: str = "drift", again: float = 0.0
    ) -> Agreement:
        agreement = await self.alarms.agree(
            name, sighting, quiet_seconds=quiet, believed=self.believed, again_seconds=again
        )
        self.believed = agreement.told
        return agreement

    async def posts(self, sighting: Sighting, **how) -> bool | None:
        """Say what is seen; return what is to be posted."""
        return (await self.say(sighting, **how)).to_post

    async def confirm(self, *, is_on: bool, name: str = "drift", tokens: int = 0) -> None:
        await self.alarms.note_post(name, is_on=is_on, pause_seconds=0, tokens=tokens)
        self.believed = is_on


Join = Callable[..., Gateway]


@pytest.fixture
def join(store: Store, account: str) -> Join:
    """Return a maker of gateways on one account."""
    return lambda **how: Gateway(store, account, **how)


async def test_one_of_many_posts_a_beginning_and_an_end(join: Join) -> None:
    """Of ten that see it at once one posts, of ten that see it over one posts."""
    gateways = [join() for _ in range(10)]
    for seen, is_on in ((SEEN, True), (NOT_SEEN, False)):
        asked = await asyncio.gather(*(gateway.posts(seen) for gateway in gateways))
        assert [answer for answer in asked if answer is not None] == [is_on]
        claimant = gateways[asked.index(is_on)]
        await claimant.confirm(is_on=is_on)
        assert {await gateway.posts(seen) for gateway in gateways} == {None}
        assert {gateway.believed for gateway in gateways} == {is_on}


async def test_nothing_seen_nothing_posted(join: Join) -> None:
    """An alarm that never was on has no end to tell of."""
    for sighting in (NOT_SEEN, UNSURE, NOT_SEEN):
        agreement = await join().say(sighting)
        assert agreement._replace(now=0) == Agreement(
            told=False, to_post=None, ask_again_seconds=0, since=0, now=0, tokens=0
        )


async def test_an_unconfirmed_claim_goes_to_another(join: Join) -> None:
    """A gateway that dies before it has posted is replaced when its claim is over."""
    died, other = join(claim_seconds=0.3), join()
    assert await died.posts(SEEN) is True
    waiting = await other.say(SEEN)
    assert waiting.to_post is None
    assert 0 < waiting.ask_again_seconds <= 0.3

    async def takes_over() -> bool:
        return await other.posts(SEEN) is True

    await until(takes_over, 2)
    # It was not dead, only slow: its word does not count any more.
    await died.alarms.note_post("drift", is_on=True, pause_seconds=0)
    assert (await died.say(SEEN)).told is False
    await other.confirm(is_on=True)
    assert (await died.say(SEEN)).told is True


async def test_a_claim_is_kept_while_its_owner_asks(join: Join) -> None:
    """Who still tries to post asks again, and nobody else posts meanwhile."""
    owner, other = join(claim_seconds=0.4), join()
    assert await owner.posts(SEEN) is True
    for _ in range(6):
        await asyncio.sleep(0.1)
        assert await other.posts(SEEN) is None
        assert await owner.posts(SEEN) is True


async def test_unsure_leaves_it_as_told(join: Join) -> None:
    """Between two thresholds, or without a balance, nothing begins and nothing ends."""
    gateway = join()
    assert await gateway.posts(UNSURE) is None
    await gateway.posts(SEEN)
    await gateway.confirm(is_on=True)
    assert await gateway.posts(UNSURE) is None
    assert await join().posts(UNSURE) is None
    assert await gateway.posts(NOT_SEEN) is False


async def test_it_is_over_only_when_nobody_saw_it_for_the_quiet_time(join: Join) -> None:
    """While one gateway sees it, others who do not cannot end it."""
    one, other = join(), join()
    await one.posts(SEEN, quiet=30)
    await one.confirm(is_on=True)
    waiting = await other.say(NOT_SEEN, quiet=30)
    assert waiting.to_post is None
    assert 29 < waiting.ask_again_seconds <= 30
    # Seen 29 seconds ago is still on; the later sighting of another counts more.
    assert await other.posts(Sighting(29.0), quiet=30) is None
    assert (await other.say(NOT_SEEN, quiet=30)).ask_again_seconds > 29

    async def is_over() -> bool:
        return await other.posts(NOT_SEEN, quiet=0.3) is False

    await until(is_over, 2)


async def test_a_sighting_of_the_past_counts_from_then(join: Join) -> None:
    """What was seen before the quiet time does not begin an alarm."""
    gateway = join()
    assert await gateway.posts(Sighting(31.0), quiet=30) is None
    assert await gateway.posts(Sighting(29.0), quiet=30) is True


async def test_a_failed_post_is_tried_again_after_a_pause_by_anyone(join: Join) -> None:
    """While it pauses nobody posts; then whoever comes first, if it is still so."""
    one, other = join(), join()
    assert await one.posts(SEEN) is True
    await one.alarms.note_post("drift", is_on=True, pause_seconds=0.3)
    assert await one.posts(SEEN) is None
    assert 0 < (await other.say(SEEN)).ask_again_seconds <= 0.3

    async def tries_again() -> bool:
        return await other.posts(SEEN) is True

    await until(tries_again, 2)
    await other.alarms.note_post("drift", is_on=True, pause_seconds=0.01)
    # It is over before anybody was told of it: there is nothing to say.
    assert await one.posts(NOT_SEEN) is None


async def test_it_began_when_it_was_first_seen(join: Join) -> None:
    """Begin and tokens are the same for all until it is over, then both are gone."""
    one, other = join(), join()
    first = await one.say(Sighting(0.0, tokens=7))
    await one.confirm(is_on=True)
    second = await other.say(Sighting(0.0, tokens=5))
    assert (first.tokens, second.tokens) == (7, 12)
    assert first.since == second.since == pytest.approx(first.now)
    over = await other.say(NOT_SEEN)
    assert (over.to_post, over.tokens, over.since) == (False, 12, first.since)
    await other.confirm(is_on=False)
    again = await one.say(Sighting(0.0, tokens=3))
    assert (again.to_post, again.tokens) == (True, 3)
    assert again.since > over.since


async def test_what_ended_untold_leaves_nothing_behind(join: Join) -> None:
    """An alarm that was over before anybody was told begins anew the next time."""
    gateway = join()
    first = await gateway.say(Sighting(0.0, tokens=7))
    await gateway.alarms.note_post("drift", is_on=True, pause_seconds=0.01)

    async def is_gone() -> bool:
        return (await gateway.say(NOT_SEEN)).since == 0

    await until(is_gone, 2)
    again = await gateway.say(Sighting(0.0, tokens=3))
    assert (again.to_post, again.tokens) == (True, 3)
    assert again.since > first.since


async def test_an_emptied_store_repeats_nothing_and_loses_no_end(join: Join, flush) -> None:
    """What a gateway heard before it was emptied is true after it."""
    one, other = join(), join()
    await one.posts(SEEN)
    await one.confirm(is_on=True)
    assert await other.posts(SEEN) is None
    await flush()
    assert await other.posts(SEEN) is None
    await flush()
    assert await one.posts(NOT_SEEN) is False


async def test_alarms_do_not_mix(join: Join) -> None:
    """Each has a record and a claim of its own."""
    gateway, other = join(), join()
    assert await gateway.posts(SEEN) is True
    assert await other.posts(SEEN, name="balance_low:50") is True
    await gateway.confirm(is_on=True)
    assert (await gateway.say(SEEN, name="balance_low:50")).told is False


async def test_sent_twice_it_is_the_same(join: Join) -> None:
    """A confirmation that is sent again, even late, changes nothing."""
    one, other = join(), join()
    await one.posts(SEEN)
    for _ in range(2):
        await one.confirm(is_on=True)
    assert await other.posts(NOT_SEEN) is False
    await other.confirm(is_on=False)
    await one.alarms.note_post("drift", is_on=True, pause_seconds=0)
    assert (await other.say(NOT_SEEN)).told is False


async def test_the_ledger_is_left_alone(join: Join, ledger: Ledger) -> None:
    """Alarms live in a key of their own: the account's books do not change by them."""
    before = await ledger.overview()
    await join().posts(SEEN)
    after = await ledger.overview()
    assert after._replace(balance=before.balance) == before
    assert after.balance[:6] == before.balance[:6]


async def test_one_that_goes_on_is_told_again_with_the_sum(join: Join) -> None:
    """After the time for it, and only with more tokens, one of all gateways tells it again."""
    one, other = join(), join()
    first = await one.say(Sighting(0.0, tokens=7), again=0.4)
    assert (first.to_post, first.tokens_told) == (True, 0)
    await one.confirm(is_on=True, tokens=first.tokens)
    assert await other.posts(Sighting(0.0, tokens=5), again=0.4) is None
    told: list[Agreement] = []

    async def is_told_again() -> bool:
        told[:] = [await one.say(SEEN, again=0.4)]
        return told[0].to_post is True

    await until(is_told_again, 3)
    assert await other.posts(SEEN, again=0.4) is None
    assert (told[0].tokens, told[0].tokens_told, told[0].since) == (12, 7, first.since)
    await one.confirm(is_on=True, tokens=12)
    await asyncio.sleep(0.5)
    # Nothing was added since.
    assert await other.posts(SEEN, again=0.4) is None
    later = await other.say(Sighting(0.0, tokens=1), again=0.4)
    assert (later.to_post, later.tokens, later.tokens_told) == (True, 13, 12)
    await other.confirm(is_on=True, tokens=13)
    assert await one.posts(NOT_SEEN, again=0.4) is False
    await one.confirm(is_on=False)
    anew = await other.say(Sighting(0.0, tokens=2), again=0.4)
    assert (anew.to_post, anew.tokens, anew.tokens_told) == (True, 2, 0)


async def test_a_post_that_failed_is_told_again_with_all_since(join: Join) -> None:
    """What one post could not tell the next one does."""
    gateway = join()
    await gateway.say(Sighting(0.0, tokens=7), again=0.1)
    await gateway.confirm(is_on=True, tokens=7)

    async def is_due() -> bool:
        return await gateway.posts(Sighting(0.0, tokens=1), again=0.1) is True

    await until(is_due, 2)
    await gateway.alarms.note_post("drift", is_on=True, pause_seconds=0.05, tokens=8)

    async def is_due_again() -> bool:
        agreement = await gateway.say(SEEN, again=0.1)
        return agreement.to_post is True and agreement.tokens_told == 7

    await until(is_due_again, 2)


async def test_what_an_older_gateway_told_is_not_told_again_at_once(join: Join) -> None:
    """Without a note of when it was told, the time for telling it again begins now."""
    old, new = join(), join()
    await old.say(Sighting(0.0, tokens=7))
    await old.confirm(is_on=True)
    agreement = await new.say(Sighting(0.0, tokens=1), again=60)
    assert (agreement.to_post, agreement.tokens_told) == (None, 7)


OWN = f"{OUTAGE}gateway-1:7"


async def note_outage(gateway: Gateway) -> Agreement:
    return await gateway.alarms.agree(
        OWN, SEEN, quiet_seconds=0.3, believed=True, began_seconds_ago=90
    )


async def test_an_outage_that_is_left_is_ended_by_whoever_comes_next(join: Join) -> None:
    """Noted by its gateway, it is open to all; once the note is old one of them ends it."""
    gone, next_one, other = join(), join(), join()
    assert await next_one.alarms.outages() == []
    noted = await note_outage(gone)
    assert (noted.told, noted.to_post) == (True, None)
    assert noted.now - noted.since == pytest.approx(90, abs=0.1)
    assert await next_one.alarms.outages() == [OWN]
    # Its gateway may yet tell it.
    assert (await next_one.say(NOT_SEEN, name=OWN, quiet=0.3)).ask_again_seconds > 0

    async def is_left() -> bool:
        return await next_one.posts(NOT_SEEN, name=OWN, quiet=0.3) is False

    await until(is_left, 2)
    assert await other.posts(NOT_SEEN, name=OWN, quiet=0.3) is None
    await next_one.confirm(is_on=False, name=OWN)
    assert await next_one.alarms.outages(over=OWN) == []
    assert await other.posts(NOT_SEEN, name=OWN, quiet=0.3) is None


async def test_a_renewed_note_is_its_gateways_to_end(join: Join) -> None:
    """As long as the gateway lives nobody ends its outage for it; others' alarms are no outages."""
    gateway, other = join(), join()
    await gateway.posts(SEEN)
    for _ in range(4):
        await note_outage(gateway)
        await asyncio.sleep(0.15)
        assert await other.posts(NOT_SEEN, name=OWN, quiet=0.3) is None
    assert await gateway.alarms.outages() == [OWN]
    assert await gateway.alarms.outages(over=OWN) == []
