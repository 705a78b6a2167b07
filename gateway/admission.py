"""
What every request to the log API passes first: a bound on how many there are at once, and the metrics about them.

Plain ASGI, since Starlette's `BaseHTTPMiddleware` costs as much as the rest of a request together.
"""

from collections.abc import Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Final

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.metrics import GatewayMetrics
from shared.wire.problem import problem

RETRY_AFTER_S: Final = 1


class Admission:
    """
    ASGI wrapper around the app.

    Args:
        app: What is wrapped.
        limits: Requests under way at the same time, by path. Other paths are neither bounded nor measured. A body is held
            in memory until it is answered, so this is what bounds the memory of requests.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, *, limits: Mapping[str, int], metrics: GatewayMetrics) -> None:
        self._app = app
        self._limits = limits
        self._under_way = dict.fromkeys(limits, 0)
        self._requests = metrics.requests
        self._duration = metrics.request_duration
        self._by_status: dict[int, Counter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        path: str = scope["path"] if scope["type"] == "http" else ""
        if path not in self._limits:
            await self._app(scope, receive, send)
            return
        # What an exception makes of it, unless an answer was begun before.
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR
        started = perf_counter()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._under_way[path] += 1
        try:
            app = self._app if self._under_way[path] <= self._limits[path] else _overloaded
            await app(scope, receive, note_status)
        finally:
            self._under_way[path] -= 1
            self._duration.observe(perf_counter() - started)
            self._count(status)

    def _count(self, status: int) -> None:
        if (counter := self._by_status.get(status)) is None:
            counter = self._by_status[status] = self._requests.labels(str(status))
        counter.inc()


async def _overloaded(scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the gateway handles as many requests as it may; retry after a pause",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )
    await answer(scope, receive, send)
