"""Old days are dropped beside the work: a reader of one day delays that day alone, and no insert waits behind it."""

import asyncio

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from surroundings import Surroundings, an_event, as_consumer
from test_days import a_store, holding, named, places
from test_ports import P0, an_envelope, query, rows_of

from consumer.adapters import postgres_retention
from consumer.adapters.postgres_days import DayMaker
from consumer.adapters.postgres_retention import DayDropper, PostgresRetention
from consumer.ports import Progress
from consumer.retention import Archived, ArchiveError
from testbed.patience import eventually

pytestmark = pytest.mark.services

NOW = datetime.now(UTC)
OLD, OLDER = (NOW - timedelta(days=n) for n in (10, 12))
KEEP = 7


def retention(dsn: str, archive: Callable[[date], Awaitable[Archived]] | None = None) -> PostgresRetention:
    return PostgresRetention(as_consumer(dsn), name="test", dropper=DayDropper(KEEP, archive))


async def a_table_with_days(dsn: str, *times: datetime) -> None:
    async with a_store(dsn) as (store, generation):
        rows = rows_of(*[an_envelope(n, time=time) for n, time in enumerate(times)])
        await store.store(rows, {P0: Progress(len(times), None)}, generation)
    connection = await asyncpg.connect(as_consumer(dsn))
    assert await DayMaker(31, 2).make_missing(connection) == {}
    await connection.close()


async def days(dsn: str) -> set[str]:
    found = await query(dsn, "SELECT relname FROM pg_class WHERE relname ~ '^logs_[0-9]{8}$' AND relkind = 'r'")
    return {row["relname"] for row in found}


async def test_what_is_older_is_dropped_and_the_rest_stays(postgres: str) -> None:
    border = NOW - timedelta(days=KEEP)
    far = NOW - timedelta(days=400)
    await a_table_with_days(postgres, OLDER, OLD, border, NOW, far)
    port = retention(postgres)
    assert await port.look_after() == {}
    await port.close()

    assert await places(postgres) == [named(border), named(NOW), "logs_default"]
    assert not {named(OLD), named(OLDER)} & await days(postgres)


async def test_a_reader_delays_the_drop_of_its_own_day_alone(postgres: str) -> None:
    await a_table_with_days(postgres, OLDER, OLD, NOW)
    port = retention(postgres)
    # As a query with bounds does: it locks `logs`, and of the days only its own.
    async with holding(postgres, f"SELECT count(*) FROM logs WHERE event_time = '{OLDER.isoformat()}'"):
        failed = await port.look_after()
        # The other one has given its room back, although `logs` itself is being read.
        assert failed == {OLDER.date(): f"a session uses {named(OLDER)} and does not end"}
        assert await places(postgres) == [named(OLDER), named(NOW)]
        assert await days(postgres) >= {named(OLD), named(OLDER)}
    assert await port.look_after() == {}
    await port.close()
    assert not {named(OLD), named(OLDER)} & await days(postgres)


async def test_no_insert_waits_while_a_day_cannot_be_dropped(postgres: str) -> None:
    await a_table_with_days(postgres, OLD, NOW)
    port = retention(postgres)
    over = asyncio.Event()

    async def queued() -> int:
        """Count how often a session was seen to wait for `logs` while the reader has it."""
        found = 0
        connection = await asyncpg.connect(postgres)
        while not over.is_set():
            found += await connection.fetchval(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IN (to_regclass('logs'), to_regclass('logs_default'))"
            )
        await connection.close()
        return found

    async with holding(postgres, "SELECT count(*) FROM logs"):
        watch = asyncio.create_task(queued())
        for _ in range(3):
            assert list(await port.look_after()) == [OLD.date()]
        over.set()
        assert await watch == 0
    await port.close()


