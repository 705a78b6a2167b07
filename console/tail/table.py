"""
The table as a tail reads it: the marks of its writers, and the rows between two of them, in one snapshot.

It has connections of its own, so that searches do not keep a tail waiting.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, Self

from console.connections import BROKEN, SETTINGS, Connections, unavailable
from console.drops import Drop
from console.marks import Marks
from console.row import COLUMNS, Row
from console.tail.ports import Page
from console.whose import NUMBER, as_tenant

CONNECTIONS: Final = 3
"""One for the poller, and two for those who catch up."""
PAGE_ROWS: Final = 2000
PAGE_BYTES: Final = 4 * 1024 * 1024
_PIECE: Final = 500
_ACQUIRE_S: Final = 5.0
# One plan for all: it goes by the index of `seq`, and to make it looks at each day.
_SETTINGS: Final = SETTINGS | {
    "application_name": "console tail",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
# PostgreSQL takes the rows of a day that is emptied from all snapshots, earlier ones too. So the days are locked before the snapshot
# is made, which the first statement after it does: a day is emptied before it, and is seen to be, or behind its end.
_HOLD: Final = "LOCK TABLE tenant_logs IN ACCESS SHARE MODE"
_MARKS: Final = """
    SELECT left(store_id::text, 8) AS store_id, generation, last_seq,
           (SELECT coalesce(max(number), 0) FROM tenant_dropped_days) AS dropped
    FROM log_writers
"""
_DROPS: Final = "SELECT number, day, generation, last_seq FROM tenant_dropped_days WHERE number > $1"
# The tenant is written out: one plan for all would not use the index that another tenant's rows have.
_OF: Final = "tenant_id = {tenant:d}"
_ROWS: Final = (
    f"SELECT {', '.join(COLUMNS)} FROM tenant_logs WHERE {_OF} AND seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3"  # noqa: S608
)
_NEXT: Final = f"SELECT seq, stored_at FROM tenant_logs WHERE {_OF} AND seq > $1 ORDER BY seq LIMIT 1"  # noqa: S608
# So many numbers are looked at for one page: those between may be other tenants'.
_WINDOW: Final = 100_000


class PostgresTable:
    """
    `Table` on PostgreSQL, as role `logs_api` sees it.

    Args:
        dsn: Where it is.
        connections: At the same time.
        page_rows: In one page.
    """

    def __init__(self, dsn: str, connections: int = CONNECTIONS, page_rows: int = PAGE_ROWS) -> None:
        busy = "all connections for tails are in use; retry after a pause"
        self._connections = Connections(dsn, connections, _SETTINGS, wait_s=_ACQUIRE_S, busy=busy)
        self._page_rows = page_rows

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connections.__aexit__(*exc)

    @asynccontextmanager
    async def snapshot(self, tenant: str | None) -> AsyncIterator["PostgresSnapshot"]:
        """See `Table`."""
        async with self._connections.lend() as connection:
            try:
                # No statement of it sees what was committed after its first one began.
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    await connection.execute(_HOLD)
                    number = 0 if tenant is None else await connection.fetchval(NUMBER, tenant)
                    await connection.execute(as_tenant(number))
                    yield PostgresSnapshot(connection, self._page_rows, number)
            except BROKEN as exc:
                connection.terminate()
                raise unavailable(exc) from exc
            except BaseException:
                # A statement may be under way; it must not end up in the next snapshot.
                connection.terminate()
                raise


class PostgresSnapshot:
    """See `Snapshot`."""

    def __init__(self, connection: Any, page_rows: int, tenant: int) -> None:
        self._connection = connection
        self._rows, self._next = _ROWS.format(tenant=tenant), _NEXT.format(tenant=tenant)
        self._page_rows = page_rows

    async def marks(self) -> Marks:
        """See there."""
        rows = await self._connection.fetch(_MARKS)
        return Marks(
            rows[0]["store_id"],
            {row["generation"]: row["last_seq"] for row in rows if row["last_seq"] is not None},
            frozenset(row["generation"] for row in rows if row["last_seq"] is None),
            rows[0]["dropped"],
        )

    async def drops(self, number: int) -> Sequence[Drop]:
        """See there."""
        return [Drop(*record) for record in await self._connection.fetch(_DROPS, number)]

    async def rows(self, low: int, high: int) -> Page:
        """See there."""
        rows: list[Row] = []
        size = 0
        end = min(high, low + _WINDOW)
        cursor = await self._connection.cursor(self._rows, low, end, self._page_rows)
        while True:
            piece = await cursor.fetch(_PIECE)
            for record in piece:
                row = Row(*record)
                size += len(row.message) + len(row.attributes)
                rows.append(row)
                if size >= PAGE_BYTES:
                    return Page(rows, is_full=True)
            if len(piece) < _PIECE:
                is_cut = len(rows) >= self._page_rows
                return Page(rows, is_full=is_cut or end < high, end=0 if is_cut else end)

    async def last_before(self, moment: datetime, high: int) -> int:
        """See there."""
        # Halved until nothing is between: rows get their numbers and their time in the same order, or nearly so.
        low = 0
        while low < high:
            middle = (low + high) // 2
            found = await self._connection.fetchrow(self._next, middle)
            if found is None or found["seq"] > high or found["stored_at"] >= moment:
                high = middle
            else:
                low = found["seq"]
        return low
