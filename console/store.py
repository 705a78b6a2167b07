"""
The database as a search reads it.

Every statement is a transaction of its own that only reads, with limits: what it asks for too much costs its reader an answer, and no
writer anything. A task that is cancelled, because its client went away, cancels its statement.
"""

import asyncio

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self
from uuid import UUID

import asyncpg

from console.connections import BROKEN, SETTINGS, WAIT_S, Connections, unavailable
from console.ports import (
    MAX_PAGE_BYTES,
    Count,
    Found,
    Group,
    Slice,
    SliceTimedOutError,
    StoreUnavailableError,
)
from console.query import Span
from console.row import Row
from console.statements import BY_ID, NEWEST, SERVICES, select_counts, select_rows
from console.whose import NO_TENANT, WHOSE, as_tenant
from shared.event.tenant import DEFAULT
from shared.event.times import from_epoch_us
from shared.wire.problem import BadRequestError

CONNECTIONS: Final = 6
"""Half of what the role may have: the tail and a second console, started while the first one ends, need some."""
_PIECE: Final = 200


class PostgresStore:
    """
    Connections to the database, opened when they are needed.

    Args:
        dsn: Where it is.
        connections: At the same time.
        settings: What its sessions begin with.
    """

    def __init__(self, dsn: str, connections: int = CONNECTIONS, settings: Mapping[str, str] = SETTINGS) -> None:
        self._connections = Connections(
            dsn,
            connections,
            settings,
            wait_s=WAIT_S,
            busy="as many searches are under way as may be; retry after a pause",
        )

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connections.__aexit__(*exc)

    @asynccontextmanager
    async def session(self, tenant: str | None) -> AsyncIterator["PostgresSession"]:
        """See `console.ports.Store`."""
        async with self._connections.lend() as connection:
            session = PostgresSession(connection, tenant)
            await session.open()
            yield session


class PostgresSession:
    """See `console.ports.Session`."""

    def __init__(self, connection: Any, tenant: str | None) -> None:
        self._connection = connection
        self._name = DEFAULT if tenant is None else tenant
        self._tenant = NO_TENANT
        self._store = b""
        self.is_alone = False

    @property
    def store(self) -> bytes:
        """See there."""
        return self._store

    async def open(self) -> None:
        """Find out which database it is, and the number that the tenant has there."""
        try:
            async with self._reading(WAIT_S):
                identity, self._tenant, tenants = await self._connection.fetchrow(WHOSE, self._name)
        except SliceTimedOutError as exc:
            raise StoreUnavailableError("PostgreSQL is too slow at this moment; retry after a pause") from exc
        self._store = UUID(str(identity)).bytes[:8]
        self.is_alone = tenants == 1

    async def rows(self, wanted: Slice, timeout_s: float) -> Found:
        """See there."""
        statement, values = select_rows(wanted, self._tenant)
        rows: list[Row] = []
        size = 0
        async with self._reading(timeout_s):
            cursor = await self._connection.cursor(statement, *values)
            while len(rows) <= wanted.limit and size < MAX_PAGE_BYTES:
                piece = await cursor.fetch(min(_PIECE, wanted.limit + 1 - len(rows)))
                if not piece:
                    return Found(rows, more=False)
                for record in piece:
                    if rows and size >= MAX_PAGE_BYTES:
                        break
                    row = Row(*record)
                    size += len(row.message) + len(row.attributes)
                    rows.append(row)
        return Found(rows[: wanted.limit], more=True)

    async def newest(self, timeout_s: float) -> int:
        """See there."""
        async with self._reading(timeout_s):
            return await self._connection.fetchval(NEWEST, self._tenant) or 0

    async def event(self, event_id: UUID, span: Span, timeout_s: float) -> Sequence[Row]:
        """See there."""
        async with self._reading(timeout_s):
            begin, end = from_epoch_us(span.begin), from_epoch_us(span.end)
            found = await self._connection.fetch(BY_ID, event_id, begin, end, self._tenant)
        return [Row(*record) for record in found]

    async def counts(
        self, wanted: Slice, group: Group, interval_us: int, timeout_s: float, *, origin_us: int = 0
    ) -> Sequence[Count]:
        """See there."""
        statement, values = select_counts(wanted, self._tenant, group, interval_us, origin_us)
        async with self._reading(timeout_s):
            found = await self._connection.fetch(statement, *values)
        return [Count(at, name, rows) for at, name, rows in found]

    async def services(self, limit: int, timeout_s: float) -> Sequence[str]:
        """See there."""
        async with self._reading(timeout_s):
            found = await self._connection.fetch(SERVICES, limit, self._tenant)
        return [name for (name,) in found]

    @asynccontextmanager
    async def _reading(self, timeout_s: float) -> AsyncIterator[None]:
        """Make one transaction that only reads, within a time."""
        limit_ms = max(1, int(timeout_s * 1000))
        transaction = self._connection.transaction(readonly=True)
        try:
            async with asyncio.timeout(WAIT_S):
                await transaction.start()
                await self._connection.execute(f"SET LOCAL statement_timeout = {limit_ms}; {as_tenant(self._tenant)}")
            # PostgreSQL keeps this limit by itself, unless it has stopped or the network is cut.
            async with asyncio.timeout(timeout_s + WAIT_S):
                yield
                await transaction.commit()
        except asyncpg.QueryCanceledError as exc:
            await self._end(transaction)
            raise SliceTimedOutError from exc
        except asyncpg.LockNotAvailableError as exc:
            await self._end(transaction)
            raise StoreUnavailableError("the table is being changed at this moment; retry after a pause") from exc
        except asyncpg.InvalidRegularExpressionError as exc:
            await self._end(transaction)
            raise BadRequestError("the regular expression is too complex; write a simpler one") from exc
        except BROKEN as exc:
            self._give_up()
            raise unavailable(exc) from exc
        except BaseException:
            await self._end(transaction)
            raise

    async def _end(self, transaction: Any) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await transaction.rollback()
        except BROKEN:
            self._give_up()

    def _give_up(self) -> None:
        with suppress(asyncpg.InterfaceError):  # the pool has noticed by itself that it is lost
            self._connection.terminate()
