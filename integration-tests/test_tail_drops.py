"""A day that goes before a tail has read it is told to that tail, with its bounds, and to no other."""

import asyncio

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import pytest

from surroundings import as_consumer, as_role
from test_days import a_store, named, places
from test_ports import P0, an_envelope, query, rows_of
from test_retention import retention
from test_tail import Tail, console

from console.marks import Position, generation_of, newest
from console.tail.step import Step, take_step
from console.tail.table import PostgresTable
from consumer.adapters.postgres_days import DayMaker
from consumer.adapters.postgres_migrations import migrate, released
from consumer.adapters.postgres_store import PostgresStore
from consumer.ports import Progress
from consumer.schema import ensure_schema
from testbed.patience import eventually, patience

pytestmark = pytest.mark.services

NOW: Final = datetime.now(UTC)
OLD, OLDER = (NOW - timedelta(days=n) for n in (10, 12))


def begin(moment: datetime) -> str:
    """Return when a day begins, as the API writes it."""
    return datetime.combine(moment.date(), time(), UTC).strftime("%Y-%m-%dT00:00:00Z")


class Stored:
    """What a consumer stores, some of it on days that are older than the retention and have their own partition."""

    def __init__(self, dsn: str, store: PostgresStore, generation: int) -> None:
        self._dsn = dsn
        self._store = store
        self._generation = generation
        self._offset = 0

    async def rows(self, *times: datetime) -> list[str]:
        """Store one for each time; return their ids."""
        envelopes = [an_envelope(self._offset + n, time=time) for n, time in enumerate(times)]
        self._offset += len(times)
        await self._store.store(rows_of(*envelopes), {P0: Progress(self._offset, None)}, self._generation)
        connection = await asyncpg.connect(as_consumer(self._dsn))
        assert await DayMaker(31, 2).make_missing(connection) == {}
        await connection.close()
        return [str(UUID(bytes=envelope.event_id)) for envelope in envelopes]


@asynccontextmanager
async def storing(dsn: str) -> AsyncIterator[Stored]:
    async with a_store(dsn) as (store, generation):
        yield Stored(dsn, store, generation)


async def drop_what_is_old(dsn: str) -> None:
    port = retention(dsn)
    try:

        async def done() -> bool:
            # A tail may be reading at the very moment.
            return await port.look_after() == {} and not {named(OLD), named(OLDER)} & set(await places(dsn))

        await eventually(done, "the days are dropped")
    finally:
        await port.close()


async def has(tail: Tail, *ids: str) -> None:
    await eventually(lambda: len(tail.seen) >= len(ids), f"{len(ids)} events")
    assert sorted(tail.seen) == sorted(ids)


async def test_a_tail_that_had_not_read_a_day_is_told_and_goes_on_where_it_was(postgres: str) -> None:
    async with storing(postgres) as stored, console(postgres) as process:
        near, far = Tail(process.url), Tail(process.url)
        async with near.following():
            async with far.following():
                first = await stored.rows(NOW)
                await has(far, *first)
            lost = await stored.rows(OLD, OLDER, OLD)
            kept = await stored.rows(NOW, NOW)
            await has(near, *first, *lost, *kept)
            await drop_what_is_old(postgres)
            async with far.following():
                await has(far, *first, *kept)
                [reset] = far.resets
                assert (reset["from"], reset["to"]) == (begin(OLDER), begin(OLD + timedelta(days=1)))
                assert "dropped" in reset["why"]
            async with far.following():
                more = await stored.rows(NOW)
                await has(far, *first, *kept, *more)
            await has(near, *first, *lost, *kept, *more)
    assert len(far.resets) == 1, "it is told once"
    assert near.resets == [], "it had read all of it"


async def test_rows_do_not_go_while_a_tail_reads(postgres: str) -> None:
    """TRUNCATE takes rows from snapshots that began before it; so a tail's snapshot keeps it out."""
    async with storing(postgres) as stored, PostgresTable(as_role("logs_api", postgres)) as table:
        async with table.snapshot(None) as now:
            position = newest(await now.marks())
        ids = await stored.rows(OLD, OLD)
        port = retention(postgres)
        async with table.snapshot(None) as now:
            marks = await now.marks()
            assert list(await port.look_after()) == [OLD.date()]
            step = await take_step(now, position, marks)
        assert [str(event.row.event_id) for event in step.events] == ids
        assert await port.look_after() == {}
        await port.close()


async def read_on(table: PostgresTable, position: Position, tenant: str | None = None) -> Step:
    async with table.snapshot(tenant) as now:
        return await take_step(now, position)


INSERT: Final = """
    INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region,
                      received_at, stored_by, late, tenant_id)
    VALUES (gen_random_uuid(), $1, 's', 'INFO', 'm', 'c', '{}', 'region-a', $1, $2, false, $3) RETURNING seq
"""


