"""
One suite for the console's port to the database: in memory, and on a real PostgreSQL as role `logs_api`.

And what only PostgreSQL can show: statements that end with their time, with their reader, and never hold up a writer.
"""

import asyncio
import itertools
import json
import os
import random

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import served
from surroundings import as_role, make_tables

from console.app import create_app
from console.connections import SETTINGS
from console.events import ALWAYS
from console.filter import Attribute, Filter
from console.ports import MAX_PAGE_BYTES, BusyError, Group, Slice, SliceTimedOutError, Store, StoreUnavailableError
from console.query import By, Order, Query, Span
from console.row import COLUMNS, Row
from console.search import Page, search
from console.settings import ConsoleSettings
from console.store import CONNECTIONS, PostgresStore
from console.tests.fakes import FakeStore, a_row
from shared.event.times import epoch_us
from testbed.patience import eventually, patience
from testbed.server import Server

pytestmark = pytest.mark.services

MIDNIGHT: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
BEGIN: Final = MIDNIGHT - timedelta(seconds=3)
SPAN: Final = Span(epoch_us(BEGIN), epoch_us(MIDNIGHT + timedelta(seconds=3)), "a b")
TEXTS: Final = (
    "ÜBERLAUF im Puffer", "überlauf", "ПРИВЕТ", "user_id=1", "userXid=1", "C:\\temp\\x", "100% of it", "100 of it", "can't", "ΟΔΟΣ",
    "οδος", "ẞ and ß", "İstanbul \u0131s", "\u202eevil\u2069", "\U0001f469\u200d\U0001f680 lifts", "", "$1 ' OR true --", "Kelvin \u212a", "ǅ ǆ",
)  # fmt: skip
ATTRIBUTES: Final = (
    "{}", '{"n": 200}', '{"n": 200.0}', '{"n": "200"}', '{"n": 1, "ok": true}', '{"ok": 1}', '{"o\\"k": null}', '{"big": 18446744073709551615}',
)  # fmt: skip


def some_rows() -> list[Row]:
    """Rows of two days, many of one microsecond, with all that is odd."""
    drawn = random.Random(7)
    rows = []
    for seq in range(1, 301):
        at = MIDNIGHT + drawn.choice([timedelta(), timedelta(microseconds=-1), timedelta(seconds=drawn.uniform(-4, 4))])
        late = drawn.random() < 0.2
        rows.append(
            a_row(
                seq, at, event_id=UUID(int=seq), level=drawn.choice(["DEBUG", "INFO", "WARN", "ERROR"]), message=drawn.choice(TEXTS),
                service_name=drawn.choice(["pay", "payments", "checkout", "Überweisung", "100%"]), correlation_id=f"t{drawn.randrange(9)}",
                attributes=drawn.choice(ATTRIBUTES), origin_region=drawn.choice(["region-a", "region-b"]), late=late,
                late_reason=drawn.choice(["delayed", "mirror"]) if late else None, late_by_ms=7 if late else None,
            )
        )  # fmt: skip
    return rows


ROWS: Final = some_rows()
FILTERS: Final = st.builds(
    Filter,
    services=st.sampled_from([(), ("pay",), ("checkout", "nothing")]),
    service_prefixes=st.sampled_from([(), ("pay",), ("Über",), ("100%",)]),
    levels=st.sampled_from([None, ("WARN", "ERROR"), ("DEBUG",), ()]),
    correlation_id=st.sampled_from([None, None, "t1", "nothing"]),
    region=st.sampled_from([None, "region-b"]),
    late=st.sampled_from([None, True, False]),
    late_reason=st.sampled_from([None, None, "mirror"]),
    stored_by=st.sampled_from([None, "region-a/consumer-a/1"]),
    contains=st.lists(
        st.sampled_from(TEXTS) | st.sampled_from(["Ü", "u", "%", "_", "\\", "'", "\u03c3", "Σ", "ß", "I", "\u0131", "k", "ǆ", "$1"]), max_size=2
    ).map(tuple),
    lacks=st.lists(st.sampled_from(["e", "100", "Привет", "x"]), max_size=1).map(tuple),
    attributes=st.lists(
        st.sampled_from(
            [
                Attribute("n"), Attribute("n", "200"), Attribute("n", '"200"'), Attribute("ok", "true"), Attribute("ok", "1"),
                Attribute('o"k', "null"), Attribute("big", "18446744073709551615"), Attribute("n", "2e2"), Attribute("none"),
            ]
        ),
        max_size=2,
    ).map(tuple),
)  # fmt: skip
QUERIES: Final = st.builds(
    Query, st.just(SPAN), FILTERS, st.sampled_from(Order), st.sampled_from(By), st.sampled_from([7, 50, 1000])
)