async def test_a_row_that_comes_to_a_day_that_was_emptied_is_not_lost_with_it(postgres: str) -> None:
    await a_table_with_days(postgres, OLD, NOW)
    port = retention(postgres)
    async with holding(postgres, "LOCK TABLE ONLY logs IN ACCESS SHARE MODE"):
        assert await port.look_after() == {}
        assert await places(postgres) == [named(NOW)]
    connection = await asyncpg.connect(as_consumer(postgres))
    async with a_store(postgres) as (store, generation):
        await store.store(rows_of(an_envelope(9, time=OLD)), {}, generation)
    assert not await postgres_retention._remove(connection, OLD.date())
    assert await places(postgres) == [named(NOW), named(OLD)]
    await connection.close()
    await port.close()


async def test_nothing_is_dropped_that_is_not_archived_as_it_is(postgres: str) -> None:
    await a_table_with_days(postgres, OLDER, OLD, NOW)
    asked: list[date] = []

    async def archive(day: date) -> Archived:
        asked.append(day)
        if day == OLDER.date():
            raise ArchiveError("the disk is full")
        [found] = await query(postgres, f"SELECT count(*) AS rows, sum(seq) AS sum FROM {named(OLD)}")
        if len(asked) == 2:
            # Behind the back of the archive.
            async with a_store(postgres) as (store, generation):
                await store.store(rows_of(an_envelope(8, time=OLD)), {}, generation)
        return Archived("old.parquet", found["rows"], int(found["sum"]))

    port = retention(postgres, archive)
    first, second = await port.look_after(), await port.look_after()
    await port.close()

    assert asked == [OLDER.date(), OLD.date()] * 2
    assert first[OLDER.date()] == "the disk is full"
    assert "rows came after the archive old.parquet was written" in first[OLD.date()]
    assert list(second) == [OLDER.date()]
    assert await places(postgres) == [named(OLDER), named(NOW)]


async def test_two_that_drop_at_once_do_not_disturb_each_other(postgres: str) -> None:
    await a_table_with_days(postgres, *[NOW - timedelta(days=n) for n in range(8, 20)], NOW)
    ports = [retention(postgres), retention(postgres)]
    assert await asyncio.gather(*[port.look_after() for port in ports]) == [{}, {}]
    for port in ports:
        await port.close()
    assert await places(postgres) == [named(NOW)]


async def test_a_consumer_drops_what_is_too_old_and_says_what_it_cannot(around: Surroundings) -> None:
    await around.prepare()
    now = datetime.now(UTC)
    old = now - timedelta(days=3)
    await around.query(f"SELECT make_log_partition('{old.date()}')")
    await around.query(
        "INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region, "
        f"received_at, stored_by, late) VALUES (gen_random_uuid(), '{old.isoformat()}', 's', 'INFO', 'm', 'c', '{{}}', "
        "'region-a', now(), 'w', false)"
    )
    async with AsyncExitStack() as reading:
        await reading.enter_async_context(holding(around.postgres, f"SELECT count(*) FROM {named(old)}"))
        async with around.consumer(retention_days=2) as service:
            await around.send([an_event(now), an_event(now - timedelta(days=4), delay_s=345_600)])
            [said] = await eventually(lambda: service.readiness().degraded, "it is said")
            assert said == f"retention: still there: {old.date()}: a session uses {named(old)} and does not end"
            assert service.readiness().ready
            assert around.counted("consumer_days_overdue") == 1
            await around.rows(3)
            await reading.aclose()
            await eventually(lambda: gone(around, named(old)), "the day is gone")
            await eventually(lambda: not service.readiness().degraded, "it has ended")
    rows = await around.query("SELECT tableoid::regclass::text AS place FROM logs ORDER BY event_time")
    assert [row["place"] for row in rows][1:] == [named(now)]
    assert rows[0]["place"].startswith("logs_default_"), "what is too old when it comes is kept"
    assert around.counted("consumer_days_overdue") == 0


async def gone(around: Surroundings, table: str) -> bool:
    [found] = await around.query(f"SELECT to_regclass('{table}') IS NULL AS gone")
    return bool(found["gone"])
