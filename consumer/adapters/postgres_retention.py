"""
Drops the days that are older than the retention, and lets no insert wait behind a reader for it.

To drop a partition, PostgreSQL wants all of `logs` for itself, and would have all others wait until each reader has ended. So
a day is emptied first, which needs that day's own table and nothing else, and gives its room back. The empty table is then
removed in a moment in which no session uses `logs`: this looks for one, and never waits for it.

A consumer has no right to do so. Functions of the owner do it (`0004_days_that_go.sql`), and refuse today and yesterday.
"""

import asyncio

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import asyncpg
import structlog

from consumer.adapters.postgres_days import days_with_partition
from consumer.adapters.postgres_task import PostgresTask
from consumer.retention import Archived, ArchiveError

log: Final = structlog.stdlib.get_logger(__name__)

# How often a moment without readers and writers is looked for, in one go.
_LOOKS: Final = 50
_LOOK_EVERY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class DayDropper:
    """
    Drops days on a connection that waits for no lock longer than `LOCK_TIMEOUT_MS`.

    Attributes:
        keep_days: How many days before today are kept.
        archive: Puts a day into a file before it is dropped; None where that is not asked for.
    """

    keep_days: int
    archive: Callable[[date], Awaitable[Archived]] | None = None

    async def drop_old(self, connection: asyncpg.Connection) -> Mapping[date, str]:
        """Drop what is too old; return the days that are still there in spite of it, each with why."""
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext('log retention'))"):
            return {}  # another one is at it, and says what it finds
        try:
            return await self._drop_old(connection)
        finally:
            await connection.execute("SELECT pg_advisory_unlock(hashtext('log retention'))")

    async def _drop_old(self, connection: asyncpg.Connection) -> Mapping[date, str]:
        oldest = datetime.now(UTC).date() - timedelta(days=self.keep_days)
        failed: dict[date, str] = {}
        for day in sorted(await days_with_partition(connection)):
            if day >= oldest:
                break
            try:
                await self._drop(connection, day)
            except ArchiveError as exc:
                failed[day] = str(exc)
            except asyncpg.LockNotAvailableError:
                failed[day] = f"a session uses logs_{day:%Y%m%d} and does not end"
            except asyncpg.PostgresError as exc:
                failed[day] = f"{type(exc).__name__}: {exc}"
        return failed

    async def _drop(self, connection: asyncpg.Connection, day: date) -> None:
        table = f"logs_{day:%Y%m%d}"
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM ONLY {table})"):  # noqa: S608 - made of a date
            # An archive of a day that is in use would be made in vain.
            await connection.execute("SELECT take_log_day($1)", day)
            archived = None if self.archive is None else await self.archive(day)
            await _empty(connection, day, archived)
            log.info("day emptied, it is older than the retention", day=str(day), file=archived and archived.file)
        if await _remove(connection, day):
            log.info("day dropped", day=str(day))


async def _empty(connection: asyncpg.Connection, day: date, archived: Archived | None) -> None:
    async with connection.transaction():
        # Writers to this very day wait, and its readers go on, while its rows are compared with those of the file.
        await connection.execute("SELECT hold_log_day($1)", day)
        if archived is not None:
            found = await connection.fetch(f"SELECT count(*), coalesce(sum(seq), 0) FROM ONLY logs_{day:%Y%m%d}")  # noqa: S608
            if [(rows, int(sum_seq)) for rows, sum_seq in found] != [(archived.rows, archived.sum_seq)]:
                raise ArchiveError(f"rows came after the archive {archived.file} was written; it is written again")
        await connection.execute("SELECT empty_log_day($1)", day)


async def _remove(connection: asyncpg.Connection, day: date) -> bool:
    """Remove an empty day if there is a moment for it; tell whether it is gone. Else it is tried again, and costs nothing."""
    for _ in range(_LOOKS):
        with suppress(asyncpg.LockNotAvailableError):
            # False for a day to which a row came since; the next look sees to it.
            return bool(await connection.fetchval("SELECT remove_log_day($1)", day))
        await asyncio.sleep(_LOOK_EVERY_S)
    return False


class PostgresRetention(PostgresTask):
    """
    Looks after the days that are too old.

    Args:
        dsn: Where the store is.
        name: Of the consumer, in PostgreSQL's list of sessions.
        dropper: Does it.
    """

    def __init__(self, dsn: str, *, name: str, dropper: DayDropper) -> None:
        super().__init__(dsn, f"log-retention {name}", dropper.drop_old, {})
