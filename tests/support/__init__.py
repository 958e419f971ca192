"""What several test folders need, sorted by what it is for; what one folder needs lies there."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
