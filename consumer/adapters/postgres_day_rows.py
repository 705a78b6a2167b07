"""The rows of one day, as a stream."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import BinaryIO, Final

import asyncpg

from consumer.adapters.postgres_days import days_with_partition
from consumer.retention import ArchiveError

_SETTINGS: Final = {
    "application_name": "log-archive",
    "lock_timeout": "10s",
    # What is read from here has to be what was written, in whatever place.
    "timezone": "UTC",
    "datestyle": "ISO",
    "client_encoding": "UTF8",
}


async def days_that_are_there(dsn: str) -> set[date]:
    """
    Return the days that have a partition.

    Raises:
        ArchiveError: PostgreSQL cannot be asked.
    """
    async with _asked(dsn) as connection:
        return await days_with_partition(connection)


async def count_day(dsn: str, day: date) -> tuple[int, int]:
    """
    Return the number of a day's rows, and the sum of their `seq`.

    Raises:
        ArchiveError: PostgreSQL cannot be asked.
    """
    async with _asked(dsn) as connection:
        query = f"SELECT count(*), coalesce(sum(seq), 0) FROM ONLY logs_{day:%Y%m%d}"  # noqa: S608 - made of a date
        [(rows, sum_seq)] = await connection.fetch(query)
        return rows, int(sum_seq)


async def copy_day(dsn: str, day: date, columns: Sequence[str], null: str, into: BinaryIO) -> int:
    """
    Send all rows of a day as CSV; to write may block, so this is for a thread of its own.

    Returns:
        How many.

    Raises:
        ArchiveError: PostgreSQL cannot be asked.
        BrokenPipeError: The other end reads no more.
    """

    async def send(data: bytes) -> None:
        into.write(data)

    query = f"SELECT {', '.join(columns)} FROM ONLY logs_{day:%Y%m%d}"  # noqa: S608 - constants and a date
    async with _asked(dsn) as connection:
        done: str = await connection.copy_from_query(query, output=send, format="csv", null=null)
        into.flush()
        return int(done.rsplit(maxsplit=1)[-1])


@asynccontextmanager
async def _asked(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await asyncpg.connect(dsn, timeout=10, server_settings=_SETTINGS)
        try:
            yield connection
        finally:
            connection.terminate()
    except BrokenPipeError:
        raise
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise ArchiveError(f"PostgreSQL cannot be asked ({type(exc).__name__}: {exc}): is it up?") from exc
