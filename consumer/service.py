"""The consumer as a process: its session, the tasks beside it, and what `/ready` says of it."""

import asyncio

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from consumer.days import PARTITIONS, RETENTION, Days
from consumer.envelope import Partition
from consumer.memory import REDIS
from consumer.outages import Outages
from consumer.session import Session
from consumer.transactions import WAITING
from consumer.watch import Watch
from shared.process.probes import Readiness

_NEEDED: Final = ("kafka", "postgres", "dead letters")


class ConsumerService:
    """
    Runs until stopped; `consumer/assembly.py` puts it together.

    Args:
        region: Its own.
        session: The work.
        days: Make and drop the table's days, beside the work, each in a task of its own.
        outages: Which ports do not work.
        close: Called at the end, one after the other: connections that outlive sessions.
    """

    def __init__(
        self,
        region: str,
        session: Session,
        days: Sequence[Days],
        outages: Outages,
        close: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        self._region = region
        self._session = session
        self._days = days
        self._outages = outages
        self._watch = Watch(session, outages)
        self._close = close

    def stop(self) -> None:
        """Ask `run` to store its batch, commit, leave the group and return."""
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

    def stored(self, partition: Partition) -> int | None:
        """Return the offset up to which a partition is stored; None if this process does not read it."""
        current = self._session.assignment
        return None if current is None or partition not in current.starts else current.commits.done(partition)

    def readiness(self) -> Readiness:
        """Say whether events reach the table, and if not, why."""
        session = self._session
        reasons = self._outages.among(_NEEDED)
        if session.assignment is None and not session.standby and not reasons:
            reasons.append("waiting for partitions")
        if session.assignment is not None and not session.assignment.starts:
            reasons.append("kafka: no broker answers for any of its partitions")
        silent = [f"kafka: no answer for {p.topic}/{p.number}, which is not read" for p in self._watch.unread]
        return Readiness(
            reasons, [*self._outages.among((*REDIS, PARTITIONS, RETENTION, WAITING)), *silent], self._details()
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
