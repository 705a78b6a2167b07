"""The store's connection to PostgreSQL: how it is set up, when it is given up, and its errors in the port's terms."""

import asyncio

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from consumer.adapters.postgres_rows import STAGE
from consumer.ports import RowsRefusedError, StoreTimedOutError, StoreUnavailableError

_LOCK_TIMEOUT_S: Final = 2.0
# What only another data set could mend: data exceptions, integrity violations, and limits of row or index entry size.
_REFUSALS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.UntranslatableCharacterError,
)


class StoreConnection:
    """
    Opened when it is needed, and anew after an attempt that failed.

    Args:
        dsn: Where the database is.
        name: What PostgreSQL's sessions are named by.
        timeout_s: An attempt without an answer by then is given up.
    """

    def __init__(self, dsn: str, name: str, timeout_s: float) -> None:
        self._dsn = dsn
        self._name = name
        self._timeout_s = timeout_s
        self._connection: asyncpg.Connection | None = None

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[asyncpg.Connection]:
        """
        Lend the connection for one attempt.

        Raises:
            RowsRefusedError: PostgreSQL refuses the data.
            StoreTimedOutError: There was no answer in time.
            StoreUnavailableError: Anything else went wrong.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                yield await self.open()
        except _REFUSALS as exc:
            raise RowsRefusedError(describe(exc)) from exc
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            # What state the connection is in, and whether the transaction was committed, is unknown.
            self._forget()
            is_slow = isinstance(exc, (TimeoutError, asyncpg.QueryCanceledError))
            raise (StoreTimedOutError if is_slow else StoreUnavailableError)(describe(exc)) from exc
        except asyncio.CancelledError:
            self._forget()
            raise

    async def open(self) -> asyncpg.Connection:
        """Return the connection, a new one if there is none."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=min(5, self._timeout_s),
                command_timeout=self._timeout_s,
                server_settings={
                    "application_name": self._name,
                    # What the client has given up must not go on holding locks.
                    "statement_timeout": str(int(self._timeout_s * 1000)),
                    "idle_in_transaction_session_timeout": str(int(self._timeout_s * 1000)),
                    # A batch that waits for a table longer than for any other writer's commit finds out which one it is.
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
            await self._connection.execute(STAGE)
        return self._connection

    async def close(self) -> None:
        """Close it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def describe(exc: BaseException) -> str:
    """Return what went wrong, as a sentence."""
    # A transaction that cannot be rolled back says that, instead of what ended it.
    while isinstance(exc, asyncpg.InterfaceError) and exc.__context__ is not None:
        exc = exc.__context__
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
