"""A bound on how many requests with events there are at once, and on their bodies; and the metrics about them."""

from collections.abc import Mapping

from prometheus_client import Counter

from gateway.metrics import GatewayMetrics
from shared.process.bounds import Bounds
from shared.wire.problem import UnavailableError


class Admission:
    """
    The gate of the gateway.

    Args:
        limits: Requests under way at the same time, by path.
        bounds: The budget of bytes that the server's connections share. A body, or what was made of it, is held until its
            request is answered.
        metrics: Where requests are counted.
    """

    def __init__(self, limits: Mapping[str, int], bounds: Bounds, metrics: GatewayMetrics) -> None:
        self._limits = limits
        self._bounds = bounds
        self._under_way = dict.fromkeys(limits, 0)
        self._requests = metrics.requests
        self._duration = metrics.request_duration
        self._by_status: dict[int, Counter] = {}

    def ask(self, path: str) -> None:
        """
        Look whether a request would be let in, before its body is read.

        Raises:
            UnavailableError: There are as many as there may be.
        """
        if self._under_way[path] >= self._limits[path]:
            raise UnavailableError("the gateway handles as many requests as it may; retry after a pause")

    def enter(self, path: str, size: int) -> None:
        """
        Let a request in whose body has arrived; `leave` follows.

        Raises:
            UnavailableError: There are as many as there may be, or their bodies have as many bytes.
        """
        self.ask(path)
        if not self._bounds.take(size):
            raise UnavailableError("the gateway holds as many bytes of requests as it may; retry after a pause")
        self._under_way[path] += 1

    def leave(self, path: str, size: int) -> None:
        """Note that a request that entered is done."""
        self._under_way[path] -= 1
        self._bounds.give_back(size)

    def count(self, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._duration.observe(seconds)
        if (counter := self._by_status.get(status)) is None:
            counter = self._by_status[status] = self._requests.labels(str(int(status)))
        counter.inc()
