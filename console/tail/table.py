"""The table as a tail reads it: the marks of its writers, and the rows between two of them, in one snapshot."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from console.marks import Marks

_MARKS: Final = "SELECT left(store_id::text, 8) AS store_id, generation, last_seq FROM log_writers"
_PAGE: Final = """
    SELECT event_id, event_time, seq, service_name, level, message, correlation_id, attributes, origin_region, received_at,
           stored_at, stored_by, late, late_by_ms, late_reason
    FROM logs WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3
"""


class Snapshot:
    """What the database has at one moment."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def marks(self) -> Marks:
        """Return how far each writer is."""
        rows = await self._connection.fetch(_MARKS)
        return Marks(
            rows[0]["store_id"],
            {row["generation"]: row["last_seq"] for row in rows if row["last_seq"] is not None},
            frozenset(row["generation"] for row in rows if row["last_seq"] is None),
        )

    async def rows(self, low: int, high: int, limit: int) -> Sequence[asyncpg.Record]:
        """Return rows with `low < seq <= high`, in its order, the first `limit` of them."""
        found: Sequence[asyncpg.Record] = await self._connection.fetch(_PAGE, low, high, limit)
        return found


@asynccontextmanager
async def snapshot(connection: asyncpg.Connection) -> AsyncIterator[Snapshot]:
    """Lend a snapshot for a moment; no statement of it sees what was committed after its first one began."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield Snapshot(connection)