async def insert(dsn: str, rows: Sequence[Row]) -> None:
    """Put rows into the table as they are, numbers included."""
    connection = await asyncpg.connect(dsn)
    try:
        values = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 1))
        await connection.executemany(
            f"INSERT INTO logs ({', '.join(COLUMNS)}) OVERRIDING SYSTEM VALUE VALUES ({values})",
            [tuple(getattr(row, name) for name in COLUMNS) for row in rows],
        )
    finally:
        await connection.close()


@asynccontextmanager
async def postgres_store(dsn: str, rows: Sequence[Row] = ()) -> AsyncIterator[PostgresStore]:
    await make_tables(dsn)
    await insert(dsn, rows)
    async with PostgresStore(as_role("logs_api", dsn)) as store:
        yield store


@pytest.fixture(params=["memory", "postgres"], name="store")
async def a_store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """The database with `ROWS`."""
    if request.param == "memory":
        yield FakeStore(list(ROWS))
        return
    async with postgres_store(request.getfixturevalue("postgres"), ROWS) as store:
        yield store


async def page_of(store: Store, query: Query) -> Page:
    async with store.session(None) as session:
        return await search(query, session)


async def followed(store: Store, query: Query) -> list[Row]:
    page = await page_of(store, query)
    rows = list(page.items)
    while page.next is not None:
        page = await page_of(store, replace(query, cursor=page.next))
        rows += page.items
    assert page.complete
    return rows


def wanted(query: Query, rows: Sequence[Row] = ROWS) -> list[Row]:
    kept = [
        row
        for row in rows
        if query.span.begin <= epoch_us(row.event_time) < query.span.end and query.filter.matches(row)
    ]
    return sorted(
        kept,
        key=lambda row: row.place if query.by is By.TIME else (row.seq, 0),
        reverse=query.order is Order.DESC,
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(query=QUERIES)
async def test_pages_joined_are_the_rows_that_the_filter_lets_through_in_memory(store: Store, query: Query) -> None:
    assert await followed(store, query) == wanted(query)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=6))
async def test_any_text_is_found_literally_and_alike_in_memory(store: Store, text: str) -> None:
    query = Query(SPAN, Filter(contains=(text,)), limit=1000)

    assert await followed(store, query) == wanted(query)


async def test_an_event_is_found_by_its_id_with_and_without_its_time(store: Store) -> None:
    row = ROWS[41]
    async with store.session(None) as session:
        exact = await session.event(row.event_id, Span(row.place[0], row.place[0] + 1), 2)
        anywhere = await session.event(row.event_id, ALWAYS, 2)
        elsewhen = await session.event(row.event_id, Span(row.place[0] + 1, row.place[0] + 2), 2)

    assert (exact, anywhere, elsewhen) == ([row], [row], [])


@pytest.mark.parametrize("group", Group)
async def test_rows_are_counted_by_bucket_and_group(store: Store, group: Group) -> None:
    whole = Slice(Filter(levels=("INFO", "WARN")), SPAN, By.TIME, True, (SPAN.end, 0), SPAN.begin, 0)  # noqa: FBT003
    async with store.session(None) as session:
        found = await session.counts(whole, group, 700_000, 2, origin_us=5)
    async with FakeStore(list(ROWS)).session(None) as session:
        expected = await session.counts(whole, group, 700_000, 2, origin_us=5)

    assert found
    assert Counter({(one.at, one.group): one.rows for one in found}) == {
        (one.at, one.group): one.rows for one in expected
    }


async def test_services_are_listed_once_and_the_newest_row_is_known(store: Store) -> None:
    async with store.session(None) as session:
        assert sorted(await session.services(100, 2)) == sorted({row.service_name for row in ROWS})
        assert len(await session.services(2, 2)) == 2
        assert await session.newest(2) == 300


async def test_long_messages_come_to_their_beginning_and_on_demand_whole(postgres: str) -> None:
    rows = [a_row(1, BEGIN, message="ü" * 100_000), a_row(2, BEGIN, message="x" * 2048)]
    async with postgres_store(postgres, rows) as store:
        short = await page_of(store, Query(SPAN))
        whole = await page_of(store, Query(SPAN, full=True))

    assert [(len(row.message), row.cut) for row in short.items] == [(2048, False), (2048, True)]
    assert [row.message for row in whole.items] == [rows[1].message, rows[0].message]


async def test_pages_of_rows_that_are_very_long_have_fewer_and_none_is_missing(postgres: str) -> None:
    rows = [a_row(seq, BEGIN + timedelta(microseconds=seq), message="x" * 250_000) for seq in range(1, 121)]
    async with postgres_store(postgres, rows) as store:
        query = Query(SPAN, limit=1000, full=True)
        first = await page_of(store, query)
        found = await followed(store, query)

    assert 30 <= len(first.items) < 120
    assert [row.seq for row in found] == list(range(120, 0, -1))


