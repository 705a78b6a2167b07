"""
The answer of a tail: server-sent events until the client goes away, at the client's own pace.

Each `id` is a position: who comes back with it gets what follows, and nothing twice.
"""

import asyncio

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from console.filter import Filter
from console.marks import Position
from console.ports import BusyError, StoreUnavailableError
from console.row import encode
from console.tail import cursor
from console.tail.fanout import POLL_S, FanOut, Subscription
from console.tail.step import Event, Step
from shared.process.connected import until_gone
from shared.process.server import READ_SLOWLY

EVENT_STREAM: Final = "text/event-stream"
AT_EVERY_S: Final = 5.0
RETRY_MS: Final = 1000
PIECE_BYTES: Final = 64 * 1024
# While PostgreSQL does not answer.
_PAUSE_S: Final = 0.5


def frame(event: str, data: Mapping[str, Any], position: Position | None = None) -> bytes:
    """Return a server-sent event."""
    at = b"" if position is None else b"id: %b\n" % cursor.write(position).encode()
    return b"event: %b\n%bdata: %b\n\n" % (event.encode(), at, encode(data))


class TailStream(Response):
    """
    The answer.

    Args:
        fan_out: Reads the table.
        wanted: What the client wants.
        position: Where it begins.
        full: Whether long messages are shown to their ends.
        on_events: Told how many were sent.
        close: Called at the end, whichever it is.
    """

    def __init__(
        self,
        fan_out: FanOut,
        wanted: Filter,
        position: Position,
        *,
        full: bool,
        on_events: Callable[[int], None],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(media_type=EVENT_STREAM)
        self._fan_out = fan_out
        self._subscription = Subscription(wanted)
        self._position = position
        self._full = full
        self._on_events = on_events
        self._close = close
        self._at_due = 0.0
        self._behind: dict[str, Any] | None = None
        del self.headers["content-length"]
        self.headers["Cache-Control"] = "no-store"
        self.headers["X-Accel-Buffering"] = "no"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        scope["state"][READ_SLOWLY] = True
        try:
            with suppress(ClientDisconnect):
                await until_gone(receive, self._send(send))
        finally:
            self._fan_out.leave(self._subscription)
            await self._close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for body in self._pieces():
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield b"retry: %d\n\n" % RETRY_MS + self._at()
        while not self._fan_out.is_ending:
            async for body in self._catch_up():
                yield body
            async for body in self._follow():
                yield body
        yield frame("bye", {"why": "restart"}, self._position)

    async def _catch_up(self) -> AsyncIterator[bytes]:
        """Read on from the table until there is nothing more, and the poller tells of what follows."""
        is_near = True
        while not self._fan_out.is_ending:
            try:
                step, has_joined = await self._fan_out.read(self._position, self._subscription if is_near else None)
            except (StoreUnavailableError, BusyError) as exc:
                self._behind = {"rows": 0, "ms": self._behind_ms(), "why": exc.detail}
                if body := self._due():
                    yield body
                await asyncio.sleep(_PAUSE_S)
                continue
            self._subscription.passed += step.looked_at
            wanted = [event for event in step.events if self._subscription.wanted.matches(event.row)]
            self._behind = self._distance(step) if step.is_full else None
            if step.reset is not None:
                yield frame("reset", step.reset.data, step.end)
            for body in self._bodies(wanted):
                yield body
            self._position = step.end
            if body := self._due():
                yield body
            if has_joined:
                return
            is_near = not step.is_full
            if is_near and not step.events:
                await asyncio.sleep(POLL_S)

    async def _follow(self) -> AsyncIterator[bytes]:
        """Pass on what the poller has, until that is too much for this client."""
        subscription = self._subscription
        while not (self._fan_out.is_ending or subscription.has_left):
            try:
                async with asyncio.timeout_at(self._at_due):
                    await subscription.wake.wait()
            except TimeoutError:
                self._at_due = 0.0  # the loop's clock may round
            subscription.wake.clear()
            while (delivery := subscription.take()) is not None:
                if delivery.reset is not None:
                    yield frame("reset", delivery.reset.data, delivery.end)
                for body in self._bodies(delivery.events):
                    yield body
                self._position = delivery.end
            trouble = self._fan_out.trouble
            self._behind = None if trouble is None else {"rows": 0, "ms": self._behind_ms(), "why": trouble}
            if body := self._due():
                yield body

    def _bodies(self, events: Iterable[Event]) -> Iterable[bytes]:
        """Yield events in pieces of some size: a write for each would cost more than the event."""
        frames: list[bytes] = []
        size = 0
        for event in events:
            written = event.frame(full=self._full)
            frames.append(written)
            size += len(written)
            if size >= PIECE_BYTES:
                yield b"".join(frames)
                self._on_events(len(frames))
                frames, size = [], 0
        if frames:
            yield b"".join(frames)
            self._on_events(len(frames))

    def _due(self) -> bytes:
        """Return the sign of life, if it is time for one."""
        if asyncio.get_running_loop().time() < self._at_due:
            return b""
        behind = b"" if self._behind is None else frame("behind", self._behind)
        return behind + self._at()

    def _at(self) -> bytes:
        self._at_due = asyncio.get_running_loop().time() + AT_EVERY_S
        says = {"behindMs": self._behind_ms(), "passed": self._subscription.passed}
        return frame("at", says, self._position)

    def _behind_ms(self) -> int:
        if self._behind is not None and "why" not in self._behind:
            return int(self._behind["ms"])
        return round(self._fan_out.behind_s * 1000)

    @staticmethod
    def _distance(step: Step) -> dict[str, Any]:
        """Return how far a reader is behind: numbers that are still to be looked at, and the age of the last row."""
        ms = 0
        if step.events:
            ms = max(0, round((datetime.now(UTC) - step.events[-1].row.stored_at).total_seconds() * 1000))
        return {"rows": max(0, step.marks.high - step.end.floor), "ms": ms}
