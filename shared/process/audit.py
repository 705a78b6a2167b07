"""
The audit of a service: acts are noted at once, and written beside the event loop.

A request never waits for it. While the disk takes nothing, acts wait in a queue, and beyond that are counted as lost; the log gets a
line with their number as soon as it can be written again.
"""

import asyncio

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Protocol

import structlog

from shared.access.audit_sums import Sums
from shared.process.audit_file import Act, AuditFile

log: Final = structlog.stdlib.get_logger(__name__)

MAX_WAITING: Final = 10_000
"""So many acts may wait."""

_AT_ONCE: Final = 500
# Acts that come together share a write.
_LINGER_S: Final = 0.05
_LOOK_S: Final = 1.0
_AGAIN_S: Final = 1.0
_END_S: Final = 2.0


class Counts(Protocol):
    """What is counted of an audit."""

    def written(self, acts: int) -> None:
        """Note lines that are on the disk."""

    def lost(self, acts: int) -> None:
        """Note acts that have no line."""

    def writable(self, now: bool) -> None:  # noqa: FBT001 - a state
        """Note whether the last write succeeded."""


class Audit:
    """
    Notes acts.

    Args:
        file: Where they are written.
        counts: See there.
        now: Seconds since 1970.

    Attributes:
        problem: Why nothing can be written, as a sentence; None while it can.
    """

    def __init__(self, file: AuditFile, counts: Counts, now: Callable[[], float]) -> None:
        self._file = file
        self._counts = counts
        self._now = now
        self._sums = Sums()
        self._waiting: deque[Act] = deque()
        self._lost = 0
        self._come = asyncio.Event()
        self.problem: str | None = None

    def note(self, act: str, subject: str = "", **facts: Any) -> None:
        """
        Note an act. It never waits, and never fails.

        Args:
            act: Which kind.
            subject: Whose, or why: what its sum is for, where there are too many. It has to be a text of ours, or an id.
            facts: More of it; never a key, nor a secret, nor the text of an event.
        """
        if self._sums.admits(act, subject):
            self._put({"time": _time(self._now()), "act": act, **facts})

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            if not self._waiting:
                await self._next()
            await self._write(_LINGER_S)
            if self.problem is not None:
                await asyncio.sleep(_AGAIN_S)

    async def close(self) -> None:
        """Write what waits still, if that can be done soon."""
        self._sum_up(at_end=True)
        try:
            async with asyncio.timeout(_END_S):
                while self._waiting and self.problem is None:
                    await self._write(0)
        except TimeoutError:
            self.problem = "the disk does not answer"
        if self._waiting or self._lost:
            log.error("acts have no line in the audit log", acts=len(self._waiting) + self._lost, why=self.problem)
        self._file.close()

    async def _next(self) -> None:
        self._come.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._come.wait()

    def _put(self, act: Act) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            self._counts.lost(1)
            return
        self._waiting.append(act)
        self._come.set()

    def _sum_up(self, *, at_end: bool = False) -> None:
        for one in self._sums.due(self._now(), at_end=at_end):
            since = _time(one.since) if one.since else None
            self._put(
                {
                    "time": _time(self._now()),
                    "act": "sum",
                    "of": one.act,
                    "subject": one.subject,
                    "acts": one.acts,
                    "since": since,
                }
            )

    async def _write(self, linger_s: float) -> None:
        if linger_s:
            await asyncio.sleep(linger_s)
        self._sum_up()
        acts = list(islice(self._waiting, _AT_ONCE))
        lost = self._lost
        if lost:
            acts.append({"time": _time(self._now()), "act": "lost", "acts": lost})
        if not acts:
            return
        # A write that was begun is waited for, also by a task that is cancelled, so that no line is there twice.
        writing = asyncio.ensure_future(asyncio.to_thread(self._file.append, acts))
        try:
            await asyncio.shield(writing)
        except OSError as exc:
            self._tell(exc.strerror or str(exc))
            return
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            if writing.exception() is None:
                self._written(acts, lost)
            raise
        self._written(acts, lost)

    def _written(self, acts: list[Act], lost: int) -> None:
        for _ in range(len(acts) - bool(lost)):
            self._waiting.popleft()
        self._lost -= lost
        self._counts.written(len(acts))
        self._tell(None)

    def _tell(self, why: str | None) -> None:
        if why == self.problem or (why and self.problem and why in self.problem):
            return
        if why is None:
            log.info("the audit log can be written again")
            self.problem = None
        else:
            self.problem = f"the audit log cannot be written, so that nothing may be read: {why}; make room on its disk"
            log.error("the audit log cannot be written", why=why)
        self._counts.writable(why is None)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
