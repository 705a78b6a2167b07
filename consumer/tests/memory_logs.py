"""`LogReader` in memory."""

import asyncio

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka.partitioner import murmur2

from consumer.adapters.kafka_records import PlainRecord
from consumer.envelope import Partition
from consumer.log_reader import Portion, Span
from consumer.ports import SourceUnavailableError

PORTION = 10


@dataclass(slots=True)
class MemoryLogs:
    """
    A region's Kafka.

    Attributes:
        topics: The records of each partition of each topic.
        beginnings: Offsets before these are gone.
        commits: What the group has noted.
        away: Whether it cannot be reached.
        leaderless: Partitions that cannot be read.
        slow: Is awaited before each portion.
        open: Readers that are connected.
        asked: How many portions were asked for.
        read: Records that were looked at.
    """

    topics: dict[str, list[list[PlainRecord]]] = field(default_factory=dict)
    beginnings: dict[Partition, int] = field(default_factory=dict)
    commits: dict[Partition, int] = field(default_factory=dict)
    away: bool = False
    leaderless: set[Partition] = field(default_factory=set)
    slow: asyncio.Event | None = None
    open: int = 0
    asked: int = 0
    read: int = 0

    def write(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        at_ms: int = 1000,
    ) -> int:
        """Write a record, and return its offset."""
        partitions = self.topics[topic]
        log = partitions[partition_of(key or b"", len(partitions)) if partition is None else partition]
        log.append(PlainRecord(len(log), at_ms, key, value, list(headers)))
        return len(log) - 1


def partition_of(key: bytes, partitions: int) -> int:
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


class MemoryLogReader:
    """Reads it."""

    def __init__(self, logs: MemoryLogs) -> None:
        self._logs = logs
        self._open = False

    async def start(self) -> None:
        self._check()
        self._logs.open += 1
        self._open = True

    async def stop(self) -> None:
        self._logs.open -= self._open
        self._open = False

    async def partitions(self, topics: Collection[str]) -> Mapping[str, int]:
        self._check()
        return {name: len(self._logs.topics[name]) for name in topics if name in self._logs.topics}

    def partition_of(self, key: bytes, partitions: int) -> int:
        return partition_of(key, partitions)

    async def span(self, partition: Partition, since_ms: int) -> Span:
        log = self._log(partition)
        beginning = self._logs.beginnings.get(partition, 0)
        new = (record.offset for record in log if record.timestamp >= since_ms and record.offset >= beginning)
        return Span(beginning, next(new, len(log)), len(log))

    async def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        self._check()
        return {partition: self._logs.commits[partition] for partition in partitions if partition in self._logs.commits}

    async def read(self, partition: Partition, offset: int, containing: Sequence[bytes]) -> Portion:
        log = self._log(partition)
        self._logs.asked += 1
        if self._logs.slow is not None:
            await self._logs.slow.wait()
        records = log[offset : offset + PORTION]
        self._logs.read += len(records)
        return Portion(
            [record for record in records if any(part in _bytes(record) for part in containing)],
            offset + len(records),
            sum(len(_bytes(record)) for record in records),
        )

    def _log(self, partition: Partition) -> list[PlainRecord]:
        self._check()
        try:
            log = self._logs.topics[partition.topic][partition.number]
        except (KeyError, IndexError):
            raise SourceUnavailableError("no such partition") from None
        if partition in self._logs.leaderless:
            raise SourceUnavailableError("no leader")
        return log

    def _check(self) -> None:
        if self._logs.away:
            raise SourceUnavailableError("refused")


def _bytes(record: PlainRecord) -> bytes:
    said = b"".join(name.encode() + (value or b"") for name, value in record.headers)
    return ((record.key or b"") + (record.value or b"") + said).lower()
