"""The database's connections, as role `logs_api` has them: opened when they are needed, lent one by one."""

import asyncio

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self

import asyncpg

from console.ports import BusyError, StoreUnavailableError

WAIT_S: Final = 1.0
"""For a connection, whether others have them all or PostgreSQL is away."""
SETTINGS: Final = {
    "application_name": "console",
    "default_transaction_read_only": "on",
    # One core of a machine that has writers to serve.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "work_mem": "16MB",
    "lock_timeout": "500ms",
    "statement_timeout": "2s",
    "idle_in_transaction_session_timeout": "5s",
    # A plan for all values would not know how rare these are.
    "plan_cache_mode": "force_custom_plan",
    "timezone": "UTC",
}
BROKEN: Final = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What is raised where PostgreSQL, or the way there, fails."""


class Connections:
    """
    A pool.

    Args:
        dsn: Where the database is.
        most: At the same time.
        settings: What sessions begin with.
        wait_s: How long to wait for one.
        busy: What is said where others have them all.
    """

    def __init__(self, dsn: str, most: int, settings: Mapping[str, str], *, wait_s: float, busy: str) -> None:
        self._dsn = dsn
        self._most = most
        self._settings = dict(settings)
        self._wait_s = wait_s
        self._busy = busy
        self._pool: asyncpg.Pool | None = None

    async def __aenter__(self) -> Self:
        # With no connections at first, so that PostgreSQL may be away.
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self._most,
            reset=_leave_it,
            timeout=WAIT_S,
            server_settings=self._settings,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Any]:
        """
        Lend a connection.

        Raises:
            BusyError: Others have them all.
            StoreUnavailableError: PostgreSQL does not answer.
        """
        pool = self._pool
        if pool is None:
            raise StoreUnavailableError("the console is starting; retry after a pause")
        try:
            connection = await pool.acquire(timeout=self._wait_s)
        except TimeoutError as exc:
            if pool.get_size() - pool.get_idle_size() >= self._most:
                raise BusyError(self._busy) from exc
            raise StoreUnavailableError("PostgreSQL does not answer; events are stored when it is back") from exc
        except BROKEN as exc:
            raise unavailable(exc) from exc
        try:
            yield connection
        finally:
            # Also of a task that is cancelled: its statement ends meanwhile.
            await asyncio.shield(_release(pool, connection))


def unavailable(exc: BaseException) -> StoreUnavailableError:
    """Return the error that says so."""
    said = str(exc) or type(exc).__name__
    if isinstance(exc, _OF_ANOTHER_SCHEMA):
        return StoreUnavailableError(
            f"the database does not have the schema of this release ({said}); `python -m consumer.schema` brings it there"
        )
    return StoreUnavailableError(f"PostgreSQL does not answer ({said}); events are stored when it is back")


# What is not there, or is not there for this role, before the schema and its grants are applied.
_OF_ANOTHER_SCHEMA: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
)


async def _leave_it(_: object) -> None:
    """Reset nothing between two readers: what a transaction sets ends with it."""


async def _release(pool: asyncpg.Pool, connection: Any) -> None:
    try:
        await pool.release(connection, timeout=WAIT_S)
    except BROKEN:
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
