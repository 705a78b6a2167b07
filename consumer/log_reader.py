"""The port of what is looked through when an event is looked for: a region's Kafka, read without a group."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from consumer.decode import Record
from consumer.envelope import Partition


@dataclass(frozen=True, slots=True)
class Span:
    """
    What a partition holds.

    Attributes:
        beginning: First offset that retention has left.
        first: The first that is not older than what is looked for.
        end: Offset that the next record will get.
    """

    beginning: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Portion:
    """
    What was read of a partition at once.

    Attributes:
        records: Those that may be of interest, and maybe others.
        next: The offset to go on at; the one that was asked for if there is nothing more.
        size: Bytes that were read.
        unreadable: Offsets, as text, that hold no records which can be read.
    """

    records: Sequence[Record]
    next: int
    size: int
    unreadable: str | None = None


class LogReader(Protocol):
    """
    Reads a region's Kafka. All of it but `stop` may raise `SourceUnavailableError`.

    `integration-tests/test_finding.py` holds the real one and the one in memory together.
    """

    async def start(self) -> None:
        """Connect."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...

    async def partitions(self, topics: Collection[str]) -> Mapping[str, int]:
        """Return how many partitions each of these topics has; one that does not exist is left out."""
        ...

    def partition_of(self, key: bytes, partitions: int) -> int:
        """Return the partition, of so many, that records with this key are written to."""
        ...

    async def span(self, partition: Partition, since_ms: int) -> Span:
        """Return what a partition holds, and where that begins which the broker wrote at this time or later."""
        ...

    async def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Return how far the consumers' group is, where it has noted anything."""
        ...

    async def read(self, partition: Partition, offset: int, containing: Sequence[bytes]) -> Portion:
        """
        Read on at an offset.

        Args:
            partition: What is read.
            offset: Where.
            containing: Records without any of these, in lower case, may be left out.
        """
        ...
