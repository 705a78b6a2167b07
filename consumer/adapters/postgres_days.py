"""
Gives days their partitions, beside the work and never in its way.

A partition needs the default one for itself, for a moment, and cannot have it while a session reads it. So this has a
connection of its own and waits no longer than `LOCK_TIMEOUT_MS` at a time. No writer waits for it: rows of a day without a
partition go to `logs_default`, where this finds them and moves them from.

PostgreSQL looks in the default partition for rows that belong to a new one. `logs_default` consists of parts, each for a span
of time (`0003_default_in_parts.sql`), and only the part that takes the day's rows is read. Where that is quickly done, it is
done. Where that part is large, a gate is put before it first, and a constraint on it is validated while all components go on.
Only rows of that very day have to wait until then (`postgres_gates.py`).
"""

import asyncio

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

import asyncpg
import structlog

from consumer.adapters.postgres_gates import open_gates
from consumer.adapters.postgres_task import PostgresTask

log: Final = structlog.stdlib.get_logger(__name__)

# What is read and moved in a moment, while others wait.
SMALL_BYTES: Final = 32 * 1024 * 1024
SMALL_ROWS: Final = 2000
# How often an attached partition is tried for, a second apart, before its rows may go to the default one again.
_ATTEMPTS: Final = 60
_ATTEMPT_EVERY_S: Final = 1.0
_PARTITIONS: Final = """
    SELECT to_date(substr(c.relname, 6), 'YYYYMMDD') AS day
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'logs'::regclass AND c.relname ~ '^logs_[0-9]{8}$'
"""
# From one day to the next that has rows, by the key.
_DAYS_IN_DEFAULT: Final = """
    WITH RECURSIVE found (day) AS (
        SELECT (min(event_time) AT TIME ZONE 'UTC')::date FROM logs_default
        WHERE event_time >= $1::date::timestamp AT TIME ZONE 'UTC'
        UNION ALL
        SELECT (SELECT (min(event_time) AT TIME ZONE 'UTC')::date FROM logs_default
                WHERE event_time >= (found.day + 1)::timestamp AT TIME ZONE 'UTC')
        FROM found WHERE found.day < $2::date
    )
    SELECT day FROM found WHERE day <= $2::date
"""
_IS_SMALL: Final = """
    SELECT pg_relation_size(log_default_part($1)) <= $2 AND (
        SELECT count(*) <= $3 FROM (
            SELECT FROM logs_default
            WHERE event_time >= $1::date::timestamp AT TIME ZONE 'UTC'
              AND event_time < ($1::date + 1)::timestamp AT TIME ZONE 'UTC'
            LIMIT $3 + 1
        ) AS rows_of_it
    )
"""


_FUTURE: Final = """
    SELECT (first AT TIME ZONE 'UTC')::date AS first,
           (date_trunc('month', first AT TIME ZONE 'UTC') + interval '1 month')::date AS beyond
    FROM log_default_parts() WHERE first IS NOT NULL AND beyond IS NULL
"""
# How long before its first day a month gets a part of the default partition.
_NEAR: Final = timedelta(days=31)
_TABLES: Final = """
    SELECT day, CASE WHEN day = ANY($2) THEN ARRAY[log_day_name(day)] ELSE ARRAY['logs_default', log_default_part(day)::text] END
               AS tables
    FROM unnest($1::date[]) AS day
"""


async def days_with_partition(connection: asyncpg.Connection) -> set[date]:
    """Return the days that have a partition of their own."""
    return {row["day"] for row in await connection.fetch(_PARTITIONS)}


