"""
The ports in memory. They obey the same suite as the real ones (`integration-tests/test_ports.py`), and can be told to fail.

Each call passes `interrupt` before it takes effect and again before it answers; a simulation suspends or cancels there.
"""

import json

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from consumer.copy_format import fingerprint, writer
from consumer.envelope import DeadLetter, Envelope, Partition, Row
from consumer.ports import (
    Claim,
    DeadLettersUnavailableError,
    FencedError,
    Progress,
    RowsConflictError,
    RowsMustWaitError,
    RowsRefusedError,
    SeenIdsUnavailableError,
    StoreTimedOutError,
    StoreUnavailableError,
)
from consumer.waiting import DAY_US

Interrupt = Callable[[str], Awaitable[None]]


async def _go_on(_at: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the table; `seq` is the write order."""

    seq: int
    row: Row
    stored_by: str


@dataclass(frozen=True, slots=True)
class HeldProgress:
    """
    A partition's line among the offsets.

    Attributes:
        progress: As last written.
        generation: Whose it is.
        stamp: Of the last write, never the same twice: tells a store that was set back from one that was not.
    """

    progress: Progress
    generation: int
    stamp: object


@dataclass(slots=True)
class Tables:
    """All that a snapshot covers."""

    rows: list[StoredRow] = field(default_factory=list)
    identities: dict[bytes, Envelope] = field(default_factory=dict)
    offsets: dict[tuple[str, Partition], HeldProgress] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    generation: int = 0

    def copy(self) -> "Tables":
        """Return a copy that later writes do not change."""
        return Tables(self.rows.copy(), self.identities.copy(), self.offsets.copy(), self.marks.copy(), self.generation)


def said_by(envelope: Envelope) -> dict[str, object]:
    """Return what an event says, by the names of its fields; whatever a retry may change is left out."""
    event = json.loads(envelope.value)
    names = ("serviceName", "level", "message", "correlationId", "attributes")
    return {name: event.get(name) or None for name in names}


class MemoryDatabase:
    """
    What the regions' stores share.

    Attributes:
        store_id: Its identity.
        tables: What it holds.
        day_us: How long a day is.
        locked_days: Those that cannot be written to now.
    """

    def __init__(self) -> None:
        self.store_id = str(uuid4())
        self.secret = b"of a database in memory, 32 bytes"[:32]
        self.tables = Tables()
        self.day_us = DAY_US
        self.locked_days: set[int] = set()

    def is_locked(self, envelope: Envelope) -> bool:
        """Say whether the day of an event is locked."""
        return bool(self.locked_days) and envelope.time_us // self.day_us in self.locked_days

    def snapshot(self) -> Tables:
        """Return a copy of everything."""
        return self.tables.copy()

    def set_back(self, snapshot: Tables, *, renamed: bool = False) -> None:
        """
        Become what the snapshot was, as a database restored from a backup does.

        Args:
            snapshot: An earlier state.
            renamed: Whether it gets another identity with that, as `./setup.sh restore` gives it.
        """
        self.tables = snapshot.copy()
        if renamed:
            self.store_id = str(uuid4())


class MemoryStore:
    """
    `EventStore` in memory.

    Attributes:
        unavailable: So many of the next calls fail and have no effect.
        lost_answers: So many of the next calls take effect and fail.
        most_in_time: More rows than this take too long.
        refuses: The rows that can never be stored.
        interrupt: Awaited before the effect and before the answer of each call.
        on_commit: Called with the progress that was just committed.
    """

    def __init__(
        self, database: MemoryDatabase | None = None, *, region: str = "region-a", instance: str = "one"
    ) -> None:
        self.database = database or MemoryDatabase()
        self.unavailable = 0
        self.lost_answers = 0
        self.most_in_time = 10**9
        self.refuses: Callable[[Row], bool] = lambda _row: False
        self.interrupt: Interrupt = _go_on
        self.on_commit: Callable[[Mapping[Partition, Progress]], None] = lambda _progress: None
        self._region = region
        self._instance = instance
        self._left: dict[Partition, object] = {}
        self._next_stamp = object()
        self._generation = 0
        self._known_id = ""

    async def claim(self, partitions: Collection[Partition]) -> Claim:
        """Take the partitions over; see `EventStore`."""
        await self._begin("claim")
        tables = self.database.tables
        self._rename_if_set_back()
        tables.generation += 1
        progress = {}
        self._left = dict.fromkeys(partitions, self._next_stamp)
        for partition in partitions:
            held = tables.offsets.get((self._region, partition))
            progress[partition] = held.progress if held else Progress(None, None)
            line = HeldProgress(progress[partition], tables.generation, self._next_stamp)
            tables.offsets[self._region, partition] = line
        owners = {line.generation for line in tables.offsets.values()}
        tables.marks = {generation: mark for generation, mark in tables.marks.items() if generation in owners}
        tables.marks[tables.generation] = len(tables.rows)
        self._next_stamp = object()
        await self._end("claim")
        self._generation, self._known_id = tables.generation, self.database.store_id
        return Claim(tables.generation, self.database.store_id, progress, self.database.secret)

    def encode(self, rows: Sequence[Row], generation: int) -> bytes:
        """Note which rows these are; see `EventStore`."""
        return b"".join([generation.to_bytes(8, "big"), *(row.envelope.identity for row in rows)])

    async def known(self, rows: Sequence[Row]) -> Collection[int]:
        """Return the indices of the rows that are stored; see `EventStore`."""
        await self._begin("known")
        return {i for i, row in enumerate(rows) if row.envelope.identity in self.database.tables.identities}

    async def store(
        self,
        rows: Sequence[Row],
        progress: Mapping[Partition, Progress],
        generation: int,
        encoded: bytes | None = None,
    ) -> Collection[int]:
        """Store rows and progress together or not at all; see `EventStore`."""
        assert encoded in (None, self.encode(rows, generation)), "encoded rows are those that are stored"
        await self._begin("store")
        if must_wait := {i for i, row in enumerate(rows) if self.database.is_locked(row.envelope)}:
            raise RowsMustWaitError(must_wait, "told to be locked")
        if len(rows) > self.most_in_time:
            raise StoreTimedOutError("told to be slow")
        if any(self.refuses(row) for row in rows):
            raise RowsRefusedError("a row that can never be stored")
        tables = self.database.tables
        if conflicts := self._conflicts(rows):
            raise RowsConflictError(conflicts)
        self._check_fence(progress, generation)
        new: set[int] = set()
        for index, row in enumerate(rows):
            key = row.envelope.identity
            if key not in tables.identities:
                tables.identities[key] = row.envelope
                stored_by = writer(f"{self._region}/{self._instance}/{generation}", row.order)
                tables.rows.append(StoredRow(len(tables.rows) + 1, row, stored_by))
                new.add(index)
        for partition, done in progress.items():
            tables.offsets[self._region, partition] = HeldProgress(done, generation, self._next_stamp)
        tables.marks[generation] = len(tables.rows)
        self.on_commit(progress)
        await self._end("store")
        if progress:
            self._left.update(dict.fromkeys(progress, self._next_stamp))
            self._next_stamp = object()
        return new

    def _conflicts(self, rows: Sequence[Row]) -> dict[int, list[str]]:
        first: dict[bytes, Envelope] = {}
        there = self.database.tables.identities
        found: dict[int, list[str]] = {}
        for index, (envelope, _, _) in enumerate(rows):
            other = there.get(envelope.identity) or first.setdefault(envelope.identity, envelope)
            if other is not envelope and other.columns != envelope.columns:
                said, theirs = said_by(envelope), said_by(other)
                if differs := [name for name in said if said[name] != theirs[name]]:
                    found[index] = differs
        return found

    def _rename_if_set_back(self) -> None:
        if self.database.store_id == self._known_id and any(map(self._was_set_back, self._left)):
            self.database.store_id = str(uuid4())

    def _was_set_back(self, partition: Partition) -> bool:
        held = self.database.tables.offsets.get((self._region, partition))
        if held is None:
            return True
        return held.generation <= self._generation and not self._is_ours(held, partition)

    def _is_ours(self, held: HeldProgress, partition: Partition) -> bool:
        # Or the stamp of this very write: it was committed before, and its answer was lost.
        return held.stamp in {self._left.get(partition), self._next_stamp}

    def _check_fence(self, progress: Mapping[Partition, Progress], generation: int) -> None:
        if generation not in self.database.tables.marks:
            self._rename_if_set_back()
            raise FencedError(f"generation {generation} is over")
        for partition in progress:
            held = self.database.tables.offsets.get((self._region, partition))
            if held is None or held.generation != generation or not self._is_ours(held, partition):
                self._rename_if_set_back()
                raise FencedError(f"generation {generation} is over, or the store was set back")
        if progress and self.database.store_id != self._known_id:
            raise FencedError("the store was set back, as another writer found")

    async def _begin(self, call: str) -> None:
        await self.interrupt(f"{call} begins")
        if self.unavailable:
            self.unavailable -= 1
            raise StoreUnavailableError("told to fail")

    async def _end(self, call: str) -> None:
        await self.interrupt(f"{call} took effect")
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnavailableError("told to lose the answer")


Source = tuple[str, Partition, int]
Memory = dict[tuple[str, bytes], Source]


class MemorySeenIds:
    """
    `SeenIds` in memory.

    Attributes:
        memory: Store, identity and content, with the record that was stored; may be shared between regions, and emptied.
        unavailable: Whether calls fail.
        read_only: Whether those fail that are to remember something.
        interrupt: Awaited before the effect and before the answer of each call.
        on_remember: Called with what is about to be remembered.
    """

    def __init__(self, memory: Memory | None = None, *, region: str = "region-a") -> None:
        self.memory: Memory = {} if memory is None else memory
        self.unavailable = False
        self.read_only = False
        self.interrupt: Interrupt = _go_on
        self.on_remember: Callable[[Sequence[Envelope]], None] = lambda _envelopes: None
        self._region = region
        self._store_id = ""

    def use_store(self, store_id: str) -> None:
        """Remember and ask for ids of this store only; see `SeenIds`."""
        self._store_id = store_id

    async def duplicates(self, envelopes: Sequence[Envelope]) -> Collection[int]:
        """Return the indices of those stored from another record; see `SeenIds`."""
        await self._begin("ask")
        found = {
            i for i, e in enumerate(envelopes) if self.memory.get(self._key(e), self._source(e)) != self._source(e)
        }
        await self.interrupt("ask took effect")
        return found

    async def remember(self, envelopes: Sequence[Envelope]) -> None:
        """Remember these; see `SeenIds`."""
        await self._begin("remember")
        if self.read_only:
            raise SeenIdsUnavailableError("told to refuse")
        self.on_remember(envelopes)
        for envelope in envelopes:
            self.memory.setdefault(self._key(envelope), self._source(envelope))
        await self.interrupt("remember took effect")

    async def _begin(self, call: str) -> None:
        await self.interrupt(f"{call} begins")
        if self.unavailable:
            raise SeenIdsUnavailableError("told to fail")

    def _key(self, envelope: Envelope) -> tuple[str, bytes]:
        return self._store_id, envelope.identity + fingerprint(envelope.columns).to_bytes(4, "big")

    def _source(self, envelope: Envelope) -> Source:
        return self._region, envelope.partition, envelope.offset


class MemoryDeadLetters:
    """
    `DeadLetters` in memory.

    Attributes:
        letters: What was written.
        sizes: How much of it at once.
        unavailable: So many of the next calls write half of their letters and fail.
        interrupt: Awaited before the effect and before the answer of each call.
    """

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.sizes: list[int] = []
        self.unavailable = 0
        self.interrupt: Interrupt = _go_on

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Make them durable; see `DeadLetters`."""
        await self.interrupt("dead letters begin")
        self.sizes.append(len(letters))
        if self.unavailable:
            self.unavailable -= 1
            self.letters += letters[: len(letters) // 2]
            raise DeadLettersUnavailableError("told to fail")
        self.letters += letters
        await self.interrupt("dead letters took effect")


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A record as a Kafka client delivers it."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 0  # ms; a producer that doubts no receipt, for its own clock is behind all others
    headers: Sequence[tuple[str, bytes | None]] = ()


class MemoryKafka:
    """
    One region's Kafka, as far as the consumer sees it.

    Attributes:
        logs: The records of each partition; offsets may have gaps.
        committed: What the consumer group committed.
    """

    def __init__(self, partitions: Collection[Partition]) -> None:
        self.logs: dict[Partition, list[MemoryRecord]] = {partition: [] for partition in partitions}
        self.committed: dict[Partition, int] = {}
        self._ends = dict.fromkeys(partitions, 0)
        self._offsets: dict[Partition, list[int]] = {partition: [] for partition in partitions}

    def append(self, partition: Partition, key: bytes | None, value: bytes | None) -> MemoryRecord:
        """Write a record and return it."""
        record = MemoryRecord(self._ends[partition], key, value)
        self.logs[partition].append(record)
        self._offsets[partition].append(record.offset)
        self._ends[partition] += 1
        return record

    def skip(self, partition: Partition) -> None:
        """Leave an offset out, as transactions and compaction do."""
        self._ends[partition] += 1

    def end(self, partition: Partition) -> int:
        """Return the offset that the next record will get."""
        return self._ends[partition]

    def read(self, partition: Partition, position: int, max_records: int) -> Sequence[MemoryRecord]:
        """Return records from an offset on."""
        first = bisect_left(self._offsets[partition], position)
        return self.logs[partition][first : first + max_records]

    def is_read(self, partition: Partition, position: int) -> bool:
        """Return whether there is no record from an offset on."""
        offsets = self._offsets[partition]
        return not offsets or offsets[-1] < position

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Note how far the group is."""
        self.committed.update(offsets)
