"""The consumer as a process: its session, what looks after it and after the days beside it, and what `/ready` says of it."""

import asyncio

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from consumer.days import PARTITIONS, RETENTION, Days
from consumer.memory import REDIS
from consumer.session import Session
from consumer.troubles import Troubles
from consumer.watch import Watch
from consumer.writer import WAITING
from shared.process.probes import Readiness

_NEEDED: Final = ("kafka", "postgres", "dead letters")


class ConsumerService:
    """
    Runs until stopped; `consumer/assembly.py` puts it together.

    Args:
        region: Its own.
        session: The work.
        days: Beside it, each with a task of its own.
        troubles: What is wrong outside.
        close: Lets go of what outlives sessions, one after the other.
    """

    def __init__(
        self,
        region: str,
        session: Session,
        days: Sequence[Days],
        troubles: Troubles,
        close: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        self._region = region
        self._session = session
        self._days = days
        self._troubles = troubles
        self._watch = Watch(session, troubles)
        self._close = close

    def stop(self) -> None:
        """Ask `run` to finish its batch, commit, leave the group and return."""
        self._session.stop()

    async def run(self) -> None:
        """Run sessions until `stop` is called."""
        beside = [
            asyncio.create_task(self._watch.run()),
            *(asyncio.create_task(days.look_after()) for days in self._days),
        ]
        try:
            await self._session.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            for close in self._close:
                await close()

    def readiness(self) -> Readiness:
        """Say whether events reach the table, and if not, why."""
        session = self._session
        reasons = self._troubles.among(_NEEDED)
        if session.assignment is None and not session.standby and not reasons:
            reasons.append("waiting for partitions")
        if session.assignment is not None and not session.assignment.starts:
            reasons.append("kafka: no broker answers for any of its partitions")
        silent = [f"kafka: no answer for {p.topic}/{p.number}, which is not read" for p in self._watch.unread]
        return Readiness(
            reasons, [*self._troubles.among((*REDIS, PARTITIONS, RETENTION, WAITING)), *silent], self._details()
        )

    def _details(self) -> dict[str, Any]:
        current = self._session.assignment
        partitions = sorted(f"{p.topic}/{p.number}" for p in current.starts) if current else []
        return {
            "region": self._region,
            "partitions": partitions,
            "standby": self._session.standby,
            "buffered": len(current.buffer) if current else 0,
            "heldBytes": current.held_bytes if current else 0,
        }