async def test_ten_thousand_rows_of_one_microsecond_are_paged_by_seven(postgres: str) -> None:
    rows = [a_row(seq, BEGIN) for seq in range(1, 10_001)]
    async with postgres_store(postgres, rows) as store:
        query = Query(SPAN, limit=7)
        found: list[int] = []
        async with store.session(None) as session:
            while True:
                page = await search(query, session)
                found += [row.seq for row in page.items]
                if page.next is None:
                    break
                query = replace(query, cursor=page.next)

    assert found == list(range(10_000, 0, -1))


async def test_while_writers_write_no_page_doubles_and_none_misses_what_was_there_before(postgres: str) -> None:
    before = [a_row(seq, BEGIN + timedelta(milliseconds=seq)) for seq in range(1, 2001)]
    async with postgres_store(postgres, before) as store:
        writing = asyncio.create_task(write_on(postgres))
        try:
            found = [row.event_id for row in await followed(store, Query(SPAN, limit=13))]
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    assert len(found) == len(set(found))
    assert {row.event_id for row in before} <= set(found)


async def write_on(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for number in itertools.count():
            await connection.execute(
                "INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region, "
                "received_at, stored_by, late) VALUES (gen_random_uuid(), $1, 's', 'INFO', 'm', 'c', '{}', 'region-a', $1, 'x', false)",
                BEGIN + timedelta(milliseconds=number * 7 % 2000),
            )
    finally:
        await connection.close()


# ---------------------------------------------------------------- PostgreSQL alone


async def active_readers(connection: asyncpg.Connection) -> int:
    # What it has seen would be the same until the end of its transaction.
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'console' AND state <> 'idle'"
        )
    )


async def test_a_statement_that_takes_too_long_ends_and_its_session_goes_on(postgres: str) -> None:
    rows = [a_row(seq, BEGIN + timedelta(microseconds=seq % 9)) for seq in range(1, 20_001)]
    whole = Slice(Filter(lacks=("nothing",)), SPAN, By.TIME, True, (SPAN.end, 0), SPAN.begin, 1000)  # noqa: FBT003
    async with postgres_store(postgres, rows) as store, store.session(None) as session:
        with pytest.raises(SliceTimedOutError):
            await session.rows(replace(whole, limit=100_000), 0.001)
        found = await session.rows(whole, 30)

    assert len(found.rows) == 1000


@asynccontextmanager
async def locked(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Lock the table, as a migration does; readers wait."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE logs IN ACCESS EXCLUSIVE MODE")
            yield connection
    finally:
        await connection.close()


async def test_a_reader_that_goes_away_takes_its_statement_along(postgres: str) -> None:
    await make_tables(postgres)
    endless = SETTINGS | {"lock_timeout": "0", "statement_timeout": "0"}
    async with PostgresStore(as_role("logs_api", postgres), settings=endless) as store, locked(postgres) as watcher:

        async def read() -> None:
            async with store.session(None) as session:
                await session.newest(600)

        reading = asyncio.create_task(read())
        await eventually(lambda: has(watcher, 1), "the statement waits")
        reading.cancel()
        await asyncio.wait([reading])
        await eventually(lambda: has(watcher, 0), "the statement has ended")
        async with store.session(None):  # and its connection is of use again
            pass


async def has(watcher: asyncpg.Connection, readers: int) -> bool:
    return await active_readers(watcher) == readers


async def test_a_table_that_is_locked_is_told_and_not_waited_for(postgres: str) -> None:
    async with postgres_store(postgres, ROWS[:3]) as store, locked(postgres):
        with pytest.raises(StoreUnavailableError, match="the table is being changed"):
            await page_of(store, Query(SPAN))


async def test_readers_beyond_the_connections_are_told_to_come_back(postgres: str) -> None:
    async with postgres_store(postgres) as store:
        async with asyncio.TaskGroup() as group:
            leave = asyncio.Event()
            inside = [asyncio.Event() for _ in range(CONNECTIONS)]
            for one in inside:
                group.create_task(stay(store, one, leave))
            for one in inside:
                await one.wait()
            with pytest.raises(BusyError, match="as many searches"):
                await page_of(store, Query(SPAN))
            leave.set()
        await page_of(store, Query(SPAN))


