"""The same identity in two tenants is two events, and each tenant reads its own, in real servers."""

import asyncio

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from surroundings import as_consumer, as_role, make_tables
from uuid_utils.compat import uuid7

from console.connections import SETTINGS
from console.events import ALWAYS
from console.filter import EVERYTHING, Filter
from console.ports import Group, Slice
from console.query import By, Span
from console.statements import BY_ID, NEWEST, select_rows
from console.store import PostgresStore
from console.tail.table import PAGE_ROWS, PostgresTable
from console.whose import as_tenant
from consumer.adapters.postgres_store import PostgresStore as ConsumersStore
from consumer.copy_format import copy_rows
from consumer.decode import Decoder
from consumer.envelope import Envelope, Partition, Row
from consumer.ports import EventStore, Progress, RowsConflictError
from consumer.stored_ids import StoredIds
from consumer.tests.fakes import MemoryDatabase, MemoryStore
from consumer.tests.strategies import Read
from shared.event.model import LogRecord
from shared.event.times import epoch_us

pytestmark = pytest.mark.services

OWN = Partition("logs", 0)
MIRRORED = Partition("region-b.logs", 0)
NOW = datetime.now(UTC)


def a_record(tenant: str | None, event_id: UUID, *, time: datetime = NOW, message: str = "m") -> LogRecord:
    return LogRecord.model_construct(
        event_id=event_id,
        timestamp=time,
        service_name="s",
        level="INFO",
        message=message,
        correlation_id="c",
        attributes={},
        received_at=time,
        tenant=tenant,
        origin_region="region-a",
    )


def a_row(record: LogRecord, offset: int, secret: bytes, partition: Partition = OWN) -> Row:
    envelope = Decoder(partition, "region-a", StoredIds(secret)).decode(Read(offset, record.encode()))
    assert isinstance(envelope, Envelope), envelope
    return Row(envelope)


def a_store(dsn: str, region: str) -> ConsumersStore:
    return ConsumersStore(as_consumer(dsn), region=region, instance="one", group="g", timeout_s=10)


@pytest.fixture(params=["memory", "postgres"])
async def regions(request: pytest.FixtureRequest) -> AsyncIterator[Sequence[EventStore]]:
    """Both regions' consumers, on one store."""
    if request.param == "memory":
        database = MemoryDatabase()
        yield [MemoryStore(database, region=region) for region in ("region-a", "region-b")]
        return
    dsn = await asyncio.to_thread(request.getfixturevalue, "postgres")
    await make_tables(dsn)
    stores = [a_store(dsn, region) for region in ("region-a", "region-b")]
    yield stores
    for store in stores:
        await store.close()


async def test_the_same_identity_in_two_tenants_is_two_rows_whichever_region_stores_them(
    regions: Sequence[EventStore],
) -> None:
    event_id = uuid7()
    records = [a_record(tenant, event_id, message=f"of {tenant}") for tenant in (None, "acme", "beta")]
    new = []
    for store, partition in zip(regions, (OWN, MIRRORED), strict=True):
        claim = await store.claim([partition])
        rows = [a_row(record, offset, claim.secret, partition) for offset, record in enumerate(records)]
        new.append(await store.store(rows, {}, claim.generation))

    assert [set(found) for found in new] == [{0, 1, 2}, set()]


async def test_tenants_come_one_after_the_other_and_the_default_one_among_them(regions: Sequence[EventStore]) -> None:
    store = regions[0]
    claim = await store.claim([OWN])
    for offset, tenant in enumerate([None, "acme", None, "acme", "beta", None]):
        rows = [a_row(a_record(tenant, uuid7()), offset, claim.secret)]
        encoded = store.encode(rows, claim.generation)
        assert set(await store.store(rows, {}, claim.generation, encoded)) == {0}


