"""Makes a failing story small, and tells it."""

from dataclasses import replace

from simulation.loop import START
from simulation.play import Outcome, play

_TRIES = 60


def shrink(outcome: Outcome) -> Outcome:
    """Return the outcome of the smallest story found that breaks the same promise."""
    judge = outcome.found[0].judge
    best, tries = outcome, 0
    for part in ("faults", "callers"):
        size = max(1, len(getattr(best.story, part)) // 2)
        while size and tries < _TRIES:
            at = 0
            while at < len(getattr(best.story, part)) and tries < _TRIES:
                members = getattr(best.story, part)
                fewer = members[:at] + members[at + size :]
                tries += 1
                tried = play(replace(best.story, **{part: fewer}))
                if any(found.judge == judge for found in tried.found):
                    best = tried
                else:
                    at += size
            size //= 2
    return best


def tell(outcome: Outcome) -> str:
    """Tell a failing story: what was broken, by whom, and what happened last."""
    story = outcome.story
    lines = [f"BROKEN: {found}" for found in outcome.found[:8]]
    lines.append(f"seed {story.seed}, profile {story.profile}, {story.seconds:g} s")
    lines.append(f"settings {story.settings}, policies {story.policies}")
    lines += [f"  {fault.name}: {fault.kind} at {fault.at:g} s" for fault in story.faults]
    lines += [
        f"  {caller.name}: {caller.kind} of {caller.service}, each {caller.pause:g} s"
        for caller in story.callers
    ]
    lines.append(f"assumptions broken: {', '.join(outcome.broken) or 'none'}")
    broken_at = outcome.found[0].at - START if outcome.found else 0.0
    for party, events in outcome.last.items():
        lines.append(f"  last of {party} (broken at {broken_at:.3f}):")
        lines += [f"    {at:10.4f} {text}" for at, text in events[-5:]]
    return "\n".join(lines)
