"""
`GET /api/logs…`: passed on to the console, so that there is one door for those who write and those who read.

The gateway needs neither console nor PostgreSQL: without them reading is answered with 503, and everything else as ever. An answer is passed
on as it comes, and at the pace of its client; a client that goes away ends the console's request.

The console's internal listener takes the request, because it believes a gateway about who the client is.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import quote

import httpx
import structlog

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.metrics import GatewayMetrics
from shared.access.request import address_of
from shared.ingest.asgi import send_reply
from shared.ingest.caller import PRINCIPAL_KEY
from shared.ingest.protocol import Reply
from shared.process.connected import until_gone
from shared.process.http_client import StreamedAnswer, Streams
from shared.process.server import ENDING, READ_SLOWLY
from shared.wire import internal
from shared.wire.problem import CONTENT_TYPE, ProblemError, UnavailableError, document
from shared.wire.reading import CALLER_HEADER, INTERNAL_LOGS, KEY_HEADER, LOGS, TENANT_HEADER

log: Final = structlog.stdlib.get_logger(__name__)
AT_ONCE: Final = 64
CONNECT_S: Final = 1.0
# A search answers in a few seconds, a stream has a sign of life every few.
SILENCE_S: Final = 30.0
_PASSED_ON: Final = ("accept", "accept-encoding", "last-event-id")
_AS_THEY_ARE: Final = "/:@!$&'()*+,;=~"
_PASSED_BACK: Final = frozenset(
    (
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"cache-control",
        b"retry-after",
        b"vary",
        b"x-accel-buffering",
    )
)
_AWAY: Final = (
    "the console, which finds stored events, does not answer ({}); events are taken and stored all the same. "
    "`GATEWAY_CONSOLE` says where it is"
)


class Reading:
    """
    The console, as the gateway knows it.

    Args:
        url: Its address.
        streams: Asks it.
    """

    def __init__(self, url: str, streams: Streams) -> None:
        self._base = httpx.URL(url)
        self._streams = streams
        self._port: int | None = None
        self.under_way = 0

    @asynccontextmanager
    async def ask(self, target: str, headers: Mapping[str, str]) -> AsyncIterator[StreamedAnswer]:
        """
        Ask the console.

        Args:
            target: Path below `/api/logs`, and query, percent-encoded.
            headers: Of the request.

        Raises:
            UnavailableError: It does not answer, or too many ask.
            httpx.TransportError: The answer breaks off.
        """
        if self.under_way >= AT_ONCE:
            raise UnavailableError(
                f"{AT_ONCE} requests to the console are under way, as many as may be; retry after a pause"
            )
        self.under_way += 1
        try:
            async with self._found(target, headers) as answer:
                yield answer
        finally:
            self.under_way -= 1

    @asynccontextmanager
    async def _found(self, target: str, headers: Mapping[str, str]) -> AsyncIterator[StreamedAnswer]:
        """Ask at the internal listener, which the public one names."""
        if self._port is None:
            async with self._at(self._base, target, headers) as answer:
                named = [value for name, value in answer.headers if name == internal.PORT_HEADER.lower().encode()]
                self._port = internal.port_of(named[0].decode("latin-1")) if named else None
                if self._port is None:  # the settings name the internal one
                    yield answer
                    return
        try:
            async with self._at(self._base.copy_with(port=self._port), target, headers) as answer:
                yield answer
        except UnavailableError:
            self._port = None  # it may have been started again, with another port
            raise

    @asynccontextmanager
    async def _at(self, base: httpx.URL, target: str, headers: Mapping[str, str]) -> AsyncIterator[StreamedAnswer]:
        url = f"{str(base).rstrip('/')}{INTERNAL_LOGS}{target}"
        has_answered = False
        try:
            async with self._streams.get(url, headers) as answer:
                has_answered = True
                yield answer
        except httpx.TransportError as exc:
            if has_answered:
                raise
            raise UnavailableError(_AWAY.format(str(exc) or type(exc).__name__)) from exc


class ReadingDoor:
    """
    ASGI wrapper around the app: passes on what is read, and leaves all else to the app.

    Args:
        app: What is wrapped.
        reading_of: Finds the console in a connection's scope.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, reading_of: Callable[[Scope], Reading], metrics: GatewayMetrics) -> None:
        self._app = app
        self._reading_of = reading_of
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or scope["method"] != "GET" or not is_read(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        headers = {name: value for name in _PASSED_ON if (value := request.headers.get(name)) is not None}
        headers[CALLER_HEADER] = address_of(request.scope)
        if (principal := scope.get(PRINCIPAL_KEY)) is not None:
            headers |= {TENANT_HEADER: principal.tenant, KEY_HEADER: principal.key_id}
        target = quote(scope["path"].removeprefix(LOGS), safe=_AS_THEY_ARE)
        if query := scope["query_string"]:
            target += f"?{query.decode('latin-1')}"
        with suppress(ClientDisconnect):
            await until_gone(receive, self._pass_on(self._reading_of(scope), target, headers, scope["state"], send))

    async def _pass_on(
        self, reading: Reading, target: str, headers: Mapping[str, str], state: dict[str, Any], send: Send
    ) -> None:
        status: int | None = None
        try:
            async with reading.ask(target, headers) as answer:
                status = answer.status
                kept = [item for item in answer.headers if item[0] in _PASSED_BACK]
                # A tail has no end: its client reads as fast as it can, and comes back when this gateway ends.
                is_endless = _has_no_end(answer)
                state[READ_SLOWLY] = is_endless
                await send({"type": "http.response.start", "status": status, "headers": kept})
                async for piece in answer.pieces():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    if is_endless and ENDING in state and state[ENDING].is_set():
                        break
                await send({"type": "http.response.body", "body": b""})
        except UnavailableError as exc:
            status = exc.status
            await send_reply(problem_reply(exc), send)
        except httpx.TransportError as exc:
            # Without the end of its body, so that the client does not take it for whole.
            log.warning("the console's answer broke off", error=str(exc) or type(exc).__name__)
        finally:
            self._metrics.reads.labels("none" if status is None else str(status)).inc()


def is_read(path: str) -> bool:
    """Tell whether a path belongs to the reading API, and means what it says."""
    inside = path == LOGS or path.startswith(LOGS + "/")
    return inside and not any(part in (".", "..") for part in path.split("/"))


def _has_no_end(answer: StreamedAnswer) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in answer.headers)


def problem_reply(error: ProblemError) -> Reply:
    """Return a problem as an answer."""
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    return Reply(error.status, document(error.status, error.detail, error.extra), CONTENT_TYPE.encode(), headers)
