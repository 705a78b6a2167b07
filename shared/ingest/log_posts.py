"""
The usual `POST /api/logs`, without the framework around it.

What is not usual about a request in any way (a coding, a body in pieces, a second `X-Region`, an event that is not valid) is
left to the route of `shared.ingest.log_api`, which sees it as if nobody had looked before. So there is one place that says what is
wrong, and one that is fast; `shared/tests/test_log_api.py` asks the same of both.
"""

import asyncio

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from shared.event.model import MAX_EVENT_BYTES, InvalidEventError
from shared.event.outcome import Accepted, EventSink
from shared.event.sealed import Receipt, SealedEvent
from shared.ingest.body import BODY_TIMEOUT_S
from shared.ingest.log_api import accepted_body, identity, refused, served_by, tell_refusals
from shared.wire import trace
from shared.wire.problem import IDENTITY

PATH: Final = "/api/logs"
_TYPES: Final = frozenset(
    {b"application/json"}
    | {b"application/json;%bcharset=%b" % (s, c) for s in (b"", b" ") for c in (b"utf-8", b"UTF-8")}
)
_READ: Final = frozenset({b"content-type", b"content-encoding", b"x-region", b"traceparent"})


class LogPosts:
    """
    ASGI wrapper around an app that has the routes of `log_router`.

    Args:
        app: What is wrapped.
        sink_of: Finds the service's sink in a connection's scope.
        now: Clock, aware UTC; the system's by default.
    """

    def __init__(
        self, app: ASGIApp, *, sink_of: Callable[[Scope], EventSink], now: Callable[[], datetime] | None = None
    ) -> None:
        self._app = app
        self._sink_of = sink_of
        self._now = now or (lambda: datetime.now(UTC))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name in _READ]
        said = dict(headers)
        sink = self._sink_of(scope)
        asked = said.get(b"x-region")
        region = None if asked is None else asked.decode("latin-1")
        usual = (
            len(said) == len(headers)
            and said.get(b"content-type") in _TYPES
            and b"content-encoding" not in said
            and (region is None or region in sink.regions)
        )
        if not usual:
            await self._app(scope, receive, send)
            return
        message: Message | None = None
        try:
            # A body that does not come is the framework's affair, too.
            async with asyncio.timeout(BODY_TIMEOUT_S):
                message = await receive()
        except TimeoutError:
            await self._app(scope, _replay(None, receive), send)
            return
        event = self._read(message)
        if event is None:
            await self._app(scope, _replay(message, receive), send)
            return
        traceparent = trace.of_request(headers)
        try:
            [outcome] = await sink.accept([event], region, traceparent)
        except Exception:
            scope[IDENTITY] = identity(event)
            raise
        if not isinstance(outcome, Accepted):
            tell_refusals([event], [outcome], traceparent)
            await refused(event, outcome)(scope, receive, send)
            return
        body = accepted_body(event, outcome).encode()
        start = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        start += [(name.lower().encode(), value.encode()) for name, value in served_by(outcome).items()]
        await send({"type": "http.response.start", "status": 202, "headers": start})
        await send({"type": "http.response.body", "body": body})

    def _read(self, message: Message) -> SealedEvent | None:
        if message["type"] != "http.request" or message.get("more_body"):
            return None
        body = message.get("body", b"")
        if len(body) > MAX_EVENT_BYTES:
            return None
        try:
            return Receipt(self._now(), uuid7).event(body)
        except InvalidEventError:
            return None


def _replay(message: Message | None, receive: Receive) -> Receive:
    waiting = [message] if message is not None else []

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
