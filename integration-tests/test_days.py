"""Days get their partitions beside the work: no query, however long, keeps rows of other days from the table."""

import asyncio
import re

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from surroundings import Surroundings, an_event, as_consumer
from test_ports import NOW, P0, a_store_with_tables, an_envelope, query, rows_of

from consumer.adapters import postgres_days
from consumer.adapters.postgres_days import DayMaker, PostgresDays
from consumer.adapters.postgres_store import PostgresStore
from consumer.ports import Progress, RowsMustWaitError, StoreUnavailableError
from testbed.patience import eventually

pytestmark = pytest.mark.services

OLD = NOW - timedelta(days=10)
# Whichever part of the default partition it is.
PLACES = (
    "SELECT regexp_replace(tableoid::regclass::text, '^logs_default_.*', 'logs_default') AS place, message, seq "
    "FROM logs ORDER BY seq"
)


def the_days(dsn: str, *, small_bytes: int = 2**25, attempts: int = 1) -> PostgresDays:
    return PostgresDays(as_consumer(dsn), name="test", maker=DayMaker(31, 2, small_bytes, attempts))


@asynccontextmanager
async def holding(dsn: str, sql: str) -> AsyncIterator[asyncpg.Connection]:
    """Do something in a transaction that stays open."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute(sql)
            yield connection
    finally:
        await connection.close()


async def places(dsn: str) -> list[str]:
    return [row["place"] for row in await query(dsn, PLACES)]


def named(time: datetime) -> str:
    return f"logs_{time:%Y%m%d}"


@asynccontextmanager
async def a_store(dsn: str) -> AsyncIterator[tuple[PostgresStore, int]]:
    store = await a_store_with_tables(dsn)
    claim = await store.claim([P0])
    try:
        yield store, claim.generation
    finally:
        await store.close()


@pytest.mark.parametrize("small_bytes", [2**25, 0], ids=["small default", "large default"])
async def test_days_far_away_share_one_table_and_those_that_are_near_move(postgres: str, small_bytes: int) -> None:
    async with a_store(postgres) as (store, generation):
        times = [NOW, OLD, NOW - timedelta(days=400), NOW + timedelta(days=10), OLD]
        events = [an_envelope(n, time=time) for n, time in enumerate(times)]
        await store.store(rows_of(*events), {P0: Progress(4, None)}, generation)
        before = await query(postgres, PLACES)
        days = the_days(postgres, small_bytes=small_bytes)
        assert await days.look_after() == {}
        after = await query(postgres, PLACES)
        again = await store.store(rows_of(*events), {P0: Progress(4, None)}, generation)
        await days.close()

    assert [row["place"] for row in before] == [named(NOW), *["logs_default"] * 4]
    assert [row["place"] for row in after] == [named(NOW), named(OLD), "logs_default", "logs_default", named(OLD)]
    assert [row["seq"] for row in after] == [row["seq"] for row in before]
    assert set(again) == set()


async def test_a_large_default_partition_is_not_read_while_others_wait(postgres: str) -> None:
    async with a_store(postgres) as (store, generation):
        await store.store(rows_of(an_envelope(0, time=OLD)), {}, generation)
    connection = await asyncpg.connect(as_consumer(postgres))
    said: list[str] = []
    connection.add_log_listener(lambda _, message: said.append(str(message)))
    await connection.execute("SET client_min_messages = debug1")
    assert await DayMaker(31, 2, small_bytes=0, attempts=1).make_missing(connection) == {}
    left = await connection.fetch("SELECT conname FROM pg_constraint WHERE conname ~ 'without|of_the_day'")
    left += await connection.fetch("SELECT tgname FROM pg_trigger")
    parts = await connection.fetch("SELECT part::text FROM log_default_parts()")
    await connection.close()

    # PostgreSQL says of each part, when the day is attached, whether it has to read it.
    spared = set(re.findall(r'"(logs_default_\w+)" is implied by existing constraints', "".join(said)))
    assert spared == {row["part"] for row in parts}
    assert not left


@pytest.mark.parametrize("small_bytes", [2**25, 0], ids=["small default", "large default"])
async def test_while_somebody_reads_everything_is_stored_and_the_day_is_named(postgres: str, small_bytes: int) -> None:
    days = the_days(postgres, small_bytes=small_bytes)
    async with a_store(postgres) as (store, generation):
        async with holding(postgres, "SELECT count(*) FROM logs"):
            rows = rows_of(an_envelope(0, time=OLD), an_envelope(1))
            assert set(await store.store(rows, {P0: Progress(2, None)}, generation)) == {0, 1}
            failed = await days.look_after()
            more = rows_of(an_envelope(2, time=OLD), an_envelope(3))
            assert set(await store.store(more, {P0: Progress(4, None)}, generation)) == {0, 1}
        assert list(failed) == [OLD.date()]
        assert await places(postgres) == ["logs_default", named(NOW)] * 2
        assert await days.look_after() == {}
    await days.close()
    assert await places(postgres) == [named(OLD), named(NOW)] * 2


async def test_only_rows_of_a_day_that_is_being_made_wait(postgres: str) -> None:
    days = the_days(postgres)
    async with a_store(postgres) as (store, generation):
        await query(postgres, f"SELECT gate_log_partition('{OLD.date()}')")
        rows = rows_of(an_envelope(0, time=OLD), an_envelope(1))
        async with holding(postgres, "SELECT count(*) FROM logs"):
            assert list(await days.look_after()) == [OLD.date()], "a reader came just before it was attached"
            with pytest.raises(RowsMustWaitError, match=f"{OLD.date()} is being made") as refused:
                await store.store(rows, {P0: Progress(2, None)}, generation)
            assert set(refused.value.rows) == {0}
            assert set(await store.store(rows[1:], {P0: Progress(0, None)}, generation)) == {0}
        assert await days.look_after() == {}
        assert set(await store.store(rows, {P0: Progress(2, None)}, generation)) == {0}
    await days.close()
    assert await places(postgres) == [named(NOW), named(OLD)]


async def test_a_day_that_somebody_detached_stays_his_and_its_rows_are_stored(postgres: str) -> None:
    days = the_days(postgres)
    async with a_store(postgres) as (store, generation):
        await store.store(rows_of(an_envelope(0, time=OLD)), {}, generation)
        assert await days.look_after() == {}
        # As one day is archived.
        await query(postgres, f"ALTER TABLE logs DETACH PARTITION {named(OLD)}")
        assert set(await store.store(rows_of(an_envelope(1, time=OLD)), {}, generation)) == {0}
        [why] = (await days.look_after()).values()
    await days.close()
    assert f"{named(OLD)} is a table of its own: attach it, or give it another name" in why
    assert await places(postgres) == ["logs_default"]


async def test_a_day_that_went_when_the_database_was_set_back_gets_its_table_again(postgres: str) -> None:
    days = the_days(postgres)
    async with a_store(postgres) as (store, _):
        # As a backup of last week would have it.
        await query(postgres, f"DROP TABLE {named(NOW)}")
        claim = await store.claim([P0])
        await store.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, claim.generation)
        await days.look_after()
    await days.close()
    assert await places(postgres) == [named(NOW)]


@pytest.mark.parametrize("conflicting", ["locked", "indexed"])
async def test_a_locked_day_is_named_and_others_are_stored(postgres: str, conflicting: str) -> None:
    yesterday = NOW - timedelta(days=1)
    mode = "ACCESS EXCLUSIVE" if conflicting == "locked" else "SHARE"
    async with a_store(postgres) as (store, generation):
        rows = rows_of(an_envelope(0, time=yesterday), an_envelope(1), an_envelope(2, time=yesterday))
        async with holding(postgres, f"LOCK TABLE {named(yesterday)} IN {mode} MODE"):
            for _ in range(2):
                with pytest.raises(RowsMustWaitError, match=named(yesterday)) as refused:
                    await store.store(rows, {P0: Progress(3, None)}, generation)
                assert set(refused.value.rows) == {0, 2}
            assert set(await store.store(rows[1:2], {P0: Progress(0, None)}, generation)) == {0}
            # A duplicate of today is recognised, whatever other days are locked.
            assert set(await store.store(rows[1:2], {P0: Progress(0, None)}, generation)) == set()
        assert set(await store.store(rows, {P0: Progress(3, None)}, generation)) == {0, 2}


async def test_where_all_of_the_table_is_locked_no_day_is_to_blame(postgres: str) -> None:
    async with a_store(postgres) as (store, generation), holding(postgres, "LOCK TABLE logs"):
        with pytest.raises(StoreUnavailableError):
            await store.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, generation)


async def test_two_makers_at_once_make_each_day_once(postgres: str) -> None:
    async with a_store(postgres) as (store, generation):
        times = [NOW - timedelta(days=n) for n in range(5, 15)]
        await store.store(rows_of(*[an_envelope(n, time=time) for n, time in enumerate(times)]), {}, generation)
    both = [the_days(postgres), the_days(postgres)]
    assert await asyncio.gather(*[days.look_after() for days in both]) == [{}, {}]
    for days in both:
        await days.close()
    assert sorted(await places(postgres)) == sorted(map(named, times))


async def test_a_consumer_stores_what_it_can_and_says_which_day_waits(around: Surroundings) -> None:
    await around.prepare()
    now = datetime.now(UTC)
    yesterday = now - timedelta(days=1)
    old, new = an_event(yesterday, delay_s=86_400), an_event(now)

    async with around.consumer() as service:
        async with holding(around.postgres, f"LOCK TABLE {named(yesterday)}"):
            await around.send([old, new])
            await eventually(lambda: stored(around, now.date()), "today is stored")
            [said] = await eventually(lambda: service.readiness().degraded, "it is said")
            assert said.startswith(f"waiting: 1 events of {yesterday.date()}")
            assert named(yesterday) in said
            assert service.readiness().ready
        rows = await around.rows(2)
        await eventually(lambda: not service.readiness().degraded, "it has ended")

    assert {row["event_id"] for row in rows} == {old.event_id, new.event_id}


async def stored(around: Surroundings, day: date) -> Any:
    return await around.query(f"SELECT 1 FROM {named(datetime(day.year, day.month, day.day, tzinfo=UTC))}")


async def test_a_reader_and_a_day_without_a_partition_stop_nobody(around: Surroundings) -> None:
    await around.prepare()
    now = datetime.now(UTC)
    long_ago = now - timedelta(days=10)

    async with around.consumer() as service:
        async with holding(around.postgres, "SELECT count(*) FROM logs"):
            await around.send([an_event(long_ago, delay_s=864_000), *[an_event(now) for _ in range(5)]])
            await around.rows(6)
            said = await eventually(lambda: service.readiness().degraded, "the day is named")
            assert f"partitions: no partition for {long_ago.date()}" in said[0]
            assert service.readiness().ready
            assert around.counted("consumer_days_missing") == 1
        await eventually(lambda: not service.readiness().degraded, "it has ended")
    assert around.counted("consumer_days_missing") == 0


async def test_a_month_gets_its_part_before_its_days_are_near(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = "SELECT part::text FROM log_default_parts() WHERE beyond IS NOT NULL AND first IS NOT NULL ORDER BY first"
    days = the_days(postgres)
    async with a_store(postgres) as (store, generation):
        # One in a part, one whose month is to get one, one that is too far away.
        far = [NOW + timedelta(days=n) for n in (50, 150, 4000)]
        rows = rows_of(*[an_envelope(n, time=time) for n, time in enumerate(far)])
        await store.store(rows, {P0: Progress(3, None)}, generation)
        before = await query(postgres, parts)
        assert await days.look_after() == {}
        assert await query(postgres, parts) == before, "they are still far away"

        monkeypatch.setattr(postgres_days, "_NEAR", timedelta(days=150))
        async with holding(postgres, "SELECT count(*) FROM logs_default"):
            [why] = (await days.look_after()).values()
            assert "LockNotAvailableError" in why
            more = rows_of(an_envelope(3, time=far[1]))
            assert set(await store.store(more, {}, generation)) == {0}, "no gate was left"
        assert await days.look_after() == {}
        again = await store.store(rows, {P0: Progress(3, None)}, generation)
    await days.close()

    after = [row["part"] for row in await query(postgres, parts)]
    assert len(after) >= len(before) + 2
    places = {row["place"] for row in await query(postgres, "SELECT tableoid::regclass::text AS place FROM logs")}
    assert len(places) == 3
    assert set(again) == set()
    assert await gates(postgres) == []


async def gates(dsn: str) -> list[Any]:
    return await query(
        dsn, "SELECT tgname FROM pg_trigger UNION SELECT conname FROM pg_constraint WHERE conname ~ 'without'"
    )
