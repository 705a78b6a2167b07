"""A bound on how many requests with events there are at once, and the metrics about them."""

from collections.abc import Mapping

from prometheus_client import Counter

from gateway.metrics import GatewayMetrics
from shared.wire.problem import UnavailableError


class Admission:
    """
    The gate of the gateway.

    Args:
        limits: Requests under way at the same time, by path. A body is held in memory until it is answered, so this is what
            bounds the memory of requests.
        metrics: Where requests are counted.
    """

    def __init__(self, limits: Mapping[str, int], metrics: GatewayMetrics) -> None:
        self._limits = limits
        self._under_way = dict.fromkeys(limits, 0)
        self._requests = metrics.requests
        self._duration = metrics.request_duration
        self._by_status: dict[int, Counter] = {}

    def enter(self, path: str) -> None:
        """
        Let a request in; `leave` follows, also after an error.

        Raises:
            UnavailableError: There are as many as there may be.
        """
        self._under_way[path] += 1
        if self._under_way[path] > self._limits[path]:
            raise UnavailableError("the gateway handles as many requests as it may; retry after a pause")

    def leave(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._under_way[path] -= 1
        self._duration.observe(seconds)
        if (counter := self._by_status.get(status)) is None:
            counter = self._by_status[status] = self._requests.labels(str(int(status)))
        counter.inc()
