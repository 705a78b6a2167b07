"""The same identity in two tenants is two events, and each tenant reads its own, in real servers."""

import asyncio

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from surroundings import as_consumer, make_tables
from uuid_utils.compat import uuid7

from consumer.adapters.postgres_store import PostgresStore
from consumer.copy_format import copy_rows
from consumer.decode import Decoder
from consumer.envelope import Envelope, Partition, Row
from consumer.ports import EventStore, RowsConflictError
from consumer.stored_ids import StoredIds
from consumer.tests.fakes import MemoryDatabase, MemoryStore
from consumer.tests.strategies import Read
from shared.event.model import LogRecord

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


def a_store(dsn: str, region: str) -> PostgresStore:
    return PostgresStore(as_consumer(dsn), region=region, instance="one", group="g", timeout_s=10)


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


async def fetch(dsn: str, statement: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()
