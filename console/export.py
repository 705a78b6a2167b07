"""
All rows of a search as NDJSON, in portions, each of which is a transaction of its own: no snapshot is held for an hour.

The last line is `{"end": true, …}`; without it the download is not whole. In between, `{"at": "c1.…"}` says where to go on if it breaks
off: what came after such a line comes again then.
"""

import asyncio
import time
import zlib

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from console.cursor import Cursor
from console.ports import BusyError, Session, StoreUnavailableError
from console.query import Query
from console.row import Row, encode, shown
from console.walk import BUDGET_S, Clock, Collecting, Walk
from shared.process.connected import until_gone

NDJSON: Final = "application/x-ndjson"
_ASKED: Final = (NDJSON, "application/ndjson", "application/jsonl")
PORTION: Final = 2000
_MARK_ROWS: Final = 10_000
_MARK_S: Final = 5.0
# PostgreSQL that is started again, or busy with others, is waited for.
_PATIENCE_S: Final = 30.0
_PAUSE_S: Final = 0.5
_GZIP_LEVEL: Final = 1
_GZIP_BITS: Final = 31

Line = dict[str, object]
Sessions = Callable[[], AbstractAsyncContextManager[Session]]


def is_asked(headers: Headers) -> bool:
    """Tell whether a request for a search asks for an export of all of it."""
    return any(kind in headers.get("accept", "") for kind in _ASKED)


async def lines(
    query: Query, cursor: Cursor, sessions: Sessions, clock: Clock = time.monotonic
) -> AsyncIterator[tuple[Sequence[Row], Line | None]]:
    """
    Yield portions of rows, each with the line that follows them, if any.

    Args:
        query: Which rows.
        cursor: Where to begin.
        sessions: Lends a session for a portion.
        clock: Monotonic seconds.
    """
    walk = Walk(query, cursor)
    count = unmarked = 0
    marked_at = clock()
    while not walk.is_over:
        try:
            rows = await _portion(walk, sessions, clock)
        except (BusyError, StoreUnavailableError) as exc:
            yield (), {"cut": True, "why": exc.detail, "count": count, "at": walk.cursor.write()}
            return
        count += len(rows)
        unmarked += len(rows)
        mark: Line | None = None
        if unmarked >= _MARK_ROWS or clock() - marked_at >= _MARK_S:
            mark = {"at": walk.cursor.write()}
            unmarked, marked_at = 0, clock()
        yield rows, mark
    yield (), {"end": True, "count": count, "next": None}


async def _portion(walk: Walk, sessions: Sessions, clock: Clock) -> Sequence[Row]:
    until = clock() + _PATIENCE_S
    while True:
        try:
            async with sessions() as session:
                collecting = Collecting(walk, session, PORTION, peek=False)
                await walk.go(collecting, BUDGET_S, clock)
                return collecting.rows
        except (BusyError, StoreUnavailableError):
            if clock() >= until:
                raise
        await asyncio.sleep(_PAUSE_S)


class Export(Response):
    """
    The answer of an export. Its client's pace is its pace; it ends when the client goes away.

    Args:
        portions: As `lines` yields them.
        zipped: Whether to compress.
        on_rows: Told how many were sent.
        close: Called at the end, whichever it is.
    """

    def __init__(
        self,
        portions: AsyncIterator[tuple[Sequence[Row], Line | None]],
        *,
        zipped: bool,
        on_rows: Callable[[int], None],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(media_type=NDJSON)
        self._portions = portions
        self._zip = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_BITS) if zipped else None
        self._on_rows = on_rows
        self._close = close
        del self.headers["content-length"]
        self.headers["Cache-Control"] = "no-store"
        self.headers["Vary"] = "Accept, Accept-Encoding"
        if zipped:
            self.headers["Content-Encoding"] = "gzip"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            with suppress(ClientDisconnect):
                await until_gone(receive, self._send(send))
        finally:
            await self._close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for rows, line in self._portions:
            # Encoding and compressing take long enough to hold up other requests.
            body = await asyncio.to_thread(self._encode, rows, line)
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})
            self._on_rows(len(rows))
        await send({"type": "http.response.body", "body": self._zip.flush() if self._zip else b""})

    def _encode(self, rows: Sequence[Row], line: Line | None) -> bytes:
        written = [encode(shown(row, full=True)) for row in rows]
        if line is not None:
            written.append(encode(line))
        body = b"".join(one + b"\n" for one in written)
        if self._zip is None:
            return body
        # What is compressed is sent at once: a line that says where to go on must not wait for more.
        return self._zip.compress(body) + (self._zip.flush(zlib.Z_SYNC_FLUSH) if body else b"")
