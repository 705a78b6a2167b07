"""
The database, as role `logs_api` sees it. The only module that knows asyncpg.

Every statement is a transaction of its own that only reads, with limits: what it asks for too much costs its reader an answer, and no
writer anything. A task that is cancelled, because its client went away, cancels its statement.
"""

import asyncio

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, Self
from uuid import UUID

import asyncpg

from console.filter import Values
from console.ports import (
    MAX_PAGE_BYTES,
    BusyError,
    Count,
    Found,
    Group,
    Place,
    Slice,
    SliceTimedOutError,
    StoreUnavailableError,
)
from console.query import By, Span
from console.row import COLUMNS, MAX_SHOWN_MESSAGE, Row
from shared.event.times import from_epoch_us
from shared.wire.problem import BadRequestError

CONNECTIONS: Final = 6
"""Half of what the role may have: the tail and a second console, started while the first one ends, need some."""
WAIT_S: Final = 1.0
"""For a connection, whether others have them all or PostgreSQL is away."""
_PIECE: Final = 200
_MOST_WITH_ONE_ID: Final = 11
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
_SHORT: Final = f"left(message, {MAX_SHOWN_MESSAGE})"
_CUT: Final = f"octet_length(message) > {MAX_SHOWN_MESSAGE} AND length(message) > {MAX_SHOWN_MESSAGE}"
_FULL_COLUMNS: Final = ", ".join(COLUMNS) + ", false"
_SHORT_COLUMNS: Final = ", ".join(_SHORT if name == "message" else name for name in COLUMNS) + f", {_CUT}"


_BY_ID: Final = (
    f"SELECT {_FULL_COLUMNS} FROM logs WHERE event_id = $1 AND event_time >= $2 AND event_time < $3 "  # noqa: S608 - all fixed
    f"ORDER BY event_time DESC LIMIT {_MOST_WITH_ONE_ID}"
)

_GROUPS: Final = {
    Group.LEVEL: "level",
    Group.SERVICE: "service_name",
    Group.REGION: "origin_region",
    Group.LATE_REASON: "late_reason",
    Group.STREAM: "json_build_array(service_name, level, origin_region, late)::text",
    Group.NONE: "'all'",
}
# From one name to the next one by the index of services: as many steps as there are names, however many rows.
_SERVICES: Final = """
    WITH RECURSIVE names AS (
        (SELECT service_name FROM logs ORDER BY service_name LIMIT 1)
        UNION ALL
        SELECT (SELECT service_name FROM logs WHERE service_name > names.service_name ORDER BY service_name LIMIT 1)
        FROM names WHERE service_name IS NOT NULL
    )
    SELECT service_name FROM names WHERE service_name IS NOT NULL LIMIT $1
"""