async def test_a_content_that_differs_is_a_conflict_within_a_tenant_alone(regions: Sequence[EventStore]) -> None:
    store, event_id = regions[0], uuid7()
    claim = await store.claim([OWN])
    first = [
        a_row(a_record(tenant, event_id, message="first"), n, claim.secret) for n, tenant in enumerate((None, "acme"))
    ]
    await store.store(first, {}, claim.generation)

    other = a_row(a_record("beta", event_id, message="second"), 2, claim.secret)
    assert set(await store.store([other], {}, claim.generation)) == {0}
    with pytest.raises(RowsConflictError) as refused:
        await store.store([a_row(a_record("acme", event_id, message="second"), 3, claim.secret)], {}, claim.generation)
    assert refused.value.differs == {0: ["message"]}


async def test_a_row_keeps_the_id_that_its_tenant_knows(postgres: str) -> None:
    await make_tables(postgres)
    store, event_id = a_store(postgres, "region-a"), uuid7()
    claim = await store.claim([OWN])
    await store.store(
        [a_row(a_record(tenant, event_id), n, claim.secret) for n, tenant in enumerate((None, "acme"))],
        {},
        claim.generation,
    )
    await store.close()

    rows = await fetch(
        postgres,
        "SELECT l.*, t.name, stored_event_id(l.tenant_id, $1) AS stored FROM logs AS l JOIN tenants AS t USING (tenant_id) ORDER BY seq",
        event_id,
    )
    assert [row["name"] for row in rows] == ["default", "acme"]
    assert [row["tenant_event_id"] for row in rows] == [None, event_id]
    assert [row["event_id"] for row in rows] == [row["stored"] for row in rows], "SQL and Python agree about ids"
    assert rows[0]["event_id"] == event_id
    assert rows[1]["event_id"] != event_id


async def test_a_consumer_of_an_earlier_release_stores_rows_of_the_default_tenant(postgres: str) -> None:
    await make_tables(postgres)
    store = a_store(postgres, "region-a")
    claim = await store.claim([OWN])
    rows = [a_row(a_record(None, uuid7()), 0, claim.secret)]
    # What it sends are these very bytes, with columns that it names.
    assert await store.store(rows, {}, claim.generation, copy_rows(rows, "region-a/one/1")) is not None
    await store.close()

    [row] = await fetch(postgres, "SELECT tenant_id, tenant_event_id FROM logs")
    assert tuple(row) == (0, None)


async def test_a_database_that_was_set_back_gives_its_numbers_anew(postgres: str) -> None:
    await make_tables(postgres)
    one, other = a_store(postgres, "region-a"), a_store(postgres, "region-b")
    claim = await one.claim([OWN])
    await one.store([a_row(a_record("acme", uuid7()), 0, claim.secret)], {}, claim.generation)
    await fetch(postgres, "DELETE FROM tenants WHERE tenant_id > 0")  # as a restore to an earlier state leaves it
    await fetch(postgres, "ALTER TABLE tenants ALTER COLUMN tenant_id RESTART WITH 1")
    theirs = await other.claim([MIRRORED])
    await other.store([a_row(a_record("beta", uuid7()), 0, theirs.secret, MIRRORED)], {}, theirs.generation)
    claim = await one.claim([OWN])
    late = NOW + timedelta(seconds=1)
    await one.store([a_row(a_record("acme", uuid7(), time=late), 1, claim.secret)], {}, claim.generation)
    await one.close()
    await other.close()

    rows = await fetch(postgres, "SELECT name FROM logs JOIN tenants USING (tenant_id) WHERE event_time >= $1", late)
    assert [row["name"] for row in rows] == ["acme"]


async def with_two_tenants(dsn: str) -> UUID:
    """Store 2,000 rows of the default tenant and 20 of acme's, one of each under the same identity; return that id."""
    await make_tables(dsn)
    store, shared = a_store(dsn, "region-a"), uuid7()
    claim = await store.claim([OWN])
    records = [a_record(None, uuid7(), time=NOW - timedelta(seconds=n)) for n in range(2000)]
    records += [a_record("acme", uuid7(), time=NOW - timedelta(seconds=n), message="acme's") for n in range(20)]
    records += [a_record(None, shared), a_record("acme", shared, message="acme's")]
    rows = [a_row(record, offset, claim.secret) for offset, record in enumerate(records)]
    await store.store(rows, {OWN: Progress(len(rows), None)}, claim.generation)
    await store.close()
    return shared