async def test_what_went_is_written_by_tenant_and_generation(postgres: str) -> None:
    writers = [
        "region-a/consumer-a/17",
        "region-a/consumer-a/17/region-b",
        "region-a/consumer-a/18/region-b/4",
        "by hand",
    ]
    writers += ["a/b/", "a/b/x1", "a/b/-1", ""]
    expected: dict[tuple[int, int], int] = {}
    async with storing(postgres) as stored:
        await stored.rows(NOW)
        admin = await asyncpg.connect(postgres)
        assert await admin.fetchval("INSERT INTO tenants (name) VALUES ('acme') RETURNING tenant_id") == 1
        await admin.execute("SELECT ensure_log_partition($1)", OLD.date())
        for tenant in (0, 1):
            for writer in writers:
                seq = await admin.fetchval(INSERT, OLD, writer, tenant)
                generation = generation_of(writer)
                expected[tenant, -1 if generation is None else generation] = seq
        await admin.close()
        await drop_what_is_old(postgres)
    found = await query(postgres, "SELECT * FROM dropped_days")
    assert {(row["tenant_id"], row["generation"]): row["last_seq"] for row in found} == expected
    assert {(row["number"], row["day"]) for row in found} == {(1, OLD.date())}
    assert sum(row["rows"] for row in found) == 2 * len(writers)


async def test_a_tail_is_not_told_of_what_another_tenant_lost(postgres: str) -> None:
    async with storing(postgres) as stored, PostgresTable(as_role("logs_api", postgres)) as table:
        await query(postgres, "INSERT INTO tenants (name) VALUES ('acme'), ('beta')")
        async with table.snapshot(None) as now:
            position = newest(await now.marks())
        admin = await asyncpg.connect(postgres)
        await admin.execute("SELECT ensure_log_partition($1)", OLD.date())
        await admin.fetchval(INSERT, OLD, "region-a/one/1", 1)
        await admin.close()
        await stored.rows(NOW)
        await drop_what_is_old(postgres)
        steps = [await read_on(table, position, tenant) for tenant in (None, "acme", "beta", "gamma")]
    assert [step.reset is not None for step in steps] == [False, True, False, False]


async def test_a_database_that_was_set_back_to_before_a_drop_is_told_from_one_that_went_on(postgres: str) -> None:
    async with storing(postgres) as stored, PostgresTable(as_role("logs_api", postgres)) as table:
        await stored.rows(OLD, NOW)
        await drop_what_is_old(postgres)
        async with table.snapshot(None) as now:
            position = newest(await now.marks())
        assert (await read_on(table, position)).reset is None
        await query(postgres, "DELETE FROM dropped_days")
        step = await read_on(table, position)
    assert step.reset is not None
    assert "set back" in step.reset.why


async def test_two_that_empty_days_at_once_number_them_one_after_the_other(postgres: str) -> None:
    """Who sees a number sees all lower ones, although operators take no part in retention's turn."""
    async with storing(postgres) as stored:
        await stored.rows(OLD, OLDER)
        one, other = [await asyncpg.connect(as_consumer(postgres)) for _ in range(2)]
        async with one.transaction():
            await one.execute("SELECT empty_log_day($1)", OLD.date())
            waiting = asyncio.create_task(other.execute("SELECT empty_log_day($1)", OLDER.date()))
            pid = other.get_server_pid()
            asked = f"SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted AND relation = 'dropped_days'::regclass"
            await eventually(lambda: query(postgres, asked), "it waits")
        await waiting
        await one.close()
        await other.close()
    found = await query(postgres, "SELECT number, day FROM dropped_days ORDER BY number")
    assert [tuple(row) for row in found] == [(1, OLD.date()), (2, OLDER.date())]


async def test_days_that_go_after_the_migration_are_told_and_none_before(postgres: str) -> None:
    connection = await asyncpg.connect(postgres)
    await migrate(connection, [one for one in released() if one.number < 7], wait_s=patience(60))
    for day in (OLD, OLDER):
        await connection.execute("SELECT ensure_log_partition($1)", day.date())
        await connection.fetchval(INSERT, day, "region-a/one/4", 0)
    await connection.execute("SELECT empty_log_day($1)", OLDER.date())
    await ensure_schema(connection, wait_s=patience(60))
    await connection.close()

    async with PostgresTable(as_role("logs_api", postgres)) as table:
        step = await read_on(table, Position(await store_id(postgres), 0))
        assert step.reset is None
        # The new function has the rights of the old one.
        consumer = await asyncpg.connect(as_consumer(postgres))
        await consumer.execute("SELECT empty_log_day($1)", OLD.date())
        await consumer.close()
        step = await read_on(table, Position(await store_id(postgres), 0))
    assert step.reset is not None
    assert step.reset.data["from"] == begin(OLD)


async def store_id(dsn: str) -> str:
    [found] = await query(dsn, "SELECT left(id::text, 8) AS id FROM store_identity")
    return str(found["id"])
