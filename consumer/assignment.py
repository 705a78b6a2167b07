"""
One assignment of partitions, from its beginning to its release.

    read:      poll, decode, put in order ── wakes ──> store:    batch after batch ──> remember: Redis is told of the last one
       └── dead letters are written beside it            └── check in, commit offsets, when due

What is read is decoded and put in order while the batch before it is on its way to the store, and Redis is told of the one
before that. `read` runs in the session's task and waits only while a whole batch is ready and the store is at work; the
others are tasks of the assignment, and end with it.
"""

import asyncio

from collections.abc import Iterator, Mapping, Sequence

from consumer.decode import Record
from consumer.envelope import Partition
from consumer.orders import Orders
from consumer.pipeline import REDIS, Pipeline
from consumer.source import Source
from consumer.surroundings import Surroundings


class Assignment:
    """
    The work on some partitions.

    Args:
        source: Where they are read; begun.
        pipeline: Their way.
        buffer: The pipeline's.
        starts: Where reading begins; empty if none of the partitions has a leader.
        batch_max: Events in one transaction; no more are read at once.
        around: What it works in.

    Attributes:
        pipeline: As given.
        buffer: As given.
        starts: As given.
        closing: Whether it is being released: nothing new is begun.
    """

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        buffer: Orders,
        starts: Mapping[Partition, int],
        *,
        batch_max: int,
        around: Surroundings,
    ) -> None:
        self.pipeline = pipeline
        self.buffer = buffer
        self.starts = starts
        self.closing = False
        self._source = source
        self._around = around
        self._pace = around.pace
        self._read_max = min(batch_max, around.pace.poll_max)
        self._storing: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._more = asyncio.Event()  # there may be something to do for `_store`
        self._moved = asyncio.Event()  # a batch has been stored, or `_store` has nothing more to do
        self._is_idle = True
        self._committed: Mapping[Partition, int] = {}
        self._committed_us = self._probed_us = 0

    # -- the work

    async def read(self) -> bool:
        """
        Read, and see to it that what is released is stored, until this assignment is closed.

        Returns:
            Whether all has to begin anew: a log is not the one that was read, or one that was missing has been found.

        Raises:
            FencedError: The partitions belong to another consumer now.
            SourceUnavailableError: The group or the cluster refuses this consumer.
        """
        if self._storing is None:
            self._storing = asyncio.create_task(self._store())
            # However it ends, the reader waits for it no longer.
            self._storing.add_done_callback(lambda _: self._moved.set())
        while not self.closing:
            if self._must_begin_anew():
                return True
            await self._read_once()
        return False

    async def _read_once(self) -> None:
        source, pipeline = self._source, self.pipeline
        if not self.starts:
            await source.poll({}, self._pace.poll_s)
            await asyncio.sleep(self._pace.poll_s)
            return
        polled = await source.poll(self.buffer.shares(self._read_max), self._pace.poll_s)
        empty = await source.known_empty()
        # A release may have come while waiting: then the next owner reads these records.
        if self.closing:
            return
        for partition, records in _slices(polled, self._pace.decode_max):
            pipeline.decode(partition, records)
            await asyncio.sleep(0)
        await self._put_in_order(empty)

    async def _put_in_order(self, empty: Mapping[Partition, int]) -> None:
        if self.closing:
            return
        self.pipeline.take(empty)
        self._source.pause_only(self.buffer.to_pause())
        await self._see_to_letters()
        await self._let_store()

    async def _see_to_letters(self) -> None:
        """Have dead letters written beside the stream, which waits for them only when they are too many."""
        if self.pipeline.unwritten and self._writing is None:
            self._writing = asyncio.create_task(self.pipeline.set_aside())
        if self._writing is not None and (self._writing.done() or self._too_many_letters):
            await self._end_of_writing(self._writing)

    async def _let_store(self) -> None:
        """Wait while there is enough for the next batch, and wake `_store`."""
        while self._is_storing and self.pipeline.is_full:
            self.pipeline.prepare()
            self._moved.clear()
            await self._moved.wait()
        self._raise_what_ended_storing()
        self._is_idle = False
        self._more.set()

    async def _store(self) -> None:
        """Store what is released, batch after batch, and do what is due now and then; until closed."""
        while not self.closing:
            self._more.clear()
            await self._store_what_is_released()
            await self._do_what_is_due()
            if not self._more.is_set():
                self._is_idle = True
                self._moved.set()
                await self._more.wait()

    async def _store_what_is_released(self) -> None:
        remembering: asyncio.Task[None] | None = None
        try:
            while self.pipeline.unfinished and not self.closing:
                await self.pipeline.finish()
                self._moved.set()
                if remembering is not None:
                    await remembering
                remembering = asyncio.create_task(self.pipeline.remember())
                await self._commit_now_and_then()
            if remembering is not None:
                await remembering
        finally:
            if remembering is not None:
                remembering.cancel()

    async def _do_what_is_due(self) -> None:
        now_us = self._around.now_us()
        if now_us - self.pipeline.stored_us >= self._pace.check_in_every_us:
            await self.pipeline.check_in()
        if self._around.troubles.among(REDIS) and now_us - self._probed_us >= self._pace.probe_every_us:
            await self.pipeline.try_again()
            self._probed_us = self._around.now_us()
        await self._commit_now_and_then()

    async def _commit_now_and_then(self) -> None:
        if self._around.now_us() - self._committed_us >= self._pace.commit_every_us:
            await self._commit()
            self.show(self._source.ends)

    async def _commit(self) -> None:
        """Tell Kafka how far everything is durable, for tools that show lag."""
        around = self._around
        self._committed_us = around.now_us()
        durable = self.pipeline.durable
        if durable and durable != self._committed:
            with around.metrics.batch_duration.labels(around.region, "commit").time():
                with around.troubles.calling("kafka"):
                    committed = await self._source.commit(durable)
                around.troubles.end("kafka")
            if committed:
                self._committed = durable
                around.arrive("after-offset-commit")

    # -- its end

    def close(self) -> None:
        """Begin nothing new."""
        self.closing = True
        self._more.set()

    async def release(self) -> None:
        """
        Finish the batch under way, and commit.

        Events whose order is not certain yet are not written: their next owner reads them again, and only it can still put
        those in order that have not arrived.

        Raises:
            FencedError: The partitions belong to another consumer already.
            SourceUnavailableError: Whether the offsets are committed is unknown.
        """
        self.close()
        if self._storing is not None:
            await asyncio.wait({self._storing})
        if self._writing is not None:
            await self._end_of_writing(self._writing)
        if self._source.doubts:
            await self._store_all()  # who comes next may not find it in Kafka
        await self._commit()

    async def store_all(self) -> None:
        """
        Store everything that was read, also that whose order is not certain, and end.

        For an assignment whose log is not in Kafka any more: it could not be read again.

        Raises:
            FencedError: The partitions belong to another consumer now.
        """
        self.close()
        if self._storing is not None:
            await asyncio.wait({self._storing})
        self._raise_what_ended_storing()
        await self._store_all()

    async def _store_all(self) -> None:
        if not self.starts:
            return
        if self._writing is not None:
            await self._end_of_writing(self._writing)
        self.pipeline.release_all()
        await self.pipeline.set_aside()
        while self.pipeline.unfinished:
            await self.pipeline.finish()
            await self.pipeline.remember()
        await self.pipeline.see_waiting_off()
        await self.pipeline.check_in()

    async def abandon(self) -> None:
        """End at once; what is not stored is read again."""
        self.close()
        tasks = [task for task in (self._storing, self._writing) if task is not None]
        if self._writing is not None:
            self._around.troubles.end("dead letters")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end_of_writing(self, writing: asyncio.Task[None]) -> None:
        """Wait until the dead letters are written, which a release may wait for, too."""
        await asyncio.wait({writing})
        if self._writing is writing:
            self._writing = None
        if not writing.cancelled():
            writing.result()

    # -- what it knows

    def done(self, partition: Partition) -> int:
        """Return the offset up to which the partition is durable."""
        return self.pipeline.durable.get(partition, self.starts[partition])

    def show(self, ends: Mapping[Partition, int]) -> None:
        """Show how far it is, given how far the partitions reach."""
        self._around.metrics.show(self._around.region, self.buffer, {p: end - self.done(p) for p, end in ends.items()})

    def _raise_what_ended_storing(self) -> None:
        storing = self._storing
        if storing is not None and storing.done() and not storing.cancelled():
            storing.result()

    @property
    def _is_storing(self) -> bool:
        return self._storing is not None and not self._storing.done() and not self._is_idle

    @property
    def _too_many_letters(self) -> bool:
        pipeline, pace = self.pipeline, self._pace
        return pipeline.unwritten > pace.unwritten_max or pipeline.unwritten_bytes > pace.unwritten_max_bytes

    def _must_begin_anew(self) -> bool:
        source, around = self._source, self._around
        given_up = around.doubts.given_up(source.doubts, around.now_us(), self._pace.give_up_us)
        if source.doubts:
            # All of them, before the first goes on: it would fill the buffer, and make late what the others hold.
            self.buffer.doubt(source.doubts, given_up)
            if around.doubts.settle(source):
                return True
        return bool(source.found)


def _slices(polled: Mapping[Partition, Sequence[Record]], size: int) -> Iterator[tuple[Partition, Sequence[Record]]]:
    for partition, records in polled.items():
        for begin in range(0, len(records), size):
            yield partition, records[begin : begin + size]
