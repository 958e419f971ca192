"""Counters and histograms that cost a call next to nothing: plain sums, told when scraped.

prometheus_client's own take a lock and several calls for each count. What these tell is the same,
sample by sample, which a test holds against prometheus_client's.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Sum:
    """One counter, of one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Count."""
        self.value += amount


class Spread:
    """One histogram, of one set of labels.

    Args:
        bounds: The upper bounds of its buckets but the last, ascending.
    """

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Sums(Collector):
    """The counters of one name."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...] = ()) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._by_values: dict[tuple[str, ...], Sum] = {}
        if not labels:
            self.labels()

    def labels(self, *values: str) -> Sum:
        """Return the counter of these labels, from 0 on where it is new."""
        found = self._by_values.get(values)
        return found or self._by_values.setdefault(values, Sum())

    def inc(self, amount: float = 1) -> None:
        """Count, where there are no labels."""
        self._by_values[()].value += amount

    def collect(self) -> Iterator[Metric]:
        """Yield what Prometheus scrapes."""
        metric = Metric(self._name, self._text, "counter")
        for values, counter in list(self._by_values.items()):
            named = dict(zip(self._labels, values, strict=True))
            metric.add_sample(f"{self._name}_total", named, counter.value)
        yield metric


class Spreads(Collector):
    """The histograms of one name."""

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], bounds: tuple[float, ...]
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self._bound_names = [*map(floatToGoString, bounds), "+Inf"]
        self._by_values: dict[tuple[str, ...], Spread] = {}
        if not labels:
            self.labels()

    def labels(self, *values: str) -> Spread:
        """Return the histogram of these labels."""
        found = self._by_values.get(values)
        return found or self._by_values.setdefault(values, Spread(self._bounds))

    def collect(self) -> Iterator[Metric]:
        """Yield what Prometheus scrapes."""
        metric = Metric(self._name, self._text, "histogram")
        for values, spread in list(self._by_values.items()):
            named = dict(zip(self._labels, values, strict=True))
            counts = list(accumulate(spread.counts))
            for bound, count in zip(self._bound_names, counts, strict=True):
                metric.add_sample(f"{self._name}_bucket", {**named, "le": bound}, count)
            metric.add_sample(f"{self._name}_count", named, counts[-1])
            # With values below zero a sum may fall, and then it is no counter.
            if self._bounds[0] >= 0:
                metric.add_sample(f"{self._name}_sum", named, spread.total)
        yield metric
