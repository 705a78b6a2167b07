"""
Kafka records to batches: decode, put in order, cut. Pure: no I/O, and no clock.

`feed` decodes records of a partition, `arrived` puts in order all that was fed since, and `cut` takes a batch of what is
released. A batch carries what it makes committable, as it was when it was cut: what arrives later never counts as stored with
it. Batches are stored in the order in which they were cut. When one fails, the pipeline is thrown away with all it holds: what
was not stored is still in Kafka, at or after the offsets in the store.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Final, cast

from consumer.beginnings import fingerprint
from consumer.bloom import RotatingBloom
from consumer.decode import Decoder, Record
from consumer.dedup import Questions, questions
from consumer.envelope import DeadLetter, Envelope, Partition, Row
from consumer.failpoints import Arrive, pass_by
from consumer.letters import size_of
from consumer.offsets import OffsetLedger
from consumer.orders import Orders
from consumer.ports import Claim, Progress
from consumer.stored_ids import StoredIds

_offset: Final = attrgetter("offset")
_envelope: Final = itemgetter(0)  # of a row
_place: Final = itemgetter(Envelope._fields.index("partition"), Envelope._fields.index("offset"))


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Rows of one transaction, and what holds once they are stored.

    Attributes:
        rows: In order.
        questions: About which of them Redis has to be asked.
        encoded: As the store takes them; None if Redis has to be asked first.
        size: Bytes of their events.
        progress: How far each partition is done with them, for the store.
        offsets: Offsets that may be committed to Kafka with them.
    """

    rows: Sequence[Row]
    questions: Questions
    encoded: bytes | None
    size: int
    progress: Mapping[Partition, Progress]
    offsets: Mapping[Partition, int]


