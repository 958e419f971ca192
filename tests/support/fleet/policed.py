"""Services with policies of their own, and a referee of what they were admitted to."""

from collections import Counter

from gateway.ledger import Admission, Hold, Terms

SERVICES = ("shop", "stock", "shop", "batch")
"""The shop, held to nothing but the account's floor, twice as often as the others."""
OVERDRAWING = "bulk"
HOUR_SECONDS, DAY_SECONDS = 3600, 86400


def make_terms(floor: int, refill_rate: int) -> dict[str, Terms]:
    """Return each service's terms, on an account with that floor."""
    return {
        "shop": Terms(floor),
        "stock": Terms(floor + 15, is_own_floor=True, max_concurrency=2),
        "batch": Terms(
            floor + 30,
            is_own_floor=True,
            tokens_per_hour=15 + 10 * refill_rate,
            tokens_per_day=30 + 25 * refill_rate,
        ),
        OVERDRAWING: Terms(floor, overdraft=True),
    }


class Referee:
    """Watches over what each service is admitted to, by what is true and not by the books.

    A service's caps are counted in the store: an emptied one, or one set back, has forgotten.
    """

    def __init__(self, terms: dict[str, Terms]) -> None:
        self._terms = terms
        self._windows: dict[str, tuple[int, int]] = {}
        self._charged: Counter[tuple[str, str, int]] = Counter()

    def start_over(self) -> None:
        """The store has forgotten what was counted."""
        self._windows.clear()
        self._charged.clear()

    def judge_admission(self, admission: Admission, to_be_had: int | None, live: int) -> None:
        """Judge a call that was let in.

        Args:
            to_be_had: Keepa's balance without all that is on its way there; None: nobody knows.
            live: Calls of that service on their way, this one included.
        """
        hold = admission.hold
        assert hold
        if not hold.tokens:
            return
        terms = self._terms[hold.service]
        left = admission.balance.available
        if terms.overdraft:
            assert admission.balance.held == hold.tokens, "it overdraws beside others"
            assert left + hold.tokens >= admission.balance.capacity, "the bucket was not full"
        else:
            assert left >= terms.floor, f"{left} are left to {hold.service}"
            assert to_be_had is None or to_be_had >= terms.floor, f"{to_be_had} are left in truth"
        assert live <= (terms.max_concurrency or live), f"{live} calls of {hold.service} at once"

    def note(self, hold: Hold, now: float) -> None:
        """The call belongs to the windows of this moment."""
        self._windows[hold.id] = (int(now // HOUR_SECONDS), int(now // DAY_SECONDS))

    def judge_charge(self, hold: Hold, cost: int) -> None:
        """Keepa charges the call."""
        if hold.id not in self._windows:
            return
        terms = self._terms[hold.service]
        caps = (terms.tokens_per_hour, terms.tokens_per_day)
        names = ("hour", "day")
        for name, window, cap in zip(names, self._windows[hold.id], caps, strict=True):
            key = (hold.service, name, window)
            self._charged[key] += cost
            charged = self._charged[key]
            assert charged <= (cap or charged), f"{hold.service} had {charged} in one {name}"
