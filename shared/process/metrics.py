"""
What the metrics of all services have in common: the buckets, and a registry.

Base units, bounded label sets. Each service defines its metrics in its own `metrics.py`, in one class. The class takes a
registry, so that two apps in one process, as in tests, do not share counters.
"""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FRESHNESS_BUCKETS: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.15, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
BATCH_BUCKETS: Final = (1, 5, 10, 50, 100, 500, 1000, 2500, 5000, 10000)


def new_registry() -> CollectorRegistry:
    """Return a registry that already tells about the process: memory, CPU, file descriptors."""
    # They would double the number of series, for creation times that no dashboard or rule uses.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot the annotation
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry
