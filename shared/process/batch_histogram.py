"""A Prometheus histogram that takes a whole batch at once: one search for each bucket, not one for each event."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class BatchHistogramChild:
    """
    One label set of a `BatchHistogram`.

    Args:
        bounds: Upper bounds of the buckets, rising; the last one is infinity.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.cumulative = [0] * len(bounds)
        self.sum = 0.0

    def observe_all(self, values: Iterable[float]) -> None:
        """Take these values into account."""
        rising = sorted(values)
        for index, bound in enumerate(self._bounds):
            self.cumulative[index] += bisect_right(rising, bound)
        self.sum += sum(rising)


class BatchHistogram(Collector):
    """
    What `prometheus_client.Histogram` exports, for values that come in batches. For one thread.

    Args:
        name: Of the metric.
        documentation: What it tells.
        labelnames: Of its labels.
        registry: Where it is exported.
        buckets: Upper bounds, rising, without infinity.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str],
        *,
        registry: CollectorRegistry,
        buckets: Sequence[float],
    ) -> None:
        self._family = (name, documentation, tuple(labelnames))
        self._bounds = (*buckets, float("inf"))
        self._children: dict[tuple[str, ...], BatchHistogramChild] = {}
        registry.register(self)

    def labels(self, *values: str) -> BatchHistogramChild:
        """Return the histogram of one label set; it is exported from now on."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = BatchHistogramChild(self._bounds)
        return child

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return what is exported."""
        name, documentation, labelnames = self._family
        family = HistogramMetricFamily(name, documentation, labels=labelnames)
        for values, child in self._children.items():
            buckets = [
                (floatToGoString(bound), count)  # type: ignore[no-untyped-call]
                for bound, count in zip(self._bounds, child.cumulative, strict=True)
            ]
            family.add_metric(values, buckets, child.sum)
        return [family]
