"""The schema is changed while the fleet runs, from the one of an earlier release and with its rows in it."""

import asyncio

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from earlier import unpacked
from test_days import holding
from test_ports import query

from consumer.adapters.postgres_days import DayMaker
from consumer.adapters.postgres_gates import gate_of
from consumer.adapters.postgres_migrations import migrate, released
from consumer.migration import MigrationError, in_order, parse
from consumer.schema import ensure_schema
from testbed.patience import patience

pytestmark = pytest.mark.services

OLD_ROWS: Final = """
    INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region,
                      received_at, stored_by, late, late_by_ms, late_reason)
    SELECT gen_random_uuid(), '1999-01-01+00'::timestamptz + n * interval '6 seconds', 'svc' || n % 20, 'INFO',
           'of long ago: ' || n, 'c' || n / 5, '{"n": 1}', 'region-a', now(), 'region-a/one/1', true, 1000, 'delayed'
    FROM generate_series(1, $1::int) AS n
"""
# Of days that have a partition, of far ones in the past and to come, and of near ones that have none.
LOAD: Final = """
    INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region,
                      received_at, stored_by, late)
    SELECT gen_random_uuid(), now() + $1 * interval '1 day' + n * interval '1 microsecond', 's', 'INFO', 'load', 'c', '{}',
           'region-a', now(), 'w', false
    FROM generate_series(1, 100) AS n
    ON CONFLICT DO NOTHING
"""
# Of what the earlier release has: a migration may add columns, and changes none of these.
DIGEST: Final = """
    SELECT count(*), sum(hashtextextended((event_id, event_time, seq, service_name, level, message, correlation_id, attributes,
           origin_region, received_at, stored_at, stored_by, late, late_by_ms, late_reason)::text, 0)) AS sum
    FROM logs WHERE message <> 'load'
"""
PARTS: Final = "SELECT part::text FROM log_default_parts() ORDER BY first NULLS FIRST"


@pytest.fixture
async def earlier(postgres: str, tmp_path: Path) -> str:
    """Return the DSN of a database as b569f61 leaves it."""
    schema = (unpacked("b569f61", tmp_path) / "consumer/schema.sql").read_text()
    connection = await asyncpg.connect(postgres)
    await connection.execute(schema)
    await connection.execute(
        "SELECT ensure_log_partition((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(-1, 2) n"
    )
    await connection.close()
    return postgres


