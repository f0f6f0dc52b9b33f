"""Latency distributions: what is pooled over all runs for a plot."""

from collections.abc import Iterable

from tests.bench.results import Curve
from tests.measure import percentile

PERCENTS = (0, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 100)


class Curves:
    """Latencies by name, in the order in which the names came."""

    def __init__(self) -> None:
        self._latencies: dict[str, list[float]] = {}

    def add(self, name: str, seconds: Iterable[float]) -> None:
        """Note the latencies of one run."""
        self._latencies.setdefault(name, []).extend(seconds)

    def all(self) -> tuple[Curve, ...]:
        """The distributions, in milliseconds; no point beyond what so many requests can tell."""
        return tuple(_curve(name, sorted(values)) for name, values in self._latencies.items() if values)


def _curve(name: str, ordered: list[float]) -> Curve:
    known = [p for p in PERCENTS if p in (0, 100) or len(ordered) * min(p, 100 - p) >= 100]
    return Curve(name, tuple((percent, round(1000 * percentile(ordered, percent), 4)) for percent in known))