async def stay(store: Store, inside: asyncio.Event, leave: asyncio.Event) -> None:
    async with store.session(None):
        inside.set()
        await leave.wait()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_without_postgresql_a_search_is_refused_and_goes_on_when_it_is_back(
    own_postgres: Server, end: str
) -> None:
    await make_tables(own_postgres.address)
    async with PostgresStore(as_role("logs_api", own_postgres.address)) as store:
        await page_of(store, Query(SPAN))
        getattr(own_postgres, end)()
        with pytest.raises(StoreUnavailableError, match="PostgreSQL does not answer"):
            await page_of(store, Query(SPAN))
        own_postgres.start()

        async def is_back() -> bool:
            try:
                await page_of(store, Query(SPAN))
            except StoreUnavailableError:
                return False
            return True

        await eventually(is_back, "searches have answers again", within_s=patience(30))


async def test_a_postgresql_that_hangs_is_told_as_well(own_postgres: Server) -> None:
    await make_tables(own_postgres.address)
    async with PostgresStore(as_role("logs_api", own_postgres.address)) as store:
        await page_of(store, Query(SPAN))
        own_postgres.suspend()
        try:
            with pytest.raises(StoreUnavailableError):
                await page_of(store, Query(SPAN))
            with pytest.raises(StoreUnavailableError):
                await page_of(store, Query(SPAN))
        finally:
            own_postgres.resume()


async def test_a_partition_is_made_while_readers_read(postgres: str) -> None:
    async with postgres_store(postgres, ROWS) as store:
        await without_end(store, lambda: partition_is_made(postgres))


async def partition_is_made(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        day = date.today() - timedelta(days=20)  # noqa: DTZ011 - any day without a partition

        async def made() -> bool:
            try:
                await connection.execute("SET lock_timeout = '2s'")
                await connection.execute("SELECT make_log_partition($1)", day)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                return False
            return True

        await eventually(made, "a partition is made", within_s=patience(30))
    finally:
        await connection.close()


async def without_end(store: Store, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work while three readers search again and again."""

    async def read() -> None:
        while True:
            await page_of(store, Query(ALWAYS, Filter(contains=("nothing of it",))))

    readers = [asyncio.create_task(read()) for _ in range(3)]
    try:
        await work()
    finally:
        for one in readers:
            one.cancel()
        await asyncio.wait(readers)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM logs", "SET temp_file_limit = -1", "SELECT * FROM consumer_offsets", "SELECT pg_advisory_lock(1)"],
)
async def test_a_reader_may_do_nothing_but_read(postgres: str, statement: str) -> None:
    await make_tables(postgres)
    connection = await asyncpg.connect(as_role("logs_api", postgres))
    try:
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(statement)
    finally:
        await connection.close()


# ---------------------------------------------------------------- over HTTP


MANY: Final = """
    INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region, received_at, stored_by, late)
    SELECT gen_random_uuid(), $1::timestamptz + n * interval '5 microseconds', 's', 'INFO', 'line ' || n || repeat(' of it', 30), 'c', '{"k": "v"}',
           'region-a', now(), 'x', false
    FROM generate_series(1, $2::bigint) AS n
"""


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.parametrize("rows", [100_000, pytest.param(1_000_000, marks=pytest.mark.deep)])
async def test_an_export_takes_little_memory_and_goes_on_where_it_was_cut(postgres: str, rows: int) -> None:
    await make_tables(postgres)
    connection = await asyncpg.connect(postgres)
    await connection.execute(MANY, BEGIN, rows, timeout=600)
    await connection.close()
    dsn = as_role("logs_api", postgres)
    parameters = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(seconds=10)).isoformat(), "order": "asc"}
    seen = bytearray(rows + 1)
    cursor: dict[str, str] = {}
    async with (
        served(create_app(ConsoleSettings(postgres_dsn=dsn, exports_a_caller=4))) as console,
        aiohttp.ClientSession() as client,
    ):

        async def take(most: int) -> dict[str, Any]:
            """Read so many rows from where the last mark was, and count those before the next mark for good."""
            pending: list[int] = []
            line: dict[str, Any] = {}
            headers = {"Accept": "application/x-ndjson"}
            async with client.get(f"{console}/api/logs", params=parameters | cursor, headers=headers) as answer:
                async for raw in answer.content:
                    line = json.loads(raw)
                    if "seq" not in line:
                        for number in pending:
                            seen[number] += 1
                        pending.clear()
                        cursor.update({"cursor": line["at"]} if "at" in line else {})
                    elif most == 0:
                        break
                    else:
                        pending.append(int(line["message"].split()[1]))
                        most -= 1
            return line

        await take(rows // 20)
        before = resident_mib()
        await take(rows // 2)
        end = await take(rows)
        grown = resident_mib() - before

    assert end["end"]
    assert seen == bytearray([0] + [1] * rows)
    assert grown < 32 + MAX_PAGE_BYTES / 2**20
