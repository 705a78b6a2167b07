"""
A task about the table's days, on a connection of its own, which waits no longer than `LOCK_TIMEOUT_MS` for any lock.

What a task does may take its time, since no component waits for it. A connection that failed is closed, and the next look
begins with a new one.
"""

import asyncio

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Final

import asyncpg

from consumer.ports import StoreUnavailableError

LOCK_TIMEOUT_MS: Final = 200
_STATEMENT_TIMEOUT_S: Final = 3600
_SETTINGS: Final = {
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "statement_timeout": str(_STATEMENT_TIMEOUT_S * 1000),
    "timezone": "UTC",
    "client_min_messages": "warning",
}


class PostgresTask:
    """
    `DaysPort` by one call.

    Args:
        dsn: Where the store is.
        name: Of the task, in PostgreSQL's list of sessions.
        work: Does it; returns the days that it could not be done with, each with why.
        settings: Of the session, besides those that all tasks have.
    """

    def __init__(
        self,
        dsn: str,
        name: str,
        work: Callable[[asyncpg.Connection], Awaitable[Mapping[date, str]]],
        settings: Mapping[str, str],
    ) -> None:
        self._dsn = dsn
        self._work = work
        self._settings = {**_SETTINGS, "application_name": name, **settings}
        self._connection: asyncpg.Connection | None = None

    async def close(self) -> None:
        """Close the connection, whatever is being done on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def look_after(self) -> Mapping[date, str]:
        """
        Do the work.

        Returns:
            As the work does.

        Raises:
            StoreUnavailableError: PostgreSQL cannot be asked.
        """
        try:
            return await self._work(await self._connect())
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            await self.close()
            raise StoreUnavailableError(f"{type(exc).__name__}: {exc}") from exc
        except asyncio.CancelledError:
            await self.close()
            raise

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn, timeout=5, command_timeout=_STATEMENT_TIMEOUT_S, server_settings=self._settings
            )
        return self._connection