class Pipeline:
    """
    The way of every record under one assignment, until it is in a batch.

    Args:
        region: The consumer's own.
        claim: The right to these partitions.
        buffer: Knows the assigned partitions already.
        bloom: Knows what this consumer has stored.
        encode: Does the part of storing that needs no connection.
        batch_max: Rows in one batch.
        max_bytes: Bytes that the consumer may hold; a batch has a sixteenth of them at most, unless it is a single event.
        is_shared: Whether consumers of other regions write to the same store.
        arrive: Called at the places that `consumer/failpoints.py` names.

    Attributes:
        released: Rows that are in no batch yet.
        letters: Records that cannot become rows; their offsets wait until `complete`.
        letters_bytes: Their size.
        ends: How far the partitions' logs are known to reach, for the next owner.
    """

    def __init__(
        self,
        *,
        region: str,
        claim: Claim,
        buffer: Orders,
        bloom: RotatingBloom,
        encode: Callable[[Sequence[Row], int], bytes | None],
        batch_max: int,
        max_bytes: int,
        is_shared: bool = True,
        arrive: Arrive = pass_by,
    ) -> None:
        self._generation = claim.generation
        self._progress = dict(claim.progress)  # of the last batch that was cut
        self._buffer = buffer
        buffer.advance()  # otherwise the first poll is compared with no watermark, and late events pass as in order
        self._bloom = bloom
        self._encode = encode
        self._batch_max = batch_max
        self._batch_bytes = batch_bytes(max_bytes)
        self._is_shared = is_shared
        self._arrive = arrive
        ids = StoredIds(claim.secret)
        self._decoders = {partition: Decoder(partition, region, ids) for partition in claim.progress}
        self._ledgers = {partition: OffsetLedger() for partition in claim.progress}
        self._decoded: list[Envelope] = []
        self._released_bytes = 0
        self._is_mixed = False
        self.released: list[Row] = []
        self.letters: list[DeadLetter] = []
        self.letters_bytes = 0
        self.ends: Mapping[Partition, int] = {}

    @property
    def event_bytes(self) -> int:
        """Bytes of the events that were fed and are in no batch yet."""
        return self._buffer.held_bytes + self._released_bytes

    @property
    def has_full_batch(self) -> bool:
        """Whether as much is released as one batch takes."""
        return len(self.released) >= self._batch_max or self._released_bytes >= self._batch_bytes

    def feed(self, partition: Partition, records: Sequence[Record]) -> None:
        """Decode some of what was read of a partition."""
        if not records:
            return
        self._ledgers[partition].read(list(map(_offset, records)), fingerprint(records[-1]))
        for decoded in map(self._decoders[partition].decode, records):
            if type(decoded) is Envelope:
                self._decoded.append(decoded)
            else:
                letter = cast("DeadLetter", decoded)
                self.letters.append(letter)
                self.letters_bytes += size_of(letter)

    def arrived(self, now_us: int, empty: Mapping[Partition, int] = MappingProxyType({})) -> None:
        """
        Put in order what was fed, as having arrived together, and release what no earlier event can follow any more.

        Args:
            now_us: The time, microseconds since 1970.
            empty: The partitions of which nothing is unread after this, each with the time up to which that is proven. It
                counts although records came with it; otherwise a partition that always brings some would hold back all others.
        """
        envelopes, self._decoded = self._decoded, []
        if envelopes:
            self._arrive("after-decode")
        late = self._buffer.offer(envelopes, now_us)
        for partition, at_us in empty.items():
            self._buffer.confirm_empty(partition, at_us)
        held_bytes = self._buffer.held_bytes
        released = self._buffer.release()
        if late:
            # Among those of the same time, which may have been accepted later.
            released = [sorted(chain(late, *released))]
            self._is_mixed = True
        for rows in released:
            if self.released and self.released[-1].order != rows[0].order:
                self._is_mixed = True
            self.released += rows
        self._released_bytes += held_bytes - self._buffer.held_bytes + bytes_of(late)

    def release_all(self, now_us: int) -> None:
        """
        Release everything that was fed, in order.

        For the end of an assignment whose log is not in Kafka any more: it could not be read again.
        """
        self.arrived(now_us)
        self._released_bytes += self._buffer.held_bytes
        for rows in self._buffer.release_all():
            self.released += rows
            self._is_mixed = True

    def cut(self) -> Batch:
        """Take a batch of what is released, in the order in which both regions' consumers write it; it may be empty."""
        fitting = self._batch_max
        if self._released_bytes > self._batch_bytes:
            sizes = accumulate(len(row.envelope.value) for row in self.released[:fitting])
            fitting = max(1, bisect_right(list(sizes), self._batch_bytes))
        rows, self.released = self.released[:fitting], self.released[fitting:]
        # The bytes of both parts together are known, so those of the shorter one are counted; usually little is left.
        is_most = len(rows) > len(self.released)
        size = self._released_bytes - bytes_of(self.released) if is_most else bytes_of(rows)
        self._released_bytes -= size
        if self._is_mixed:
            rows.sort()
            self._is_mixed = bool(self.released)
        for partition, offsets in _by_partition(rows).items():
            self._ledgers[partition].complete(offsets)
        asked = questions(list(map(_envelope, rows)), self._bloom, is_shared=self._is_shared)
        encoded = None if asked.ask else self._encode(rows, self._generation)
        return Batch(rows, asked, encoded, size, *self._what_is_done())

    def check_in(self) -> Batch:
        """Return a batch without rows: the progress as it is, once every batch that was cut before is stored."""
        return Batch([], Questions([], 0, 0), None, 0, *self._what_is_done())

    def complete(self, letters: Collection[DeadLetter]) -> None:
        """Account for dead letters, the first ones, that are durable now."""
        del self.letters[: len(letters)]
        self.letters_bytes -= sum(map(size_of, letters))
        for letter in letters:
            self._ledgers[letter.partition].complete([letter.offset])

    def _what_is_done(self) -> tuple[Mapping[Partition, Progress], Mapping[Partition, int]]:
        """Return progress and offsets as they are once all that was cut is stored."""
        progress: dict[Partition, Progress] = {}
        offsets: dict[Partition, int] = {}
        following = self._following()
        for partition, before in self._progress.items():
            next_offset, known = before.next_offset, before.log
            committable, mark = self._ledgers[partition].committable, self._ledgers[partition].mark
            if committable is not None:
                offsets[partition] = committable
                # What was stored once stays so, also while it is read a second time.
                next_offset = committable if next_offset is None else max(next_offset, committable)
            if mark is not None and (known.last_offset is None or mark[0] > known.last_offset):
                known = replace(known, last_offset=mark[0], last_record=mark[1])
            watermark_us = self._buffer.resume_point(partition)
            if watermark_us is not None and partition.topic in following:
                # Otherwise a crash before the next batch would make late what was found to be in time.
                watermark_us = min(watermark_us, following[partition.topic])
            known = replace(known, end=self.ends.get(partition, known.end))
            progress[partition] = Progress(next_offset, watermark_us, known)
        self._progress = progress
        return progress, offsets

    def _following(self) -> dict[str, int]:
        """Return, for each topic, the time of the oldest event in order among those that are released and in no batch."""
        wanted = {order for _, _, order in self.released}
        oldest: dict[str, int] = {}
        for envelope, lateness, order in self.released:
            if not wanted:
                break
            if lateness is None and order in wanted:
                wanted.remove(order)  # what follows in the same order is younger
                topic = envelope.partition.topic
                oldest[topic] = min(oldest.get(topic, envelope.time_us), envelope.time_us)
        return oldest


def _by_partition(rows: Sequence[Row]) -> Mapping[Partition, Sequence[int]]:
    offsets: dict[Partition, list[int]] = defaultdict(list)
    for partition, offset in map(_place, map(_envelope, rows)):
        offsets[partition].append(offset)
    return offsets


def batch_bytes(max_bytes: int) -> int:
    """Return how large the events of one transaction are at most, unless it is a single one."""
    return max_bytes // 16


def bytes_of(rows: Sequence[Row]) -> int:
    """Return the bytes of the rows' events."""
    return sum(len(envelope.value) for envelope, _, _ in rows)
