"""A bound on how many requests with events there are at once, and on their bodies; and the metrics about them."""

import time

from collections.abc import Callable, Mapping
from math import inf
from typing import Final

from prometheus_client import Counter

from gateway.metrics import GatewayMetrics
from shared.ingest.caller import CALLER
from shared.process.bounds import Bounds
from shared.wire.problem import UnavailableError

# While others come, too, so much is kept for callers that hold less than half of the places: an eighth.
_KEPT: Final = 8
# So long after two callers in turn there is more than one.
_OTHERS_S: Final = 10.0


class Admission:
    """
    The gate of the gateway.

    Args:
        limits: Requests under way at the same time, by path.
        bounds: The budget of bytes that the server's connections share. A body, or what was made of it, is held until its
            request is answered.
        metrics: Where requests are counted.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        limits: Mapping[str, int],
        bounds: Bounds,
        metrics: GatewayMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._bounds = bounds
        self._clock = clock
        self._under_way = dict.fromkeys(limits, 0)
        self._of_caller: dict[tuple[str, str], int] = {}
        self._last_caller: str | None = None
        self._others_at = -inf
        self._requests = metrics.requests
        self._duration = metrics.request_duration
        self._by_status: dict[int, Counter] = {}

    def ask(self, path: str) -> None:
        """
        Look whether a request would be let in, before its body is read.

        Raises:
            UnavailableError: There are as many as there may be, or nearly so and half of them are of one caller.
        """
        caller = CALLER.get()
        if caller != self._last_caller:
            if self._last_caller is not None:
                self._others_at = self._clock()
            self._last_caller = caller
        free = self._limits[path] - self._under_way[path]
        if free > self._limits[path] // _KEPT:
            return
        if free <= 0:
            raise UnavailableError("the gateway handles as many requests as it may; retry after a pause")
        share = self._of_caller.get((path, caller), 0)
        if share >= self._limits[path] // 2 and self._clock() - self._others_at < _OTHERS_S:
            raise UnavailableError("the gateway handles as many requests of this client as it may; retry after a pause")

    def enter(self, path: str, size: int) -> None:
        """
        Let a request in whose body has arrived; `leave` follows.

        Raises:
            UnavailableError: As for `ask`; or their bodies have as many bytes as they may.
        """
        self.ask(path)
        if not self._bounds.take(size):
            raise UnavailableError("the gateway holds as many bytes of requests as it may; retry after a pause")
        self._under_way[path] += 1
        key = (path, CALLER.get())
        self._of_caller[key] = self._of_caller.get(key, 0) + 1

    def leave(self, path: str, size: int) -> None:
        """Note that a request that entered is done."""
        self._under_way[path] -= 1
        self._bounds.give_back(size)
        key = (path, CALLER.get())
        left = self._of_caller.pop(key) - 1
        if left:
            self._of_caller[key] = left

    def count(self, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._duration.observe(seconds)
        if (counter := self._by_status.get(status)) is None:
            counter = self._by_status[status] = self._requests.labels(str(int(status)))
        counter.inc()
