"""
Rows into the table, two ways.

`copy` copies them straight into it, and fails where one is there already. `insert` copies them into a temporary table, and
from there with `ON CONFLICT DO NOTHING`; it says which were new, and which say something else than what is stored.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg

from consumer.adapters.row_days import bounds, days_of
from consumer.copy_format import COLUMNS, TENANT_COLUMNS, columns_of
from consumer.envelope import Row
from consumer.ports import RowsConflictError
from shared.event.model import EPOCH

STAGE: Final = """
    CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
        ord bigint GENERATED ALWAYS AS IDENTITY, stored_by text, late boolean, late_by_ms bigint, late_reason text,
        event_id uuid, event_time timestamptz, received_at timestamptz, service_name text, level text, message text,
        correlation_id text, attributes jsonb, origin_region text, tenant_id smallint, tenant_event_id uuid
    ) ON COMMIT DELETE ROWS
"""
# ORDER BY is needed: PostgreSQL returns rows of a heap in physical order, and a small row may fill an earlier gap.
_INSERT: Final[dict[tuple[str, ...], str]] = {
    columns: f"""
        INSERT INTO logs ({", ".join(columns)})
        SELECT {", ".join(columns)} FROM incoming ORDER BY ord
        ON CONFLICT DO NOTHING
    """  # noqa: S608 - constants
    for columns in (COLUMNS, TENANT_COLUMNS)
}
_SAID: Final = {
    "service_name": "serviceName",
    "level": "level",
    "message": "message",
    "correlation_id": "correlationId",
    "attributes": "attributes",
}
# Which ones of the batch this very transaction has inserted, and which of the others differ from what is there, in what.
# Asked only where some were there before: usually their number says it all, and no row has to come back.
# `OFFSET 0` keeps the order of the join, an incoming row first. Of a day that is new the planner knows no rows, and would read
# it whole, each of its rows against each incoming one; and it keeps such a plan until the day's rows were counted.
FOUND: Final = f"""
    SELECT (i.ord - first.ord)::int AS place,
           array_remove(ARRAY[{", ".join(f"CASE WHEN i.{n} <> l.{n} THEN '{name}' END" for n, name in _SAID.items())}], NULL)
               AS differs
    FROM (SELECT min(ord) AS ord FROM incoming) AS first
    CROSS JOIN incoming AS i
    CROSS JOIN LATERAL (
        SELECT l.xmin AS written_by, {", ".join(f"l.{n}" for n in _SAID)} FROM logs AS l
        WHERE l.event_time = i.event_time AND l.event_id = i.event_id AND ({{days}})
        OFFSET 0
    ) AS l
    WHERE l.written_by = pg_current_xact_id()::xid OR {" OR ".join(f"i.{n} <> l.{n}" for n in _SAID)}
    ORDER BY i.ord
"""  # noqa: S608 - constants
_KNOWN: Final = """
    SELECT k.place::int AS place
    FROM unnest($1::uuid[], $2::timestamptz[]) WITH ORDINALITY AS k (event_id, event_time, place)
    CROSS JOIN LATERAL (
        SELECT FROM logs AS l WHERE l.event_time = k.event_time AND l.event_id = k.event_id AND ({days})
        OFFSET 0
    ) AS l
"""
_PIECE_BYTES: Final = 262_144


async def known(connection: asyncpg.Connection, rows: Sequence[Row]) -> Collection[int]:
    """Return the indices of the rows under whose identity an event is in the table."""
    if not rows:
        return ()
    ids = [UUID(bytes=row.envelope.event_id) for row in rows]
    times = [EPOCH + timedelta(microseconds=row.envelope.time_us) for row in rows]
    found = await connection.fetch(_KNOWN.format(days=bounds(days_of(rows))), ids, times)
    return {record["place"] - 1 for record in found}


async def copy(connection: asyncpg.Connection, rows: Sequence[Row], encoded: bytes) -> Collection[int]:
    """
    Put rows into the table of which none should be there; return the indices of the new ones, which is all of them.

    Raises:
        asyncpg.UniqueViolationError: One is there already; nothing of the batch is.
    """
    await connection.copy_to_table("logs", source=_pieces(encoded), columns=columns_of(encoded), format="binary")
    return range(len(rows))


async def insert(connection: asyncpg.Connection, rows: Sequence[Row], encoded: bytes) -> Collection[int]:
    """
    Put rows into the table that are not there; return the indices of the new ones.

    Raises:
        RowsConflictError: Some have the identity of another event.
    """
    columns = columns_of(encoded)
    await connection.copy_to_table("incoming", source=_pieces(encoded), columns=columns, format="binary")
    done = await connection.execute(_INSERT[columns])
    if int(done.rpartition(" ")[2]) == len(rows):
        return range(len(rows))
    first: dict[bytes, int] = {}
    differs: dict[int, list[str]] = {}
    for record in await connection.fetch(FOUND.format(days=bounds(days_of(rows)))):
        place = record["place"]
        if record["differs"]:
            differs[place] = record["differs"]
        else:
            # A second one of the same batch is a duplicate.
            first.setdefault(rows[place].envelope.identity, place)
    if differs:
        raise RowsConflictError(differs)
    return set(first.values())


async def _pieces(encoded: bytes) -> AsyncIterator[bytes]:
    """
    Give COPY its data, no more at once than it sends at once.

    Around a file asyncpg makes a class, a cycle that keeps the data until the garbage collector looks for cycles.
    """
    for begin in range(0, len(encoded), _PIECE_BYTES):
        yield encoded[begin : begin + _PIECE_BYTES]
