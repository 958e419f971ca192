"""`make bench`: what the budget costs, as ratios to a bare proxy."""
