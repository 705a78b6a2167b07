"""
Who read which events: a line in the audit log for each request that asks for some, and two for a stream.

While the log cannot be written nothing is read, since it would not be known who read it. Without keys there is no log, and this is not
there.
"""

import re
import time

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.export import is_asked
from console.tail.api import TAIL
from console.views import LOGS
from shared.access.principal import ANYONE, Principal
from shared.access.request import PATH_CHARS, address_of
from shared.ingest.asgi import send_reply
from shared.ingest.caller import PRINCIPAL_KEY
from shared.ingest.protocol import problem_reply
from shared.process.audit import Audit
from shared.wire.problem import UnavailableError

_READ: Final = (f"{LOGS}/", "/loki/", "/api/prom/")
# What is searched for in messages would be, by and by, what is in them.
_TEXTS: Final = frozenset({"text", "-text", "q", "pattern"})
_LOGQL: Final = frozenset({"query", "match", "match[]"})
_SELECTOR: Final = re.compile(r'\{(?:[^"`{}]|"(?:[^"\\]|\\.)*"|`[^`]*`)*\}')
_MAX_BODY: Final = 8 * 1024
_MAX_PARAMETERS: Final = 30
_VALUE_CHARS: Final = 200
_FORM: Final = b"application/x-www-form-urlencoded"


class AuditReads:
    """
    ASGI wrapper around the app, inside of what asks for keys.

    Args:
        app: What is wrapped.
        audit: Where reading is noted.
    """

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or not is_read(scope["path"]):
            await self._app(scope, receive, send)
            return
        if self._audit.problem is not None:
            await send_reply(problem_reply(UnavailableError(self._audit.problem)), send)
            return
        await self._noted(scope, receive, send)

    async def _noted(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, body = time.perf_counter(), bytearray()
        answer = {"status": 0, "bytes": 0}
        is_form = any(name == b"content-type" and value.startswith(_FORM) for name, value in scope["headers"])

        async def reading() -> Message:
            message = await receive()
            if is_form and message["type"] == "http.request" and len(body) < _MAX_BODY:
                body.extend(message.get("body", b"")[: _MAX_BODY - len(body)])
            return message

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
            else:
                answer["bytes"] += len(message.get("body", b""))
            await send(message)

        act = _act(scope)
        reader: Principal = scope.get(PRINCIPAL_KEY, ANYONE)
        who = {"key": reader.key_id, "tenant": reader.tenant, "address": address_of(scope)}
        # A stream goes on for long, so that a line at its end alone would come late, or never.
        if act != "read":
            self._audit.note(act, reader.key_id, **who, state="opened", **asked(scope, b""))
        try:
            await self._app(scope, reading, noting)
        finally:
            took_ms = round((time.perf_counter() - started) * 1000, 1)
            if act != "read":
                who["state"] = "closed"
            self._audit.note(act, reader.key_id, **who, **asked(scope, bytes(body)), **answer, ms=took_ms)


def is_read(path: str) -> bool:
    """Tell whether what is asked there is about events. Pages ask the API, so that they are not here."""
    return path == LOGS or path.startswith(_READ)


def _act(scope: Scope) -> str:
    if scope["path"] == TAIL:
        return "tail"
    return "export" if scope["path"] == LOGS and is_asked(Headers(scope=scope)) else "read"


def asked(scope: Scope, body: bytes) -> dict[str, Any]:
    """Return the path and the parameters of a request, without what it looks for in messages."""
    pairs = [pair for text in (scope.get("query_string", b""), body) for pair in _pairs(text)]
    filters: dict[str, list[str]] = {}
    for name, value in pairs[:_MAX_PARAMETERS]:
        filters.setdefault(name[:_VALUE_CHARS], []).append(_shown(name, value))
    facts: dict[str, Any] = {"path": scope["path"][:PATH_CHARS], "filter": filters}
    return facts if len(pairs) <= _MAX_PARAMETERS else {**facts, "parameters": len(pairs)}


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    try:
        yield from parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        yield "", f"more than 1000 parameters, {len(text)} bytes"


def _shown(name: str, value: str) -> str:
    if name in _TEXTS:
        return f"({len(value)} characters)"
    if name in _LOGQL:
        selectors = "".join(found[0] for found in _SELECTOR.finditer(value[:4096]))
        return f"{selectors[:_VALUE_CHARS]} ({len(value)} characters)"
    return value[:_VALUE_CHARS]