class Load:
    """What a fleet does to its table, until told to stop; each statement waits for a lock a second at most."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._over = asyncio.Event()
        self.written = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._write(day)) for day in (0, -9000, -20, 20)] + [
            asyncio.create_task(self._read())
        ]
        try:
            yield
        finally:
            self._over.set()
            await asyncio.gather(*tasks)

    async def _write(self, day: int) -> None:
        connection = await self._connect()
        while not self._over.is_set():
            await self._once(connection, day)
        await self._once(connection, day)  # which found its place in the end
        await connection.close()

    async def _once(self, connection: asyncpg.Connection, day: int) -> None:
        while True:
            try:
                done = await connection.execute(LOAD, day)
            except asyncpg.LockNotAvailableError as exc:
                # All releases try that again; without a gate, it has waited for more than a second.
                if gate_of(exc) is None:
                    raise
                await asyncio.sleep(0.01)
            else:
                self.written += int(done.split()[-1])
                return

    async def _read(self) -> None:
        connection = await self._connect()
        while not self._over.is_set():
            await connection.fetchval("SELECT count(*) FROM logs WHERE event_time > now() - interval '1 day'")
            await asyncio.sleep(0.01)
        await connection.close()

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self._dsn, server_settings={"lock_timeout": str(int(patience(1) * 1000))})


async def fill(dsn: str, rows: int) -> asyncpg.Record | None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(OLD_ROWS, rows)
    digest = await connection.fetchrow(DIGEST)
    await connection.close()
    return digest


async def apply(dsn: str, *, wait_s: float | None = None) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await ensure_schema(connection, wait_s=patience(120) if wait_s is None else wait_s)
    finally:
        await connection.close()


async def gates(dsn: str) -> list[str]:
    triggers = await query(dsn, "SELECT tgname AS name FROM pg_trigger")
    constraints = await query(dsn, "SELECT conname AS name FROM pg_constraint WHERE conname ~ 'without'")
    return [row["name"] for row in [*triggers, *constraints]]


@pytest.mark.parametrize("rows", [100_000, pytest.param(5_000_000, marks=pytest.mark.deep)])
async def test_under_load_the_schema_is_changed_and_no_statement_waits_longer_than_a_second(
    earlier: str, rows: int
) -> None:
    before = await fill(earlier, rows)
    load = Load(earlier)
    async with load.running():
        await apply(earlier)
    [after] = await query(earlier, DIGEST)
    [count] = await query(earlier, "SELECT count(*) FROM logs WHERE message = 'load'")

    assert after == before
    assert count["count"] == load.written
    assert not await gates(earlier)
    parts = [row["part"] for row in await query(earlier, PARTS)]
    assert parts[0] == "logs_default_past"
    assert parts[-1] == "logs_default_future"
    [old] = await query(earlier, "SELECT count(*) FROM logs_default_past WHERE message <> 'load'")
    assert old["count"] == rows


@pytest.mark.parametrize("rows", [1000, pytest.param(5_000_000, marks=pytest.mark.deep)])
async def test_old_rows_are_never_read_when_a_day_is_made(earlier: str, rows: int) -> None:
    await fill(earlier, rows)
    await apply(earlier)
    connection = await asyncpg.connect(earlier)
    said: list[str] = []
    connection.add_log_listener(lambda _, message: said.append(str(message)))
    await connection.execute("SET client_min_messages = debug1")
    assert await DayMaker(31, 5, attempts=1).make_missing(connection) == {}
    await connection.close()

    assert not [line for line in said if 'verifying table "logs_default_past"' in line]
    spared = [line for line in said if '"logs_default_past" is implied by existing constraints' in line]
    assert len(spared) == 3, "one for each day that was missing"


async def test_a_session_that_reads_for_long_is_named_and_nothing_is_changed(earlier: str) -> None:
    async with holding(earlier, "SELECT count(*) FROM logs") as reader:
        await reader.execute("SELECT pg_sleep(1.1)")
        pid = reader.get_server_pid()
        with pytest.raises(
            MigrationError, match=rf"0003_default_in_parts\.sql.*nothing was changed.*pid {pid}"
        ) as refused:
            await apply(earlier, wait_s=0)
    assert "start this again" in str(refused.value)
    assert not await gates(earlier)
    await apply(earlier)
    assert len(await query(earlier, PARTS)) > 3


async def test_what_was_begun_is_undone_where_it_cannot_be_ended(earlier: str) -> None:
    [one, two, three, *_] = released()
    connection = await asyncpg.connect(earlier)
    await migrate(connection, [one, two], wait_s=patience(60))
    blocked = parse(
        three.name,
        "-- step: one\n"
        + three.steps[0]
        + "-- step: two\nLOCK TABLE logs;\n-- otherwise: none\n"
        + (three.otherwise or ""),
    )
    async with holding(earlier, "LOCK TABLE logs IN ROW EXCLUSIVE MODE"):
        with pytest.raises(MigrationError, match=r"0003_default_in_parts\.sql could not be applied"):
            await migrate(connection, [one, two, blocked], wait_s=0)
    await connection.close()
    assert not await gates(earlier)
    await apply(earlier)


async def test_a_run_that_was_killed_in_the_middle_is_ended_by_the_next(earlier: str) -> None:
    [one, two, three, *_] = released()
    connection = await asyncpg.connect(earlier)
    await migrate(connection, [one, two], wait_s=patience(60))
    async with connection.transaction():
        await connection.execute(three.steps[0])
    await connection.close()
    assert len(await gates(earlier)) == 2

    await apply(earlier)
    assert not await gates(earlier)
    assert len(await query(earlier, PARTS)) > 3


async def test_several_at_once_apply_each_migration_once(earlier: str) -> None:
    await asyncio.gather(*[apply(earlier) for _ in range(4)])
    rows = await query(earlier, "SELECT name FROM schema_migrations ORDER BY number")

    assert [row["name"] for row in rows] == [migration.name for migration in released()]


async def test_a_database_that_is_ahead_is_left_alone(postgres: str) -> None:
    await apply(postgres)
    await query(postgres, "INSERT INTO schema_migrations (number, name, checksum) VALUES (9999, 'later.sql', 'x')")
    await apply(postgres)


async def test_a_statement_that_fails_leaves_the_database_as_it_was(postgres: str) -> None:
    connection = await asyncpg.connect(postgres)
    migrations = in_order([parse("0001_a.sql", "CREATE TABLE a (n int);\nSELECT 1 / 0;")])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, migrations, wait_s=0)
    assert await connection.fetchval("SELECT to_regclass('a')") is None
    assert await connection.fetchval("SELECT count(*) FROM schema_migrations") == 0
    await connection.close()


async def test_what_earlier_consumers_call_waits_for_no_reader_and_fails_for_none(earlier: str) -> None:
    await apply(earlier)
    await query(earlier, f"DROP TABLE {(await query(earlier, 'SELECT log_day_name(current_date + 2) AS n'))[0]['n']}")
    async with holding(earlier, "SELECT count(*) FROM logs"):
        await query(earlier, "SELECT ensure_log_partition(current_date + 2)")
    assert not (await query(earlier, "SELECT has_log_partition(current_date + 2)"))[0][0]
    await query(earlier, "SELECT ensure_log_partition(current_date + 2)")
    assert (await query(earlier, "SELECT has_log_partition(current_date + 2)"))[0][0]


async def test_a_day_that_the_release_before_had_begun_is_made_all_the_same(postgres: str) -> None:
    """That release had no numbered migrations, and a gate that was a constraint alone."""
    day = (datetime.now(UTC) - timedelta(days=10)).date()
    connection = await asyncpg.connect(postgres)
    await connection.execute(released()[0].steps[0])
    await connection.execute(LOAD, -10)
    await connection.execute("SELECT keep_out_of_log_default($1)", day)
    await ensure_schema(connection, wait_s=patience(60))
    assert await DayMaker(31, 2, attempts=1).make_missing(connection) == {}
    await connection.execute(LOAD, -10)
    assert await connection.fetchval(f"SELECT count(*) FROM logs_{day:%Y%m%d}") == 200
    await connection.close()
    assert not await gates(postgres)
