"""What a rush came to: who got how much, who waited how long, and which promise was broken."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from support.callers.visits import Visit, overtaken, passed_over
from support.gateways.processes import KEY
from support.rush.rush import FLOOR, Party, Rush

# Two calls of one moment: each gateway asks about the line four times a second, on a busy machine.
SLACK_SECONDS = 1.0
# From the end of a wait to its answer, besides what this process itself was late.
LATE_SECONDS = 1.5
LEAST_USED = 0.98
# Between gateway and caller.
_ON_THE_WAY = 0.02
# What a call may be told when its turn comes, and at the end of its wait or before it.
_OWN_CAPS = {"429 service_quota", "429 service_concurrency"}
_NO_TOKENS = {"429 floor", "429 service_floor"}


class Share(NamedTuple):
    """What one service asked for and got. Waits are of calls that said they would, in seconds."""

    calls: int
    served: int
    tokens: int
    told: dict[str, int]
    longest_served: float
    longest_refused: float
    waited: int
    """How many calls waited for longer than a second and were served."""
    dismissed: int
    """How many waited as well, and were then told of a cap of their own service."""


def share_of(visits: Iterable[Visit]) -> Share:
    """Sum up the calls of one service."""
    mine = list(visits)
    served = [v for v in mine if v.is_served]
    refused = [v for v in mine if v.verdict.startswith("429")]
    return Share(
        len(mine),
        len(served),
        sum(v.tokens for v in served),
        dict(Counter(v.verdict for v in mine).most_common()),
        round(max((v.seconds for v in served), default=0), 2),
        round(max((v.seconds for v in refused), default=0), 2),
        sum(v.seconds > 1 for v in served),
        sum(v.seconds > 1 and v.verdict in _OWN_CAPS for v in refused),
    )


class Books:
    """The account of a rush that has settled, with what Keepa and the gateways say of it.

    Args:
        rush: Run, and settled.
        truth: The simulator's state afterwards.
    """

    def __init__(self, rush: Rush, truth: dict[str, Any]) -> None:
        self._rush = rush
        self._truth = truth
        self._of = {
            party.name: [v for v in rush.visits if v.service == party.name]
            for party in rush.parties
        }
        self.shares = {name: share_of(visits) for name, visits in self._of.items()}
        lines = [line for gateway in rush.gateways for line in gateway.logged("call")]
        self._lines = {line["request_id"]: line for line in lines}
        self.left = [v for v in rush.visits if v.verdict == "left"]
        self.left_in_time = [v for v in self.left if v.request_id not in self._lines]
        """Those whose caller left before they were admitted."""
        self.broken: list[str] = []

    @property
    def given(self) -> int:
        """Tokens that could be had: above the floor at the beginning, and from lumps since."""
        return int(self._rush.plan.tokens - FLOOR + self._truth["gained_total"])

    @property
    def utilisation(self) -> float:
        return float(self._truth["charged_total"] / self.given)

    def figures(self) -> dict[str, object]:
        """Return what there is to tell in one line."""
        truth = self._truth
        return {
            "calls": len(self._rush.visits),
            "lumps": truth["gained_total"] // self._rush.plan.rate,
            "given": self.given,
            "charged": truth["charged_total"],
            "utilisation": round(self.utilisation, 4),
            "lowest": truth["lowest_balance_by_charge"],
            "left_waiting": len(self.left_in_time),
            "left_later": len(self.left) - len(self.left_in_time),
            "lowest_seen_by_batch": min(self._seen_by("batch"), default=None),
            "most_waiting": dict(self._rush.most.waiting),
            "scripts_per_second": self._rush.scripts_per_second,
            "lag_seconds": round(self._rush.lag_seconds, 2),
            "most_added_ms": max(line["added_ms"] for line in self._lines.values()),
        }

    def judge(self) -> list[str]:
        """Hold everything against its promise; return those that were broken."""
        truth = self._truth
        self._expect(truth["lowest_balance_by_charge"] >= FLOOR, "the floor was crossed")
        self._expect(truth["refused_total"] == 0, "Keepa refused a call")
        self._expect(self.utilisation >= LEAST_USED, f"only {self.utilisation:.4f} was used")
        self._judge_policies()
        self._judge_spending()
        self._judge_waits()
        self._judge_order()
        self._judge_output()
        return self.broken

    def _expect(self, is_so: bool, what: str) -> None:
        if not is_so:
            self.broken.append(what)

    def _judge_policies(self) -> None:
        most = self._rush.most
        for party in self._rush.parties:
            told = self.shares[party.name].told
            own = "429 service_floor" if "floor" in party.policy else "429 floor"
            allowed = {"200", "left", own}
            if "tokens_per_hour" in party.policy:
                allowed.add("429 service_quota")
                cap = int(str(party.policy["tokens_per_hour"]))
                used = self.shares[party.name].tokens
                is_within = most.hour[party.name] <= cap and used <= cap * self._rush.clock_hours
                self._expect(is_within, f"{party.name} had {used}, above its cap of {cap}")
            if "max_concurrency" in party.policy:
                allowed.add("429 service_concurrency")
                holds = int(str(party.policy["max_concurrency"]))
                self._expect(most.holds[party.name] <= holds, f"{party.name} had too many holds")
            self._expect(told.keys() <= allowed, f"{party.name} was told {told}")
            self._expect(self.shares[party.name].served > 0, f"{party.name} got nothing")
            lowest = min(self._seen_by(party.name), default=party.floor)
            self._expect(lowest >= party.floor, f"{party.name} was served at {lowest}")

    def _seen_by(self, name: str) -> list[int]:
        """Return the balances that a service left behind, by Keepa's own word.

        An answer tells what is left when it leaves Keepa: what those in flight then may have taken
        since this call was admitted is added.
        """
        return [
            visit.answer.json()["tokensLeft"] + self._taken_since_admitted(visit)
            for visit in self._of[name]
            if visit.is_served and visit.answer
        ]

    def _admitted_at(self, visit: Visit) -> float:
        """Return when a call that was served had its tokens, or a little before."""
        line = self._lines[visit.request_id]
        return visit.ended_at - (line["upstream_ms"] + line["added_ms"]) / 1000 - _ON_THE_WAY

    def _taken_since_admitted(self, visit: Visit) -> int:
        since, until = self._admitted_at(visit), visit.ended_at
        return sum(
            other.tokens
            for other in self._rush.visits
            if other is not visit
            and other.request_id in self._lines
            and other.began_at <= until
            and (
                # Of one whose caller has left nobody here knows when it ended.
                other.ended_at + LATE_SECONDS >= since
                if other.verdict == "left"
                else other.is_served
                and other.ended_at >= since
                and self._admitted_at(other) <= until
            )
        )

    def _judge_spending(self) -> None:
        """Who left while it waited spent nothing; all that Keepa charged has somebody's name."""
        served = sum(share.tokens for share in self.shares.values())
        later = 0
        for visit in self.left:
            line = self._lines.get(visit.request_id)
            if line:
                later += line["consumed"] or 0
                waited = line["waited_ms"] / 1000
                self._expect(waited <= visit.seconds + 0.1, f"spent for nobody: {visit}")
        charged = self._truth["charged_total"]
        self._expect(
            charged == served + later,
            f"Keepa charged {charged}, callers got {served}, who left had {later} under way",
        )
        consumed = sum(line["consumed"] or 0 for line in self._lines.values())
        self._expect(charged == consumed, f"Keepa charged {charged}, {consumed} were settled")

    def _judge_waits(self) -> None:
        for visit in self._rush.visits:
            delay = self._rush.delay_seconds(visit.began_at, visit.ended_at)
            longest = visit.patience + LATE_SECONDS + self._rush.lag_seconds
            self._expect(visit.seconds - delay <= longest, f"late: {_tell(visit)}")
            if visit.answer and visit.patience:
                applied = visit.answer.get("Preference-Applied")
                self._expect(applied == f"wait={visit.patience:g}", f"{applied}: {_tell(visit)}")
            if visit.answer and visit.verdict in _NO_TOKENS and visit.seconds < visit.patience - 1:
                # Refused before its time: because that would not have been long enough.
                needed = visit.answer.json()["refillIn"] / 1000
                left = visit.patience - visit.seconds
                self._expect(needed >= left - 0.5, f"{needed:.1f} s: {_tell(visit)}")

    def _judge_order(self) -> None:
        """First come, first served in each service and cost; the lower floor first of all."""
        # What came while this process stood still seems to have ended together, afterwards.
        slack_seconds = SLACK_SECONDS + self._rush.lag_seconds
        waiting = [v for v in self._rush.visits if v.verdict not in _OWN_CAPS | {"gone"}]
        for one, other in overtaken(waiting, slack_seconds):
            self.broken.append(f"overtaken: {_tell(one)} by {_tell(other)}")
        parties = sorted(self._rush.parties, key=lambda party: party.floor)
        for place, party in enumerate(parties):
            others = [v for later in parties[place + 1 :] for v in self._of[later.name]]
            mine = [v for v in self._of[party.name] if v.verdict not in _OWN_CAPS]
            for one, other in passed_over(mine, others, slack_seconds):
                self.broken.append(f"passed over: {_tell(one)} by {_tell(other)}")

    def _judge_output(self) -> None:
        for gateway in self._rush.gateways:
            text = gateway.output + gateway.errors
            self._expect("Traceback" not in text, f"a traceback in {gateway.folder}")
            self._expect(not gateway.errors, f"output of its own: {gateway.errors[:200]}")
            secrets = (KEY, *(party.secret for party in self._rush.parties))
            self._expect(not any(s in text for s in secrets), f"a secret in {gateway.folder}")


def _tell(visit: Visit) -> str:
    return (
        f"{visit.service} {visit.tokens} tokens, wait={visit.patience:g}: "
        f"{visit.verdict} after {visit.seconds:.2f} s, ended at {visit.ended_at:.2f}"
    )


def describe(party: Party, share: Share) -> str:
    """Return one line of the report."""
    return (
        f"{party.name:9} floor {party.floor:>4}  calls {share.calls:>6}  served {share.served:>5}  "
        f"tokens {share.tokens:>5}  longest wait served {share.longest_served:6.2f} s, refused "
        f"{share.longest_refused:6.2f} s  waited and served {share.waited:>4}, dismissed "
        f"{share.dismissed:>3}  {share.told}"
    )