async def tables_of(connection: asyncpg.Connection, days: Collection[date]) -> Mapping[date, Sequence[str]]:
    """Return the tables that a row of each day goes through below `logs`."""
    there = await days_with_partition(connection)
    return {row["day"]: row["tables"] for row in await connection.fetch(_TABLES, list(days), list(there))}


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is cut out of the default partition, and the arguments of the functions that do it."""

    kind: Literal["partition", "default_part"]
    arguments: Sequence[date]

    async def do(
        self, step: Literal["gate", "fill", "validate", "attach", "open"], connection: asyncpg.Connection
    ) -> None:
        places = ", ".join(f"${n}" for n in range(1, len(self.arguments) + 1))
        await connection.execute(f"SELECT {step}_log_{self.kind}({places})", *self.arguments)


@dataclass(frozen=True, slots=True)
class DayMaker:
    """
    Makes partitions on a connection that waits for no lock longer than `LOCK_TIMEOUT_MS`.

    Attributes:
        days_back: Days before today that get a partition when there are rows of them.
        days_ahead: Days after today that get one in any case, as do today and yesterday.
        small_bytes: The size up to which the default partition is read while others wait.
        attempts: How often a partition is tried for that waits for a reader.
    """

    days_back: int
    days_ahead: int
    small_bytes: int = SMALL_BYTES
    attempts: int = _ATTEMPTS

    async def make_missing(self, connection: asyncpg.Connection) -> Mapping[date, str]:
        """Make the partitions that are missing; return the days that have none in spite of it, each with why."""
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext('log partitions'))"):
            return {}  # another one is at it, and says what it finds
        try:
            return await self._make_missing(connection)
        finally:
            await connection.execute("SELECT pg_advisory_unlock(hashtext('log partitions'))")

    async def _make_missing(self, connection: asyncpg.Connection) -> Mapping[date, str]:
        today = datetime.now(UTC).date()
        first, last = today - timedelta(days=self.days_back), today + timedelta(days=self.days_ahead)
        wanted = {today + timedelta(days=offset) for offset in range(-1, self.days_ahead + 1)}
        try:
            wanted |= {row["day"] for row in await connection.fetch(_DAYS_IN_DEFAULT, first, last)}
        except asyncpg.LockNotAvailableError as exc:
            # The session that has all of the default partition will let go of it; the next look finds them.
            log.warning("the default partition cannot be looked at", error=str(exc))
        gates = await open_gates(connection)
        begun = {gate.first for gate in gates if gate.is_of_a_day}
        there = await days_with_partition(connection)
        failed: dict[date, str] = await self._make_parts(
            connection, last, {gate.first for gate in gates if not gate.is_of_a_day}
        )
        for day in sorted((wanted | begun) - there):
            try:
                await self._make(connection, day, begun=day in begun)
            except asyncpg.PostgresError as exc:
                failed[day] = f"{type(exc).__name__}: {exc}"
            else:
                log.info("partition made", day=str(day))
        return failed

    async def _make(self, connection: asyncpg.Connection, day: date, *, begun: bool) -> None:
        if await connection.fetchval("SELECT has_log_partition($1)", day):
            return
        if not begun and await connection.fetchval(_IS_SMALL, day, self.small_bytes, SMALL_ROWS):
            await connection.execute("SELECT make_log_partition($1)", day)
            return
        await self._behind_a_gate(connection, _Piece("partition", (day,)), begun=begun)

    async def _make_parts(self, connection: asyncpg.Connection, last: date, begun: set[date]) -> dict[date, str]:
        """Cut parts off from the one for all that is to come, so that no day will be near that has no part of its own."""
        while (part := await connection.fetchrow(_FUTURE)) is not None and part["first"] <= last + _NEAR:
            month = _Piece("default_part", (part["first"], part["beyond"]))
            try:
                await self._behind_a_gate(connection, month, begun=part["first"] in begun)
            except asyncpg.PostgresError as exc:
                return {part["first"]: f"{type(exc).__name__}: {exc}"}
            log.info("part of the default partition made", first=str(part["first"]))
        return {}

    async def _behind_a_gate(self, connection: asyncpg.Connection, piece: _Piece, *, begun: bool) -> None:
        if not begun:
            async with connection.transaction():
                await piece.do("gate", connection)
        try:
            await self._move_and_attach(connection, piece)
        except asyncpg.PostgresError:
            # Its rows may go to the default partition again, and need not wait for the session that reads.
            with suppress(asyncpg.LockNotAvailableError):
                await piece.do("open", connection)
            raise

    async def _move_and_attach(self, connection: asyncpg.Connection, piece: _Piece) -> None:
        """Move the rows and put the partition into its place at once, so that no reader misses one in between."""
        async with connection.transaction():
            await piece.do("fill", connection)
            await piece.do("validate", connection)
            for left in reversed(range(self.attempts)):
                try:
                    async with connection.transaction():
                        await piece.do("attach", connection)
                except asyncpg.LockNotAvailableError:
                    if not left:
                        raise
                else:
                    return
                await asyncio.sleep(_ATTEMPT_EVERY_S)


class PostgresDays(PostgresTask):
    """
    Looks after the days' partitions.

    Args:
        dsn: Where the store is.
        name: Of the consumer, in PostgreSQL's list of sessions.
        maker: Does it.
    """

    def __init__(self, dsn: str, *, name: str, maker: DayMaker) -> None:
        settings = {"idle_in_transaction_session_timeout": "60000", "synchronous_commit": "on"}
        super().__init__(dsn, f"log-days {name}", maker.make_missing, settings)
