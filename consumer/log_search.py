"""One search for an event in a region's Kafka: bounded, and at any moment there is an answer of what was found so far."""

import asyncio
import contextlib

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumer.copies import copy_of, letter_of, needle, needles
from consumer.decode import Record
from consumer.envelope import Partition
from consumer.log_reader import LogReader, Span
from consumer.ports import SourceUnavailableError
from shared.event.tenant import kafka_key
from shared.wire.finding import MAX_RECORDS, Copy, Found, Letter, Looked, Question, Unseen
from shared.wire.regions import DEAD_LETTERS, Region

# Records may be large: so much of a topic is read at most, whatever their number.
MAX_BYTES: Final = 64 * 1024 * 1024
# Dead letters are looked for once the copies are known, in what is left of the time.
_COPIES_PART: Final = 0.7
_NO_TIME: Final = "there was no time for it"

Take = Callable[[Partition, Record], None]


@dataclass(slots=True)
class _Part:
    """
    A partition, and how far it was looked at.

    Attributes:
        sharing: How many partitions share what may be read of their topic.
    """

    partition: Partition
    sharing: int
    span: Span | None = None
    next: int = 0
    why: str | None = None


class Search:
    """
    Looks for one event.

    Args:
        reader: A region's Kafka, connected.
        question: What is looked for.
        topics: That hold events.
        stored: How far this process has stored a partition, None if it does not read it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        reader: LogReader,
        question: Question,
        topics: Collection[str],
        stored: Callable[[Partition], int | None],
        clock: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._question = question
        self._topics = [*topics, DEAD_LETTERS]
        self._stored = stored
        self._clock = clock
        self._parts: dict[Partition, _Part] = {}
        self._copies: list[Copy] = []
        self._letters: list[Letter] = []
        self._committed: Mapping[Partition, int] = {}
        self._claimed: Mapping[Partition, int] = {}
        self.has_begun = False

    async def run(self, until: float) -> None:
        """
        Look.

        Args:
            until: No later than this, by the clock.

        Raises:
            SourceUnavailableError: Kafka does not answer.
        """
        counts = await self._reader.partitions(self._topics)
        self.has_begun = True
        partitions = [
            Partition(topic, number) for topic in self._topics for number in self._numbers(counts.get(topic, 0))
        ]
        sharing = Counter(partition.topic for partition in partitions)
        self._parts = {partition: _Part(partition, sharing[partition.topic]) for partition in partitions}
        letters = [part for part in self._parts.values() if part.partition.topic == DEAD_LETTERS]
        events = [part for part in self._parts.values() if part.partition.topic != DEAD_LETTERS]
        now = self._clock()
        copies_until = now + (until - now) * _COPIES_PART
        of_event = [needle(self._question)]
        # Before anything is read: a letter is durable before its record is passed, and must be found if that is said.
        await self._note_positions([part.partition for part in events])
        await asyncio.gather(*(self._read(part, of_event, self._take_copy, copies_until) for part in events))
        of_letters = needles(self._question, self._copies)
        await asyncio.gather(*(self._read(part, of_letters, self._take_letter, until) for part in letters))

    def answer(self, region: Region) -> Found:
        """
        Return what was found so far.

        Args:
            region: Whose Kafka it is.
        """
        looked, unseen = [], []
        for partition, part in sorted(self._parts.items()):
            if part.span is not None:
                looked.append(self._looked(part, part.span))
            if (why := _unlooked(part)) is not None:
                unseen.append(Unseen(topic=partition.topic, partition=partition.number, why=why))
        return Found(
            region=region,
            copies=tuple(sorted(self._copies, key=lambda copy: (copy.topic, copy.partition, copy.offset))),
            letters=tuple(sorted(self._letters, key=lambda letter: (letter.partition, letter.offset))),
            looked=tuple(looked),
            unseen=tuple(unseen),
        )

    def _looked(self, part: _Part, span: Span) -> Looked:
        return Looked(
            topic=part.partition.topic,
            partition=part.partition.number,
            beginning=span.beginning,
            first=span.first,
            next=part.next,
            end=span.end,
            committed=self._committed.get(part.partition),
            claimed=part.partition in self._claimed,
            stored=self._claimed.get(part.partition),
        )

    def _numbers(self, count: int) -> Iterable[int]:
        key = self._question.correlation_id
        if not count or key is None:
            return range(count)
        return [self._reader.partition_of(kafka_key(self._question.tenant, key).encode(), count)]

    async def _note_positions(self, partitions: Collection[Partition]) -> None:
        claimed = {partition: self._stored(partition) for partition in partitions}
        self._claimed = {partition: stored for partition, stored in claimed.items() if stored is not None}
        with contextlib.suppress(SourceUnavailableError):  # then it is not known
            self._committed = await self._reader.committed(partitions)

    async def _read(self, part: _Part, containing: Sequence[bytes], take: Take, until: float) -> None:
        try:
            part.span = span = self._with_unread(part, await self._reader.span(part.partition, self._question.since_ms))
            part.next, size = span.first, 0
            while part.next < span.end and self._clock() < until:
                if part.next - span.first >= MAX_RECORDS // part.sharing or size >= MAX_BYTES // part.sharing:
                    break
                portion = await self._reader.read(part.partition, part.next, containing)
                for record in portion.records:
                    if part.next <= record.offset < span.end:
                        take(part.partition, record)
                if portion.unreadable is not None:
                    part.why = f"offsets {portion.unreadable} cannot be read"
                if portion.next <= part.next:
                    break
                part.next, size = min(portion.next, span.end), size + portion.size
        except SourceUnavailableError as exc:
            part.why = str(exc)

    def _with_unread(self, part: _Part, span: Span) -> Span:
        """Begin no later than what is not stored yet: an event's own time says little of when it came."""
        committed = self._committed.get(part.partition)
        if self._question.stored or committed is None:
            return span
        return replace(span, first=min(span.first, max(span.beginning, committed)))

    def _take_copy(self, partition: Partition, record: Record) -> None:
        if (copy := copy_of(partition, record, self._question)) is not None:
            self._copies.append(copy)

    def _take_letter(self, partition: Partition, record: Record) -> None:
        if (letter := letter_of(partition, record, self._question, self._copies)) is not None:
            self._letters.append(letter)


def _unlooked(part: _Part) -> str | None:
    """Return why not all of a partition was looked at, None if all was."""
    if part.why is not None or part.span is None:
        return part.why or _NO_TIME
    if part.next >= part.span.end:
        return None
    if part.next == part.span.first:
        return _NO_TIME
    return f"of offsets {part.span.first} to {part.span.end - 1} only those up to {part.next - 1} were looked at"
