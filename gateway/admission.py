"""A bound on how many requests with events there are at once, and on their bodies; and the metrics about them."""

import asyncio
import time

from collections import deque
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
# So many requests of a path may wait for a place before their bodies are read, and so many small ones after that.
MAX_WAITING: Final = 256
MAX_WAITING_BODIES: Final = 64
MAX_WAITING_BYTES: Final = 256 * 1024
_NO_ROOM: Final = "the gateway holds as many bytes of requests as it may; retry after a pause"


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
        # By path, and none of a path for which nothing waits: whatever leaves looks at all of them.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
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
            raise UnavailableError(_NO_ROOM)
        self._under_way[path] += 1
        key = (path, CALLER.get())
        self._of_caller[key] = self._of_caller.get(key, 0) + 1

    async def wait(self, path: str, size: int, seconds: float) -> None:
        """
        Wait until a request that says to have `size` bytes would be let in, at most so long.

        Raises:
            UnavailableError: It would not be, or as many wait as may.
        """

        def look() -> None:
            self.ask(path)
            if not self._bounds.has_room(size):
                raise UnavailableError(_NO_ROOM)

        await self._patiently(look, path, seconds, MAX_WAITING)

    async def enter_patiently(self, path: str, size: int, seconds: float) -> None:
        """
        Let a request in as `enter` does, and wait for that at most so long if it is small.

        Raises:
            UnavailableError: See there.
        """
        most = MAX_WAITING_BODIES if size <= MAX_WAITING_BYTES else 0
        await self._patiently(lambda: self.enter(path, size), path, seconds, most)

    def resize(self, before: int, after: int) -> None:
        """
        Note that a request that entered holds more bytes now, or less.

        Raises:
            UnavailableError: There is no room for more.
        """
        if after <= before:
            self._bounds.give_back(before - after)
        elif not self._bounds.take(after - before):
            raise UnavailableError(_NO_ROOM)

    async def _patiently(self, attempt: Callable[[], None], path: str, seconds: float, most: int) -> None:
        try:
            attempt()
        except UnavailableError:
            if len(self._waiting.get(path, ())) >= most:
                raise
        else:
            return
        loop = asyncio.get_running_loop()
        refusal: UnavailableError | None = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    turn = loop.create_future()
                    waiting = self._waiting.setdefault(path, deque())
                    # Who was woken for nothing stays the first.
                    (waiting.append if refusal is None else waiting.appendleft)(turn)
                    try:
                        await turn
                    finally:
                        self._forget(path, turn)
                    try:
                        attempt()
                    except UnavailableError as exc:
                        refusal = exc
                    else:
                        return
        except TimeoutError:
            attempt()

    def _forget(self, path: str, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(path)
        if waiting is None or turn not in waiting:
            return
        waiting.remove(turn)
        if not waiting:
            del self._waiting[path]

    def _wake_the_first(self) -> None:
        """Let the first that waits of each path try again."""
        for path in tuple(self._waiting):
            turn = self._waiting[path][0]
            self._forget(path, turn)
            if not turn.done():
                turn.set_result(None)

    def leave(self, path: str, size: int) -> None:
        """Note that a request that entered is done."""
        self._under_way[path] -= 1
        self._bounds.give_back(size)
        if self._waiting:
            self._wake_the_first()
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
