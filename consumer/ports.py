"""
The ports: what the pipeline needs from outside.

Each has an in-memory implementation for tests that obeys the same suite as the real one
(`integration-tests/test_ports.py`).

* PortError
  x SeenIdsUnavailableError   Redis cannot be asked; the pipeline works without it
  x StoreUnavailableError     PostgreSQL cannot be reached or is busy; the same batch is tried again
  |   x StoreTimedOutError    no answer in time; the batch is tried again in halves
  x RowsRefusedError          PostgreSQL refuses the data itself; bisect the batch
  x RowsConflictError         rows say something else than what is stored under their identity; set them aside first
  x RowsMustWaitError         rows of some days cannot be stored now; store the others, and try these again
  x FencedError               another consumer has taken the partitions over; drop everything and rejoin
  x DeadLettersUnavailableError  Kafka did not take the dead letters; try again
  x SourceUnavailableError    Kafka cannot be read, or refuses this consumer; drop everything and rejoin

What is read has a module of its own, `consumer/source.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from consumer.envelope import DeadLetter, Envelope, Partition, Row


class PortError(Exception):
    """Something outside the pipeline failed."""


class SeenIdsUnavailableError(PortError):
    """The memory of ids cannot be asked now."""


class StoreUnavailableError(PortError):
    """The store cannot take the batch now; whether it took it is unknown."""


class StoreTimedOutError(StoreUnavailableError):
    """The store did not answer in time; the batch may be too large for it."""


class RowsRefusedError(PortError):
    """The store refuses the data of at least one of the rows, and stored none of them."""


class RowsConflictError(PortError):
    """
    Some rows have the identity of another event; nothing was stored.

    Attributes:
        differs: By the index of each such row, in what it differs from the event that is stored, or comes before it.
    """

    def __init__(self, differs: Mapping[int, Sequence[str]]) -> None:
        super().__init__(f"{len(differs)} rows have the identity of another event")
        self.differs = differs


class RowsMustWaitError(PortError):
    """
    The days of some rows cannot be written to now; nothing was stored.

    Attributes:
        rows: Indices of these rows, all of their days.
    """

    def __init__(self, rows: Collection[int], why: str) -> None:
        super().__init__(why)
        self.rows = rows


class FencedError(PortError):
    """
    The store is not as this generation left it; nothing was stored.

    Another consumer owns the partitions now, or the store was set back to an earlier state: to go on from here would skip what
    was lost.
    """


class DeadLettersUnavailableError(PortError):
    """The dead letters are not durable."""


class SourceUnavailableError(PortError):
    """The region's Kafka cannot be read now, or refuses this consumer."""


@dataclass(frozen=True, slots=True)
class KnownLog:
    """
    By what a partition's log is known again; see `consumer/beginnings.py`. All is None for what is not known.

    Attributes:
        topic_id: Of its topic: another one, if the topic was made anew.
        last_offset: Of a record; it and all before it are durable.
        last_record: That record's fingerprint.
        end: How far the log was known to reach.
    """

    topic_id: str | None = None
    last_offset: int | None = None
    last_record: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a partition is done.

    Attributes:
        next_offset: Where a successor begins; None if nothing was ever completed.
        watermark_us: The watermark to judge lateness by, microseconds since 1970, None if it has none.
        log: By what a successor knows the log again.
    """

    next_offset: int | None
    watermark_us: int | None
    log: KnownLog = KnownLog()


@dataclass(frozen=True, slots=True)
class Claim:
    """
    The right to write the progress of some partitions.

    Attributes:
        generation: Rises with every claim; an elder one cannot write any more.
        store_id: Identity of the database: memories of another one are not to be believed.
        progress: As stored by the last owner.
        secret: The store's, for the ids of tenants' events; see `consumer/stored_ids.py`.
    """

    generation: int
    store_id: str
    progress: Mapping[Partition, Progress]
    secret: bytes = b""


class SeenIds(Protocol):
    """
    A memory of stored ids: allowed to forget, never allowed to invent.

    It remembers with each id the record whose event was stored. Asked with that very record it says "not seen": a record
    that comes again is no duplicate but a redelivery, and whether it is stored is for the store to say. So a store that was
    set back to an earlier state is refilled by replay although the memory still knows the ids. An event that says something
    else than what was stored is no duplicate either: the store compares the two.
    """

    def use_store(self, store_id: str) -> None:
        """Remember and ask for ids of this store only."""
        ...

    async def duplicates(self, envelopes: Sequence[Envelope]) -> Collection[int]:
        """
        Return the indices of those that were stored from another record, with the same identity and content.

        Raises:
            SeenIdsUnavailableError: Ask the store instead.
        """
        ...

    async def remember(self, envelopes: Sequence[Envelope]) -> None:
        """
        Remember these; only after the transaction that stored them has committed.

        Raises:
            SeenIdsUnavailableError: They are not remembered; harmless.
        """
        ...


class EventStore(Protocol):
    """Where events end, each identity once."""

    async def claim(self, partitions: Collection[Partition]) -> Claim:
        """
        Take the partitions over from their last owner.

        Raises:
            StoreUnavailableError: Try again.
        """
        ...

    def encode(self, rows: Sequence[Row], generation: int) -> bytes | None:
        """
        Do that part of `store` that needs no connection; may be called while other rows are being stored.

        Returns:
            What `store` may be given; None where it needs a connection after all.
        """
        ...

    async def known(self, rows: Sequence[Row]) -> Collection[int]:
        """
        Return the indices of the rows under whose identity an event is stored; any days, a few rows.

        Raises:
            StoreUnavailableError: It cannot be asked now.
        """
        ...

    async def store(
        self,
        rows: Sequence[Row],
        progress: Mapping[Partition, Progress],
        generation: int,
        encoded: bytes | None = None,
    ) -> Collection[int]:
        """
        Store rows and progress in one transaction, rows in the given order.

        Args:
            rows: Each once or more often.
            progress: Of the partitions that have any.
            generation: Of the claim.
            encoded: What `encode` made of these rows and this generation, if it was asked before.

        Returns:
            The indices of the rows that were new; the others were there already.

        Raises:
            StoreUnavailableError: Try again; it may have been stored, which a second try finds out.
            StoreTimedOutError: Likewise, and with fewer rows.
            RowsRefusedError: At least one row can never be stored.
            RowsMustWaitError: Some rows cannot be stored now, and the others can.
            RowsConflictError: At least one row says something else than the event that has its identity.
            FencedError: The generation is over, or the store was set back since its last write of progress.
        """
        ...


class DeadLetters(Protocol):
    """Where records go that cannot become rows."""

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """
        Make them durable.

        Raises:
            DeadLettersUnavailableError: Some may not be.
        """
        ...
