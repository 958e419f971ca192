"""Which of the assumptions of docs/reliability.md a run has broken, and when.

What a kind of fault breaks by itself it says. This is what only two of them break together: a
gateway that is dead, or away from Redis, while the store loses its holds.
"""

HOLD_SECONDS = 30.0
LEARNING_SECONDS = 2.5
# From a store's return to its first script, which begins the epoch.
_FIRST_SCRIPT_SECONDS = 1.5


class Assumptions:
    """What is known to have been broken."""

    def __init__(self) -> None:
        self._broken: list[tuple[float, str]] = []
        self._losses: list[float] = []
        self._deaths: list[float] = []
        self._apart: list[tuple[float, float]] = []

    def note_broken(self, at: float, what: str) -> None:
        self._broken.append((at, what))

    def note_loss(self, at: float) -> None:
        """The store came back, or went on, without some of its holds."""
        self._losses.append(at)

    def note_death(self, at: float) -> None:
        """A gateway died, and with it what it knew of its calls."""
        self._deaths.append(at)

    def note_apart(self, _node: str, began_at: float, ended_at: float) -> None:
        """A gateway could not reach Redis."""
        self._apart.append((began_at, ended_at))

    @property
    def has_loss(self) -> bool:
        """Whether the store ever lost anything."""
        return bool(self._losses)

    @property
    def has_death(self) -> bool:
        """Whether a gateway died."""
        return bool(self._deaths)

    def broken_before(self, moment: float) -> list[str]:
        """Return what had been broken by then."""
        found = {what for at, what in self._broken if at <= moment}
        for loss in self._losses:
            learned = loss + _FIRST_SCRIPT_SECONDS + LEARNING_SECONDS
            if loss > moment:
                continue
            if any(loss - HOLD_SECONDS <= death <= learned for death in self._deaths):
                found.add("no gateway dies while the store lacks its holds")
            if any(
                end - begin > LEARNING_SECONDS and begin <= learned and end >= loss
                for begin, end in self._apart
            ):
                found.add("no gateway is cut off for longer than the learning time meanwhile")
        return sorted(found)
