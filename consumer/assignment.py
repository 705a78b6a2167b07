"""
One assignment of partitions, from its beginning to its release.

    read:      poll, decode, put in order ── wakes ──> store:    batch after batch ──> remember: Redis is told of the last one
       └── dead letters are written beside it            └── check in, commit offsets, when due

Records are decoded and put in order while the batch before them is on its way to the store. Meanwhile Redis is told of the
batch before that. `read` runs in the session's task, and waits only while a whole batch is ready and the store is at work. The others
are tasks of the assignment, and end with it.
"""

import asyncio

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from consumer.aside import Aside, LettersTask
from consumer.commits import Commits
from consumer.decode import Record
from consumer.envelope import Partition
from consumer.memory import REDIS
from consumer.orders import Orders
from consumer.pipeline import Pipeline
from consumer.slot import Slot
from consumer.source import Source
from consumer.surroundings import Limits, Surroundings
from consumer.writer import Writer

# An event is held as it was read and as the row that it becomes, which is no larger; and once more as a part of what is sent.
_TWICE: Final = 2


class Assignment:
    """
    The work on some partitions.

    Args:
        source: Where they are read; begun.
        pipeline: Their records' way into batches.
        writer: The batches' way from there.
        aside: Where dead letters go.
        buffer: The pipeline's.
        starts: Where reading begins; empty if none of the partitions has a leader.
        limits: How much is held; no more than a batch is read at once.
        around: What it works in.

    Attributes:
        pipeline, writer, buffer, starts: As given.
        commits: Shows outside how far it is.
        closing: Whether it is being released: nothing new is begun.
    """

    def __init__(
        self,
        *,
        source: Source,
        pipeline: Pipeline,
        writer: Writer,
        aside: Aside,
        buffer: Orders,
        starts: Mapping[Partition, int],
        limits: Limits,
        around: Surroundings,
    ) -> None:
        self.pipeline = pipeline
        self.writer = writer
        self.buffer = buffer
        self.starts = starts
        self.commits = Commits(source, writer, buffer, starts, around)
        self.closing = False
        self._source = source
        self._around = around
        self._pace = around.pace
        self._letters = LettersTask(aside, pipeline, around)
        self._batch_max = limits.batch_max
        self._full_bytes = limits.max_bytes * 7 // 8
        self._read_max = min(limits.batch_max, around.pace.poll_max)
        self._slot = Slot(pipeline)
        self._storing: asyncio.Task[None] | None = None
        self._more = asyncio.Event()  # there may be something to do for `_store`
        self._moved = asyncio.Event()  # a batch has been stored, or `_store` has nothing more to do
        self._is_idle = True
        self._probed_us = 0

    async def read(self) -> bool:
        """
        Read, and have what is released stored, until this assignment is closed.

        Returns:
            Whether all has to begin anew: a log is not the one that was read, or one that was missing has been found.

        Raises:
            FencedError: The partitions belong to another consumer now.
            SourceUnavailableError: The group or the cluster refuses this consumer.
        """
        if self._storing is None:
            self._storing = asyncio.create_task(self._store())
            # However the task ends, the reader waits for it no longer.
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
            pipeline.feed(partition, records)
            await asyncio.sleep(0)
        await self._put_in_order(empty)

    async def _put_in_order(self, empty: Mapping[Partition, int]) -> None:
        if self.closing:
            return
        self.pipeline.arrived(self._around.now_us(), empty)
        self._source.pause_only(self.buffer.throttle())
        await self._letters.see_to()
        await self._let_store()

    async def _let_store(self) -> None:
        """Wait while there is enough for the next batch, and wake `_store`."""
        while self._is_storing and self._is_full:
            self._slot.fill()
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
            while self._slot.waiting and not self.closing:
                stored = await self.writer.write(self._slot.take())
                self._moved.set()
                if remembering is not None:
                    await remembering
                remembering = asyncio.create_task(self.writer.remember(stored))
                await self.commits.commit_when_due()
            if remembering is not None:
                await remembering
        finally:
            if remembering is not None:
                remembering.cancel()

    async def _do_what_is_due(self) -> None:
        now_us = self._around.now_us()
        if now_us - self.writer.stored_us >= self._pace.check_in_every_us:
            await self._check_in()
        if self._around.outages.among(REDIS) and now_us - self._probed_us >= self._pace.probe_every_us:
            await self._around.outages.probe()
            self._probed_us = self._around.now_us()
        await self.commits.commit_when_due()

    def close(self) -> None:
        """Begin nothing new."""
        self.closing = True
        self._more.set()

    async def release(self) -> None:
        """
        Store the batch in flight, and commit.

        Events that are not released are not written. Their next owner reads them again, and only it can put them in order with
        those that have not arrived.

        Raises:
            FencedError: The partitions belong to another consumer already.
            SourceUnavailableError: Whether the offsets are committed is unknown.
        """
        self.close()
        if self._storing is not None:
            await asyncio.wait({self._storing})
        await self._letters.end()
        if self._source.doubts:
            await self._store_all()  # the next owner may not find it in Kafka
        await self.commits.commit()

    async def store_all(self) -> None:
        """
        Store everything that was read, also what is not released, and end.

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
        await self._letters.end()
        self.pipeline.release_all(self._around.now_us())
        await self._letters.write()
        while self._slot.waiting:
            await self.writer.remember(await self.writer.write(self._slot.take()))
        await self.writer.remember(await self.writer.see_waiting_off())
        await self._check_in()

    async def _check_in(self) -> None:
        """Write the progress, where no batch does it."""
        await self.writer.remember(await self.writer.write(self._slot.take_or_check_in()))

    async def abandon(self) -> None:
        """End at once; what is not stored is read again."""
        self.close()
        await self._letters.abandon()
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)
        self.writer.abandon()

    def _raise_what_ended_storing(self) -> None:
        storing = self._storing
        if storing is not None and storing.done() and not storing.cancelled():
            storing.result()

    @property
    def _is_storing(self) -> bool:
        return self._storing is not None and not self._storing.done() and not self._is_idle

    @property
    def held_bytes(self) -> int:
        """Bytes of all that was read and is not remembered yet, in every form in which it is held."""
        writer, pipeline = self.writer, self.pipeline
        sent = writer.sent_bytes + self._slot.size
        events = pipeline.event_bytes + writer.stored_bytes + sent
        return _TWICE * events + sent + pipeline.letters_bytes + writer.waiting_bytes

    @property
    def _is_full(self) -> bool:
        """Whether so much is held that nothing more is to be read before some of it is stored and remembered."""
        return self._slot.waiting >= self._batch_max or self.held_bytes >= self._full_bytes

    def _must_begin_anew(self) -> bool:
        source, around = self._source, self._around
        given_up = around.doubts.note(source.doubts, around.now_us(), self._pace.give_up_us)
        if source.doubts:
            # All of them, before the first is read again: it would fill the buffer, and make late what the others hold.
            self.buffer.doubt(source.doubts, given_up)
            if around.doubts.settle(source):
                return True
        return source.found


def _slices(polled: Mapping[Partition, Sequence[Record]], size: int) -> Iterator[tuple[Partition, Sequence[Record]]]:
    for partition, records in polled.items():
        for begin in range(0, len(records), size):
            yield partition, records[begin : begin + size]
