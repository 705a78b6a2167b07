"""Counts requests by route and status, and how long they took; a stream's time goes to its end."""

import time

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.metrics import ConsoleMetrics

_FAILED: Final = 500
COUNTED_AS: Final = "counted_as"
"""Key of a request's scope: what it is counted as, if not as its route."""


class Counted:
    """
    ASGI wrapper around the app.

    Args:
        app: What is wrapped.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: ConsoleMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), _FAILED

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # The template of the path: what clients send makes no labels.
            route = scope.get(COUNTED_AS) or getattr(scope.get("route"), "path", None) or "none"
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.request_duration.labels(route).observe(time.perf_counter() - started)