class PostgresStore:
    """
    Connections to the database, opened when they are needed.

    Args:
        dsn: Where it is.
        connections: At the same time.
    """

    def __init__(self, dsn: str, connections: int = CONNECTIONS) -> None:
        self._dsn = dsn
        self._connections = connections
        self._pool: asyncpg.Pool | None = None

    async def __aenter__(self) -> Self:
        # With no connections at first, so that PostgreSQL may be away.
        self._pool = await asyncpg.create_pool(
            self._dsn, min_size=0, max_size=self._connections, reset=_leave_it, timeout=WAIT_S, server_settings=SETTINGS
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def session(self) -> AsyncIterator["PostgresSession"]:
        """See `console.ports.Store`."""
        pool = self._pool
        if pool is None:
            raise StoreUnavailableError("the console is starting; retry after a pause")
        try:
            connection = await pool.acquire(timeout=WAIT_S)
        except TimeoutError as exc:
            if pool.get_size() - pool.get_idle_size() >= self._connections:
                raise BusyError("as many searches are under way as may be; retry after a pause") from exc
            raise StoreUnavailableError("PostgreSQL does not answer; events are stored when it is back") from exc
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            raise _unavailable(exc) from exc
        try:
            session = PostgresSession(connection)
            await session.open()
            yield session
        finally:
            await _give_back(pool, connection)


class PostgresSession:
    """See `console.ports.Session`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._store = b""

    @property
    def store(self) -> bytes:
        """See there."""
        return self._store

    async def open(self) -> None:
        """Find out which database it is."""
        identity = await self._value("SELECT id FROM store_identity", WAIT_S)
        self._store = UUID(str(identity)).bytes[:8]

    async def rows(self, wanted: Slice, timeout_s: float) -> Found:
        """See there."""
        statement, values = select_rows(wanted)
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
        return int(await self._value("SELECT seq FROM logs ORDER BY seq DESC LIMIT 1", timeout_s) or 0)

    async def event(self, event_id: UUID, span: Span, timeout_s: float) -> Sequence[Row]:
        """See there."""
        async with self._reading(timeout_s):
            found = await self._connection.fetch(_BY_ID, event_id, from_epoch_us(span.begin), from_epoch_us(span.end))
        return [Row(*record) for record in found]

    async def counts(
        self, wanted: Slice, group: Group, interval_us: int, timeout_s: float, *, origin_us: int = 0
    ) -> Sequence[Count]:
        """See there."""
        statement, values = select_counts(wanted, group, interval_us, origin_us)
        async with self._reading(timeout_s):
            found = await self._connection.fetch(statement, *values)
        return [Count(at, name, rows) for at, name, rows in found]

    async def services(self, limit: int, timeout_s: float) -> Sequence[str]:
        """See there."""
        async with self._reading(timeout_s):
            found = await self._connection.fetch(_SERVICES, limit)
        return [name for (name,) in found]

    async def _value(self, statement: str, timeout_s: float) -> Any:
        async with self._reading(timeout_s):
            return await self._connection.fetchval(statement)

    @asynccontextmanager
    async def _reading(self, timeout_s: float) -> AsyncIterator[None]:
        """Make one transaction that only reads, within a time."""
        limit_ms = max(1, int(timeout_s * 1000))
        transaction = self._connection.transaction(readonly=True)
        try:
            async with asyncio.timeout(WAIT_S):
                await transaction.start()
                await self._connection.execute(f"SET LOCAL statement_timeout = {limit_ms}")
            # PostgreSQL keeps this limit by itself, unless it has stopped or the network is cut.
            async with asyncio.timeout(timeout_s + WAIT_S):
                yield
                await transaction.commit()
        except asyncpg.QueryCanceledError as exc:
            await self._end(transaction)
            raise SliceTimedOutError from exc
        except asyncpg.InvalidRegularExpressionError as exc:
            await self._end(transaction)
            raise BadRequestError("the regular expression is too complex; write a simpler one") from exc
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            self._connection.terminate()
            raise _unavailable(exc) from exc
        except BaseException:
            await self._end(transaction)
            raise

    async def _end(self, transaction: Any) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await transaction.rollback()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()


def select_rows(wanted: Slice) -> tuple[str, list[Any]]:
    """Return the statement that finds the rows of a slice, one more than it may have, and its values."""
    values = Values()
    conditions = _bounds(wanted, values) + wanted.filter.conditions(values)
    direction = "DESC" if wanted.down else "ASC"
    order = f"event_time {direction}, seq {direction}" if wanted.by is By.TIME else f"seq {direction}"
    columns = _FULL_COLUMNS if wanted.full else _SHORT_COLUMNS
    limit = values.add(wanted.limit + 1)
    where = " AND ".join(conditions)
    # Of fixed pieces; what a client sent is among the values.
    return f"SELECT {columns} FROM logs WHERE {where} ORDER BY {order} LIMIT {limit}", values.all  # noqa: S608


def select_counts(wanted: Slice, group: Group, interval_us: int, origin_us: int = 0) -> tuple[str, list[Any]]:
    """Return the statement that counts the rows of a slice, and its values."""
    values = Values()
    conditions = _bounds(wanted, values) + wanted.filter.conditions(values)
    if group is Group.LATE_REASON:
        conditions.append("late")
    width = values.add(timedelta(microseconds=interval_us))
    bucket = f"date_bin({width}, event_time, {values.add(from_epoch_us(origin_us))})"
    where = " AND ".join(conditions)
    return (
        f"SELECT (extract(epoch FROM {bucket}) * 1000000)::bigint, {_GROUPS[group]}, count(*) "  # noqa: S608 - as above
        f"FROM logs WHERE {where} GROUP BY 1, 2",
        values.all,
    )


def _bounds(wanted: Slice, values: Values) -> list[str]:
    if wanted.by is By.TIME:
        return bounds_by_time(wanted.down, wanted.at, wanted.stop, values)
    low, high = (wanted.stop, wanted.at[0]) if wanted.down else (wanted.at[0], wanted.stop)
    begin, end = from_epoch_us(wanted.span.begin), from_epoch_us(wanted.span.end)
    return [
        f"seq >= {values.add(low)}",
        f"seq < {values.add(high)}",
        f"event_time >= {values.add(begin)}",
        f"event_time < {values.add(end)}",
    ]


def bounds_by_time(down: bool, at: Place, stop: int, values: Values) -> list[str]:  # noqa: FBT001 - of a slice
    """Return the conditions on event time and number of a slice in the order of time."""
    here, there = values.add(from_epoch_us(at[0])), values.add(from_epoch_us(stop))
    seq = values.add(at[1]) if at[1] else None
    if down:
        first = f"event_time <= {here} AND (event_time < {here} OR seq < {seq})" if seq else f"event_time < {here}"
        return [f"event_time >= {there}", first]
    first = f"event_time >= {here}" + (f" AND (event_time > {here} OR seq > {seq})" if seq else "")
    return [first, f"event_time < {there}"]


async def _leave_it(_: object) -> None:
    """Reset nothing between two readers: what a transaction sets ends with it."""


async def _give_back(pool: asyncpg.Pool, connection: Any) -> None:
    # Also of a task that is cancelled: its statement ends meanwhile.
    await asyncio.shield(_release(pool, connection))


async def _release(pool: asyncpg.Pool, connection: Any) -> None:
    try:
        await pool.release(connection, timeout=WAIT_S)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def _unavailable(exc: BaseException) -> StoreUnavailableError:
    said = str(exc) or type(exc).__name__
    return StoreUnavailableError(f"PostgreSQL does not answer ({said}); events are stored when it is back")
