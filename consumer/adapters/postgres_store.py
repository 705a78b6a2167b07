"""
`EventStore` on PostgreSQL: one transaction a batch, and the primary key decides.

A batch of which nothing should be there yet is copied straight into the table; where that collides, nothing of it is there,
and it goes the way of all others: into a temporary table, and from there with `ON CONFLICT DO NOTHING`. Both regions'
consumers insert their rows in the same order (`Envelope.order`), so two transactions that meet in the same rows wait for each
other and do not deadlock.
"""

import asyncio
import math
import time

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from functools import partial
from operator import itemgetter
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import structlog

from consumer.adapters.collisions import Collisions
from consumer.adapters.postgres_days import days_with_partition, tables_of
from consumer.adapters.postgres_gates import gate_of
from consumer.copy_format import COLUMNS, copy_rows
from consumer.envelope import Envelope, Partition, Row
from consumer.failpoints import Arrive, pass_by
from consumer.ports import (
    Claim,
    FencedError,
    KnownLog,
    Progress,
    RowsConflictError,
    RowsMustWaitError,
    RowsRefusedError,
    StoreTimedOutError,
    StoreUnavailableError,
)
from shared.event.model import EPOCH, epoch_us, from_epoch_us

log: Final = structlog.stdlib.get_logger(__name__)

_envelope: Final = itemgetter(Row._fields.index("envelope"))
_time, _mirrored = (itemgetter(Envelope._fields.index(name)) for name in ("time_us", "mirrored"))

_STAGE: Final = """
    CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
        ord bigint GENERATED ALWAYS AS IDENTITY, stored_by text, late boolean, late_by_ms bigint, late_reason text,
        event_id uuid, event_time timestamptz, received_at timestamptz, service_name text, level text, message text,
        correlation_id text, attributes jsonb, origin_region text
    ) ON COMMIT DELETE ROWS
"""
# Not in the order of their places: a small row may be put before a larger one that came first.
_INSERT: Final = f"""
    INSERT INTO logs ({", ".join(COLUMNS)})
    SELECT {", ".join(COLUMNS)} FROM incoming ORDER BY ord
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants
# Which ones of the batch this very transaction has inserted, and which of the others differ from what is there, in what.
# Asked only where some were there before: usually their number says it all, and no row has to come back.
# `OFFSET 0` keeps the order of the join, an incoming row first: of a day that is new the planner knows no rows, and would read
# it whole, each of its rows against each incoming one, with a plan that it keeps until somebody has counted the day's rows.
_SAID: Final = {
    "service_name": "serviceName",
    "level": "level",
    "message": "message",
    "correlation_id": "correlationId",
    "attributes": "attributes",
}
_FOUND: Final = f"""
    SELECT (i.ord - first.ord)::int AS place,
           array_remove(ARRAY[{", ".join(f"CASE WHEN i.{n} <> l.{n} THEN '{name}' END" for n, name in _SAID.items())}], NULL)
               AS differs
    FROM (SELECT min(ord) AS ord FROM incoming) AS first
    CROSS JOIN incoming AS i
    CROSS JOIN LATERAL (
        SELECT l.xmin AS written_by, {", ".join(f"l.{n}" for n in _SAID)} FROM logs AS l
        WHERE l.event_time = i.event_time AND l.event_id = i.event_id AND ({{days}})
        OFFSET 0
    ) AS l
    WHERE l.written_by = pg_current_xact_id()::xid OR {" OR ".join(f"i.{n} <> l.{n}" for n in _SAID)}
    ORDER BY i.ord
"""  # noqa: S608 - constants
_CLAIM: Final = """
    INSERT INTO consumer_offsets (consumer_group, region, topic, partition, generation, stamp)
    SELECT $1, $2, topic, partition, $5, $6 FROM unnest($3::text[], $4::int[]) AS p (topic, partition)
    ORDER BY topic, partition
    ON CONFLICT (consumer_group, region, topic, partition)
    DO UPDATE SET generation = EXCLUDED.generation, stamp = EXCLUDED.stamp, updated_at = clock_timestamp()
    RETURNING topic, partition, next_offset, watermark, topic_id::text, last_offset, last_record, log_end
"""
# Another owner's generation is a later one. So with an earlier one, or ours, the stamp is our last one, unless the database
# was set back; or that of a write that was committed and whose answer was lost.
_SET_BACK: Final = """
    SELECT count(*) > 0
    FROM unnest($3::text[], $4::int[], $5::uuid[]) AS p (topic, partition, stamp)
    LEFT JOIN consumer_offsets AS o
      ON o.consumer_group = $1 AND o.region = $2 AND o.topic = p.topic AND o.partition = p.partition
    WHERE o.generation IS NULL OR (o.generation <= $6 AND o.stamp NOT IN (p.stamp, $7))