async def test_a_reader_finds_counts_and_follows_its_tenants_rows_alone(postgres: str) -> None:
    shared = await with_two_tenants(postgres)
    begin, end = (epoch_us(NOW + timedelta(hours=hours)) for hours in (-1, 1))
    wanted = Slice(EVERYTHING, Span(begin, end), By.TIME, down=True, at=(end, 0), stop=begin, limit=5000)
    dsn = as_role("logs_api", postgres)
    found: dict[str | None, tuple[int, int, int, int]] = {}
    async with PostgresStore(dsn, connections=1) as store, PostgresTable(dsn) as table:
        for tenant in (None, "acme", "beta"):
            async with store.session(tenant) as session:
                rows = (await session.rows(wanted, 30)).rows
                counted = await session.counts(wanted, Group.NONE, end, 30)
                [*same] = await session.event(shared, ALWAYS, 30)
                assert not session.is_alone
            assert {row.message for row in rows} <= {"m" if tenant is None else "acme's"}
            async with table.snapshot(tenant) as now:
                followed = (await now.rows(0, (await now.marks()).high)).rows
            assert [row.event_id for row in same] == [shared] * len(same)
            found[tenant] = len(rows), sum(count.rows for count in counted), len(same), len(followed)

    assert found == {None: (2001, 2001, 1, PAGE_ROWS), "acme": (21, 21, 1, 21), "beta": (0, 0, 0, 0)}


async def test_a_statement_that_forgets_its_tenant_meets_the_second_wall(postgres: str) -> None:
    await with_two_tenants(postgres)
    connection = await asyncpg.connect(as_role("logs_api", postgres))
    try:
        with pytest.raises(asyncpg.UndefinedObjectError, match=r"app\.tenant"):
            await connection.fetchval("SELECT count(*) FROM tenant_logs")
        for number, mine, named in ((0, 2001, 0), (1, 21, 21), (7, 0, 0)):
            async with connection.transaction():
                await connection.execute(as_tenant(number))
                assert await connection.fetchval("SELECT count(*) FROM tenant_logs") == mine
                assert await connection.fetchval("SELECT count(*) FROM tenant_logs WHERE tenant_id = 1") == named
        # What one transaction has named, the next one has not.
        with pytest.raises(asyncpg.DataError):
            await connection.fetchval("SELECT count(*) FROM tenant_logs")
    finally:
        await connection.close()


@pytest.mark.parametrize("tenant", [0, 1])
async def test_the_usual_statements_use_an_index_behind_the_wall(postgres: str, tenant: int) -> None:
    shared = await with_two_tenants(postgres)
    begin, end = (epoch_us(NOW + timedelta(hours=hours)) for hours in (-1, 1))
    by_time = Slice(EVERYTHING, Span(begin, end), By.TIME, down=True, at=(end, 0), stop=begin, limit=50)
    by_number = replace(by_time, by=By.STORED, at=(5000, 0), stop=0)
    trace = replace(by_time, filter=Filter(correlation_id="nothing"))
    service = replace(by_time, filter=Filter(services=("nothing",), contains=("x",)))
    statements = [select_rows(wanted, tenant) for wanted in (by_time, by_number, trace, service)]
    statements += [(NEWEST, [tenant]), (BY_ID, [shared, NOW, NOW + timedelta(microseconds=1), tenant])]
    connection = await asyncpg.connect(as_role("logs_api", postgres), server_settings=dict(SETTINGS))
    try:
        for statement, values in statements:
            async with connection.transaction():
                # Of so few rows PostgreSQL would read all at once.
                await connection.execute(f"{as_tenant(tenant)}; SET LOCAL enable_seqscan = off")
                plan = "\n".join(line for (line,) in await connection.fetch(f"EXPLAIN {statement}", *values))
            assert "Index" in plan, plan
            assert "Seq Scan on logs_2" not in plan, plan
    finally:
        await connection.close()


async def fetch(dsn: str, statement: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()
