"""
The consumer as a member of its group: joins, is assigned partitions, releases them in time, starts anew after errors.

    session:  join ── assigned ──> take over ──> read … ──> revoked ──> assigned …
                                                        └── stop: last batch, commit, leave

A session ends with an error when another consumer has fenced this one or Kafka refuses it; the next one begins after a
pause. The bloom filter, the connections and the counters outlive sessions.
"""

import asyncio
import contextlib

from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final

import structlog

from consumer.assignment import Assignment
from consumer.envelope import Partition
from consumer.outages import FIRST_PAUSE_S, LONGEST_PAUSE_S
from consumer.ports import FencedError, SourceUnavailableError
from consumer.source import Connect, Source
from consumer.surroundings import Surroundings
from consumer.takeover import Takeover

log: Final = structlog.stdlib.get_logger(__name__)


class Session:
    """
    One session after the other, until stopped.

    Args:
        connect: Makes a source.
        takeover: Begins assignments.
        around: What they work in.
        drain_s: How long a release may take.
        on_end: Called when the partitions have been given back or lost.

    Attributes:
        source: That of this session, None until it has joined.
        assignment: That of the moment.
        standby: Whether there are no partitions left for this consumer.
    """

    def __init__(
        self,
        connect: Connect,
        takeover: Takeover,
        around: Surroundings,
        *,
        drain_s: float,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._takeover = takeover
        self._around = around
        self._drain_s = drain_s
        self._on_end = on_end
        self._stopping = asyncio.Event()
        self._to_begin: Collection[Partition] | None = None
        self._beginning: asyncio.Task[None] | None = None
        self.source: Source | None = None
        self.assignment: Assignment | None = None
        self.standby = False

    def stop(self) -> None:
        """Ask `run` to store its batch, commit, leave the group and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Run sessions until `stop` is called."""
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began_us = self._around.now_us()
            try:
                await self._run_one()
            except (FencedError, SourceUnavailableError) as exc:
                self._around.outages.begin("kafka", exc)
                log.warning("session ended", error=f"{type(exc).__name__}: {exc}")
            if self._around.now_us() - began_us > 10 * LONGEST_PAUSE_S * 1e6:
                pause_s = FIRST_PAUSE_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _run_one(self) -> None:
        source = self._connect(self._release, self._on_assigned)
        self._to_begin = None
        consuming = asyncio.create_task(self._consume(source))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            # Either may end first: while Kafka or the store is away, a step takes as long as the outage.
            await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if consuming.done():
                consuming.result()
            await self._release()
        finally:
            for task in (consuming, stopping):
                task.cancel()
            await asyncio.gather(consuming, stopping, return_exceptions=True)
            self.source = None
            await self._abandon()
            await source.stop()

    async def _consume(self, source: Source) -> None:
        await source.start()
        self.source = source
        self._around.outages.end("kafka")
        while not self._stopping.is_set():
            partitions, self._to_begin = self._to_begin, None
            current = self.assignment
            if partitions is not None:
                await self._within_work(self._begin(source, partitions))
            elif current is None or current.closing:
                # So that errors and assignments are noticed; what was read of an assignment that is over is dropped.
                await source.poll({}, self._around.pace.poll_s)
                await asyncio.sleep(self._around.pace.poll_s)
            elif await current.read():
                await self._begin_anew(source, current)

    async def _begin(self, source: Source, partitions: Collection[Partition]) -> None:
        self.standby = not partitions
        if self.standby:
            log.info("no partitions left for this consumer, standing by")
        else:
            self.assignment = await self._takeover.begin(source, partitions)

    async def _begin_anew(self, source: Source, current: Assignment) -> None:
        """Begin as after an assignment, once all is stored that was read of logs that are not there any more."""
        if self.assignment is current and not current.closing:
            current.close()
            await self._within_work(self._store_and_begin(source, current))

    async def _store_and_begin(self, source: Source, current: Assignment) -> None:
        await current.store_all()
        self.assignment = None
        await self._begin(source, [*current.starts, *source.missing])

    async def _within_work(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it in a task that a release may wait for, too, and cancel when it takes too long."""
        self._beginning = beginning = asyncio.create_task(work)
        try:
            await asyncio.wait({beginning})
            if not beginning.cancelled():
                beginning.result()
        finally:
            beginning.cancel()
            if self._beginning is beginning:
                self._beginning = None

    def _on_assigned(self, partitions: Collection[Partition]) -> None:
        self._around.metrics.rebalances.inc()
        log.info("partitions assigned", partitions=len(partitions))
        self._to_begin = partitions

    async def _release(self) -> None:
        """Store the batch in flight, commit, and give the partitions back, all within one deadline."""
        self._to_begin = None
        current, beginning = self.assignment, self._beginning
        if current is not None:
            current.close()
        try:
            async with asyncio.timeout(self._drain_s):
                if beginning is not None:
                    await asyncio.wait({beginning})
                if current is not None:
                    await current.release()
        except (TimeoutError, FencedError, SourceUnavailableError) as exc:
            log.warning("released in haste", error=f"{type(exc).__name__}: {exc}")
        await self._abandon()

    async def _abandon(self) -> None:
        beginning, self._beginning = self._beginning, None
        current, self.assignment = self.assignment, None
        self._to_begin = None
        self.standby = False
        if beginning is not None:
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
        if current is not None:
            await current.abandon()
        self._on_end()