"""
# By the first who notices; the others find the new name.
_RENAME: Final = "UPDATE store_identity SET id = gen_random_uuid() WHERE id = $1::uuid"
# The stamp of this very write is fine, too: it was committed before, and its answer was lost. And whoever finds another
# name was not set back itself, but somebody else was, and what is remembered under the old name is not to be believed.
_PROGRESS: Final = """
    UPDATE consumer_offsets AS o
    SET next_offset = p.next_offset, watermark = p.watermark, stamp = $9, updated_at = clock_timestamp(),
        topic_id = p.topic_id, last_offset = p.last_offset, last_record = p.last_record, log_end = p.log_end
    FROM unnest($3::text[], $4::int[], $5::bigint[], $6::timestamptz[], $7::uuid[], $10::uuid[], $11::bigint[],
                $12::bigint[], $13::bigint[])
         AS p (topic, partition, next_offset, watermark, stamp, topic_id, last_offset, last_record, log_end)
    WHERE o.consumer_group = $1 AND o.region = $2 AND o.topic = p.topic AND o.partition = p.partition
      AND o.generation = $8 AND o.stamp IN (p.stamp, $9)
      AND EXISTS (SELECT FROM store_identity WHERE id = $14::uuid)
"""
# How old the knowledge may be that a day has no partition.
_LEARN_EVERY_S: Final = 5.0
_MOST_SPANS: Final = 8
_LOCK_TIMEOUT_S: Final = 2.0
_DAY_US: Final = 86_400_000_000
_PIECE_BYTES: Final = 262_144
# What only another data set could mend: data exceptions, integrity violations, and limits of row or index entry size.
_REFUSALS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.UntranslatableCharacterError,
)

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
        self._dsn = dsn
        self._region = region
        self._instance = instance
        self._group = group
        self._timeout_s = timeout_s
        self._is_shared = is_shared
        self._arrive = arrive
        self._connection: asyncpg.Connection | None = None
        self._clock = clock
        self._known_days: set[date] = set()
        self._learned_at = -math.inf
        self._stamps: dict[Partition, UUID] = {}
        self._next_stamp = uuid4()
        self._generation = 0
        self._store_id: str | None = None
        self._collisions = Collisions()
        self._locked_days: set[date] = set()

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()

    async def claim(self, partitions: Collection[Partition]) -> Claim:
        """Take the partitions over; see `EventStore`."""
        async with self._attempt() as connection:
            await self._learn_days(connection)  # the database may have been set back, under an open connection
            async with connection.transaction():
                await self._rename_if_set_back(connection)
                generation = await connection.fetchval("SELECT nextval('consumer_generation')")
                topics = [p.topic for p in partitions]
                numbers = [p.number for p in partitions]
                rows = await connection.fetch(
                    _CLAIM, self._group, self._region, topics, numbers, generation, self._next_stamp
                )
                # After the offsets, as everywhere: a restore locks the tables in this order.
                store_id = await connection.fetchval("SELECT id::text FROM store_identity")
        self._stamps.clear()
        self._stamped(partitions)
        self._generation, self._store_id = generation, store_id
        progress = {
            Partition(row["topic"], row["partition"]): Progress(
                row["next_offset"],
                None if row["watermark"] is None else epoch_us(row["watermark"]),
                KnownLog(row["topic_id"], row["last_offset"], row["last_record"], row["log_end"]),
            )
            for row in rows
        }
        return Claim(generation, store_id, progress)

    def encode(self, rows: Sequence[Row], generation: int) -> bytes:
        """Return rows as COPY takes them; see `EventStore`."""
        return copy_rows(rows, f"{self._region}/{self._instance}/{generation}")

    async def store(
        self,
        rows: Sequence[Row],
        progress: Mapping[Partition, Progress],
        generation: int,
        encoded: bytes | None = None,
    ) -> Collection[int]:
        """Store rows and progress in one transaction; see `EventStore`."""
        if encoded is None:
            encoded = self.encode(rows, generation)
        async with self._attempt() as connection:
            days = _days(rows)
            if days & self._locked_days:
                # As long as it is locked, it must not cost others a time-out with each batch.
                await self._blame_days(connection, rows)
            if not days <= self._known_days and self._clock() - self._learned_at > _LEARN_EVERY_S:
                await self._learn_days(connection)
            insert = partial(_insert, connection, rows, encoded) if rows else None
            short = partial(self._copy, connection, rows, encoded) if self._should_be_new(rows, days) else insert
            try:
                try:
                    new = await self._store(connection, short, progress, generation)
                except asyncpg.UniqueViolationError:
                    self._collisions.happened()
                    new = await self._store(connection, insert, progress, generation)
            except (asyncpg.LockNotAvailableError, asyncpg.CheckViolationError) as exc:
                if (gate := gate_of(exc)) is not None:
                    stopped = {day for day in days if gate.stops(day)}
                    why = f"the partition of {min(stopped)} is being made"
                    raise RowsMustWaitError(_rows_of(stopped, rows), why) from exc
                if isinstance(exc, asyncpg.CheckViolationError):
                    raise
                await self._blame_days(connection, rows)
                raise StoreUnavailableError(_describe(exc)) from exc
            except FencedError:
                # At once: a successor's claim would cover the only trace of it.
                await self._rename_if_set_back(connection)
                raise
        self._stamped(progress)
        return new

    async def _store(
        self,
        connection: asyncpg.Connection,
        insert: _Insert | None,
        progress: Mapping[Partition, Progress],
        generation: int,
    ) -> Collection[int]:
        async with connection.transaction():
            new = () if insert is None else await insert()
            if progress:
                await self._write_progress(connection, progress, generation)
            if insert is not None:
                self._arrive("before-commit")
        return new

    def _should_be_new(self, rows: Sequence[Row], days: set[date]) -> bool:
        # The other region's consumer usually stores its own first. Rows that meet in the default table come from both ends of
        # time, in no order that two transactions would agree on.
        if not rows or not days <= self._known_days:
            return False
        if self._is_shared and any(map(_mirrored, map(_envelope, rows))):
            return False
        return not self._collisions.expected()

    async def _copy(self, connection: asyncpg.Connection, rows: Sequence[Row], encoded: bytes) -> Collection[int]:
        await connection.copy_to_table("logs", source=_pieces(encoded), columns=COLUMNS, format="binary")
        self._collisions.did_not_happen()
        return range(len(rows))

    async def _rename_if_set_back(self, connection: asyncpg.Connection) -> None:
        if await self._was_set_back(connection):
            log.warning("the database was set back, ids remembered for it are not believed any more")
            await connection.execute(_RENAME, self._store_id)

    async def _was_set_back(self, connection: asyncpg.Connection) -> bool:
        """Tell whether the database does not have what this store last wrote, although nobody wrote after it."""
        if not self._stamps:
            return False
        topics = [p.topic for p in self._stamps]
        numbers = [p.number for p in self._stamps]
        stamps = list(self._stamps.values())
        set_back: bool = await connection.fetchval(
            _SET_BACK, self._group, self._region, topics, numbers, stamps, self._generation, self._next_stamp
        )
        return set_back

    def _stamped(self, partitions: Collection[Partition]) -> None:
        if partitions:
            self._stamps.update(dict.fromkeys(partitions, self._next_stamp))
            self._next_stamp = uuid4()

    async def _write_progress(
        self, connection: asyncpg.Connection, progress: Mapping[Partition, Progress], generation: int
    ) -> None:
        done = await connection.execute(
            _PROGRESS,
            self._group,
            self._region,
            [p.topic for p in progress],
            [p.number for p in progress],
            [p.next_offset for p in progress.values()],
            [None if p.watermark_us is None else from_epoch_us(p.watermark_us) for p in progress.values()],
            [self._stamps.get(partition) for partition in progress],
            generation,
            self._next_stamp,
            [p.log.topic_id for p in progress.values()],
            [p.log.last_offset for p in progress.values()],
            [p.log.last_record for p in progress.values()],
            [p.log.end for p in progress.values()],
            self._store_id,
        )
        if done != f"UPDATE {len(progress)}":
            raise FencedError(
                f"generation {generation} is over, or the database was set back: {done} of {len(progress)}"
            )

    async def _blame_days(self, connection: asyncpg.Connection, rows: Sequence[Row]) -> None:
        """
        Find out which days have kept a batch waiting.

        Raises:
            RowsMustWaitError: Some can be written to, and others cannot.
        """
        if rows and await _can_be_written_to(connection, "logs"):
            tables: dict[str, set[date]] = defaultdict(set)
            for day, names in (await tables_of(connection, _days(rows))).items():
                for name in names:
                    tables[name].add(day)
            locked = {name: days for name, days in tables.items() if not await _can_be_written_to(connection, name)}
            self._locked_days = set().union(*locked.values())
            if locked:
                names = " and ".join(sorted(locked))
                raise RowsMustWaitError(_rows_of(self._locked_days, rows), f"somebody has locked {names}")

    async def _learn_days(self, connection: asyncpg.Connection) -> None:
        self._known_days = await days_with_partition(connection)
        self._learned_at = self._clock()

    @asynccontextmanager
    async def _attempt(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend the connection for one attempt, and say in the port's terms what went wrong with it."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield await self._connect()
        except _REFUSALS as exc:
            raise RowsRefusedError(_describe(exc)) from exc
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            # What state the connection is in, and whether the transaction was committed, is unknown.
            self._forget_connection()
            is_slow = isinstance(exc, (TimeoutError, asyncpg.QueryCanceledError))
            raise (StoreTimedOutError if is_slow else StoreUnavailableError)(_describe(exc)) from exc
        except asyncio.CancelledError:
            self._forget_connection()
            raise

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=min(5, self._timeout_s),
                command_timeout=self._timeout_s,
                server_settings={
                    "application_name": f"log-consumer {self._region}/{self._instance}",
                    # What the client has given up must not go on holding locks.
                    "statement_timeout": str(int(self._timeout_s * 1000)),
                    "idle_in_transaction_session_timeout": str(int(self._timeout_s * 1000)),
                    # Who waits for a table longer than for any other writer's commit finds out which one it is.
                    "lock_timeout": str(int(min(_LOCK_TIMEOUT_S, self._timeout_s / 2) * 1000)),
                    # An acknowledgement before the disk has it would be a lie, whatever the server's default.
                    "synchronous_commit": "on",
                    "timezone": "UTC",
                    # Compiling takes longer than any of these statements.
                    "jit": "off",
                    # The table that rows come from has no statistics. Each row is looked up by the key; to read whole days
                    # instead is what the planner may think of, and never right.
                    "enable_hashjoin": "off",
                    "enable_mergejoin": "off",
                    "enable_seqscan": "off",
                },
            )
            await self._connection.execute(_STAGE)
        return self._connection

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


async def _insert(connection: asyncpg.Connection, rows: Sequence[Row], encoded: bytes) -> Collection[int]:
    await connection.copy_to_table("incoming", source=_pieces(encoded), columns=COLUMNS, format="binary")
    done = await connection.execute(_INSERT)
    if int(done.rpartition(" ")[2]) == len(rows):
        return range(len(rows))
    first: dict[bytes, int] = {}
    differs: dict[int, list[str]] = {}
    for record in await connection.fetch(_FOUND.format(days=_bounds(rows))):
        place = record["place"]
        if record["differs"]:
            differs[place] = record["differs"]
        else:
            # A second one of the same batch is a duplicate.
            first.setdefault(rows[place].envelope.identity, place)
    if differs:
        raise RowsConflictError(differs)
    return set(first.values())


def _bounds(rows: Sequence[Row]) -> str:
    """Return what keeps a query to the partitions that have such rows, for others may be locked."""
    days = sorted(_days(rows))
    spans = [(day, day) for day in days] if len(days) <= _MOST_SPANS else [(days[0], days[-1])]
    return " OR ".join(
        f"l.event_time >= '{first} 00:00:00+00' AND l.event_time < '{last + timedelta(days=1)} 00:00:00+00'"
        for first, last in spans
    )


async def _can_be_written_to(connection: asyncpg.Connection, table: str) -> bool:
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE ONLY {table} IN ROW EXCLUSIVE MODE NOWAIT")
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def _pieces(encoded: bytes) -> AsyncIterator[bytes]:
    """
    Give COPY its data, no more at once than it sends at once.

    Around a file asyncpg makes a class, a cycle that keeps the data until somebody looks for cycles.
    """
    for begin in range(0, len(encoded), _PIECE_BYTES):
        yield encoded[begin : begin + _PIECE_BYTES]


def _days(rows: Sequence[Row]) -> set[date]:
    """Return the days that the rows happened on."""
    times_us = list(map(_time, map(_envelope, rows)))
    first, last = min(times_us, default=0) // _DAY_US, max(times_us, default=-1) // _DAY_US
    numbers = range(first, last + 1) if last - first <= 1 else {time_us // _DAY_US for time_us in times_us}
    return {EPOCH.date() + timedelta(days=number) for number in numbers}


def _rows_of(days: set[date], rows: Sequence[Row]) -> Collection[int]:
    numbers = {(day - EPOCH.date()).days for day in days}
    return {index for index, row in enumerate(rows) if row.envelope.time_us // _DAY_US in numbers}


def _describe(exc: BaseException) -> str:
    # A transaction that cannot be rolled back says that, instead of what ended it.
    while isinstance(exc, asyncpg.InterfaceError) and exc.__context__ is not None:
        exc = exc.__context__
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
