"""The known name that a misspelt one means."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "<the nearest known name>"?`, or an empty text."""
    near = get_close_matches(name, known, n=1, cutoff=0.7)
    return f'; did you mean "{near[0]}"?' if near else ""
