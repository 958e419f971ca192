"""The plain sums tell what prometheus_client's own counters and histograms tell."""

import random

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gateway.metrics.sums import Spreads, Sums

BOUNDS = [(0.0005, 0.1, 1, 30), (-1000, -1, 0, 1, 50)]


@pytest.mark.parametrize("seed", range(20))
def test_counters_as_the_librarys(seed):
    """Whatever is counted, in whatever order, the page is the same."""
    chance, ours, theirs = random.Random(seed), CollectorRegistry(), CollectorRegistry()
    plain, library = (
        Sums("a", "An a", ("x", "y")),
        Counter("a", "An a", ("x", "y"), registry=theirs),
    )
    bare, bare_library = Sums("b", "A b"), Counter("b", "A b", registry=theirs)
    ours.register(plain)
    ours.register(bare)
    for _ in range(chance.randrange(40)):
        labels = chance.choice("pq"), chance.choice(('r"s', "t\\u", "v\nw"))
        amount = chance.choice((0, 1, 7, 10**9, 0.25))
        plain.labels(*labels).inc(amount)
        library.labels(*labels).inc(amount)
        bare.inc(amount)
        bare_library.inc(amount)
    assert generate_latest(ours) == generate_latest(theirs)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("labels", [(), ("x",)])
@pytest.mark.parametrize("seed", range(10))
def test_histograms_as_the_librarys(seed, bounds, labels):
    """Values on a bound, between bounds and beyond them are in the same buckets."""
    chance, ours, theirs = random.Random(seed), CollectorRegistry(), CollectorRegistry()
    plain = Spreads("a", "An a", labels, bounds)
    library = Histogram("a", "An a", labels, buckets=bounds, registry=theirs)
    ours.register(plain)
    for _ in range(chance.randrange(60)):
        value = chance.choice((*bounds, chance.uniform(-2000, 2000), chance.random()))
        values = [chance.choice("pq") for _ in labels]
        plain.labels(*values).observe(value)
        (library.labels(*values) if labels else library).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)
