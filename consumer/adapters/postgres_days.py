"""
Gives days their partitions, beside the work and never in its way.

To attach a partition takes a lock on the default one, for a moment, which no reader of that one lets it have. So this task has
a connection of its own and waits no longer than `LOCK_TIMEOUT_MS` at a time. The store does not wait for it: rows of a day
without a partition go to `logs_default`, where this task finds them and moves them from.

PostgreSQL reads all of the default partition to see that no row in it belongs to a new one. Where that is quickly done, it is
done. Where the default partition is large, a constraint on it says first that it has no row of the day. The constraint is
checked while all others read and write; only rows of that very day, which it refuses, have to wait until then (`waiting_day`).
"""

import asyncio
import re

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import asyncpg
import structlog

from consumer.ports import StoreUnavailableError

log: Final = structlog.stdlib.get_logger(__name__)

LOCK_TIMEOUT_MS: Final = 200
# As much as is read and moved in a moment, while others wait.
SMALL_BYTES: Final = 32 * 1024 * 1024
SMALL_ROWS: Final = 2000
# How often an attached partition is tried for, a second apart, before its rows may go to the default one again.
_ATTEMPTS: Final = 60
_ATTEMPT_EVERY_S: Final = 1.0
# To move and to check takes its time; no other statement waits for it.
_STATEMENT_TIMEOUT_S: Final = 3600
_CONSTRAINT: Final = re.compile(r"logs_default_without_(\d{8})")
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
_CONSTRAINTS: Final = """
    SELECT conname FROM pg_constraint
    WHERE conrelid = 'logs_default'::regclass AND conname ~ '^logs_default_without_[0-9]{8}$'
"""
_IS_SMALL: Final = """
    SELECT pg_relation_size('logs_default') <= $2 AND (
        SELECT count(*) <= $3 FROM (
            SELECT FROM logs_default
            WHERE event_time >= $1::date::timestamp AT TIME ZONE 'UTC'
              AND event_time < ($1::date + 1)::timestamp AT TIME ZONE 'UTC'
            LIMIT $3 + 1
        ) AS rows_of_it
    )
"""


async def days_with_partition(connection: asyncpg.Connection) -> set[date]:
    """Return the days that have a partition of their own."""
    return {row["day"] for row in await connection.fetch(_PARTITIONS)}


def waiting_day(exc: asyncpg.PostgresError) -> date | None:
    """Return the day whose partition is being made, if that is why a row was refused; it can be stored soon."""
    found = _CONSTRAINT.fullmatch(getattr(exc, "constraint_name", None) or "")
    return datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=UTC).date() if found else None


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
            return {}  # another consumer makes them, and says what it finds
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
            # The session that has locked all of the default partition will end; the next look finds the days.
            log.warning("the default partition cannot be looked at", error=str(exc))
        begun = await _begun(connection)
        there = await days_with_partition(connection)
        failed: dict[date, str] = {}
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
            await connection.execute("SELECT ensure_log_partition($1)", day)
            return
        if not begun:
            await connection.execute("SELECT keep_out_of_log_default($1)", day)
        try:
            await self._move_and_attach(connection, day)
        except asyncpg.PostgresError:
            # Its rows may go to the default partition again, and need not wait for a reader.
            with suppress(asyncpg.LockNotAvailableError):
                await connection.execute("SELECT let_into_log_default($1)", day)
            raise

    async def _move_and_attach(self, connection: asyncpg.Connection, day: date) -> None:
        """Move the rows and attach the partition in one transaction, so that no reader misses a row in between."""
        async with connection.transaction():
            await connection.execute("SELECT fill_log_partition($1)", day)
            await connection.execute(f"ALTER TABLE logs_default VALIDATE CONSTRAINT logs_default_without_{day:%Y%m%d}")
            for left in reversed(range(self.attempts)):
                try:
                    async with connection.transaction():
                        await connection.execute("SELECT attach_log_partition($1)", day)
                except asyncpg.LockNotAvailableError:
                    if not left:
                        raise
                else:
                    return
                await asyncio.sleep(_ATTEMPT_EVERY_S)


async def _begun(connection: asyncpg.Connection) -> set[date]:
    """Return the days whose partition was begun by a maker that did not end."""
    rows = await connection.fetch(_CONSTRAINTS)
    return {datetime.strptime(row["conname"][-8:], "%Y%m%d").replace(tzinfo=UTC).date() for row in rows}


class PostgresDays:
    """
    Looks after the days' partitions on a connection of its own.

    Args:
        dsn: Where the store is.
        name: Of the consumer, as PostgreSQL lists its sessions.
        maker: Does it.
    """

    def __init__(self, dsn: str, *, name: str, maker: DayMaker) -> None:
        self._dsn = dsn
        self._name = name
        self._maker = maker
        self._connection: asyncpg.Connection | None = None

    async def close(self) -> None:
        """Close the connection, whatever is being done on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def look_after(self) -> Mapping[date, str]:
        """
        Make the partitions that are missing.

        Returns:
            The days that have none in spite of it, each with why.

        Raises:
            StoreUnavailableError: PostgreSQL cannot be asked.
        """
        try:
            return await self._maker.make_missing(await self._connect())
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            await self.close()
            raise StoreUnavailableError(f"{type(exc).__name__}: {exc}") from exc
        except asyncio.CancelledError:
            await self.close()
            raise

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=5,
                command_timeout=_STATEMENT_TIMEOUT_S,
                server_settings={
                    "application_name": f"log-days {self._name}",
                    "lock_timeout": str(LOCK_TIMEOUT_MS),
                    "statement_timeout": str(_STATEMENT_TIMEOUT_S * 1000),
                    "idle_in_transaction_session_timeout": "60000",
                    "synchronous_commit": "on",
                    "timezone": "UTC",
                    "client_min_messages": "warning",
                },
            )
        return self._connection
