"""
`EventStore` on PostgreSQL: one transaction a batch, and the primary key decides.

A batch of which nothing should be there yet goes the short way, straight into the table. Where that collides, nothing of it is
there, and it goes the long way of all others (`postgres_rows.py`). Both regions' consumers insert their rows in the same order
(`Envelope.order`). So two transactions that meet in the same rows wait for each other and do not deadlock.
"""

import time

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from operator import itemgetter
from typing import Final

import asyncpg

from consumer.adapters.collisions import Collisions
from consumer.adapters.postgres_connection import StoreConnection, describe
from consumer.adapters.postgres_gates import gate_of
from consumer.adapters.postgres_locks import DayLocks
from consumer.adapters.postgres_progress import ProgressLines
from consumer.adapters.postgres_rows import copy, insert, known
from consumer.adapters.postgres_tenants import Tenants
from consumer.adapters.row_days import days_of, rows_of
from consumer.copy_format import copy_rows, tenants_of
from consumer.envelope import Envelope, Partition, Row
from consumer.failpoints import Arrive, pass_by
from consumer.ports import Claim, FencedError, Progress, RowsMustWaitError, StoreUnavailableError

_envelope: Final = itemgetter(Row._fields.index("envelope"))
_mirrored: Final = itemgetter(Envelope._fields.index("mirrored"))

# Brings the rows of a batch into the table; returns the indices of those that were new.
_Insert = Callable[[], Awaitable[Collection[int]]]


class PostgresStore:
    """
    Rows and offsets in PostgreSQL.

    Args:
        dsn: Where it is.
        region: The consumer's own.
        instance: The consumer's name in its region.
        group: The Kafka consumer group.
        timeout_s: A transaction without an answer by then is given up; its connection is closed.
        is_shared: Whether consumers of other regions write to it, too.
        arrive: Called before a transaction that has rows is committed.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        dsn: str,
        *,
        region: str,
        instance: str,
        group: str,
        timeout_s: float,
        is_shared: bool = True,
        arrive: Arrive = pass_by,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writes_as = f"{region}/{instance}"
        self._is_shared = is_shared
        self._arrive = arrive
        self._connection = StoreConnection(dsn, f"log-consumer {self._writes_as}", timeout_s)
        self._lines = ProgressLines(region, group)
        self._days = DayLocks(clock)
        self._collisions = Collisions()
        self._tenants = Tenants()

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def claim(self, partitions: Collection[Partition]) -> Claim:
        """Take the partitions over; see `EventStore`."""
        async with self._connection.attempt() as connection:
            await self._days.learn(connection)  # the database may have been set back, under an open connection
            async with connection.transaction():
                claim = await self._lines.claim(connection, partitions)
                claim = replace(claim, secret=await self._tenants.learn(connection))
        self._lines.claimed(claim)
        return claim

    def encode(self, rows: Sequence[Row], generation: int) -> bytes | None:
        """Return rows as COPY takes them, None where a tenant is new to this consumer; see `EventStore`."""
        try:
            return self._encode(rows, generation)
        except KeyError:
            return None

    async def known(self, rows: Sequence[Row]) -> Collection[int]:
        """Return the indices of the rows that are stored; see `EventStore`."""
        async with self._connection.attempt() as connection:
            return await known(connection, rows)

    async def store(
        self,
        rows: Sequence[Row],
        progress: Mapping[Partition, Progress],
        generation: int,
        encoded: bytes | None = None,
    ) -> Collection[int]:
        """Store rows and progress in one transaction; see `EventStore`."""
        async with self._connection.attempt() as connection:
            if encoded is None:
                await self._tenants.number(connection, tenants_of(rows))
                encoded = self._encode(rows, generation)
            days = days_of(rows)
            if days & self._days.locked:
                # As long as it is locked, it must not cost others a timeout with each batch.
                await self._days.blame(connection, rows)
            await self._days.learn_when_due(connection, days)
            long_way = partial(insert, connection, rows, encoded) if rows else None
            is_short = self._should_be_new(rows, days) and self._collisions.next_way() == "short"
            try:
                try:
                    way = partial(copy, connection, rows, encoded) if is_short else long_way
                    new = await self._commit(connection, way, progress, generation)
                    if is_short:
                        self._collisions.passed()
                except asyncpg.UniqueViolationError:
                    self._collisions.collided()
                    new = await self._commit(connection, long_way, progress, generation)
            except (asyncpg.LockNotAvailableError, asyncpg.CheckViolationError) as exc:
                if (gate := gate_of(exc)) is not None:
                    stopped = {day for day in days if gate.stops(day)}
                    why = f"the partition of {min(stopped)} is being made"
                    raise RowsMustWaitError(rows_of(stopped, rows), why) from exc
                if isinstance(exc, asyncpg.CheckViolationError):
                    raise
                await self._days.blame(connection, rows)
                raise StoreUnavailableError(describe(exc)) from exc
            except FencedError:
                # At once: a successor's claim would cover the only trace of it.
                await self._lines.rename_if_set_back(connection)
                raise
        self._lines.written(progress)
        return new

    def _encode(self, rows: Sequence[Row], generation: int) -> bytes:
        return copy_rows(rows, f"{self._writes_as}/{generation}", self._tenants.numbers)

    async def _commit(
        self,
        connection: asyncpg.Connection,
        way: _Insert | None,
        progress: Mapping[Partition, Progress],
        generation: int,
    ) -> Collection[int]:
        async with connection.transaction():
            new = () if way is None else await way()
            if progress or way is not None:
                await self._lines.write(connection, progress, generation)
            if way is not None:
                self._arrive("before-commit")
        return new

    def _should_be_new(self, rows: Sequence[Row], days: set[date]) -> bool:
        # The other region's consumer usually stores its own first. Rows that meet in the default table come from both ends of
        # time, in no order that two transactions would agree on.
        if not rows or not days <= self._days.known:
            return False
        return not (self._is_shared and any(map(_mirrored, map(_envelope, rows))))
