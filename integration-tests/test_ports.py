"""One suite for each port and all its implementations: what the in-memory ones promise, the real ones keep."""

import asyncio
import json
import re
import threading

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import asyncpg
import pytest

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from surroundings import as_consumer, make_tables
from uuid_utils.compat import uuid7

from consumer.adapters.collisions import Collisions
from consumer.adapters.postgres_rows import FOUND
from consumer.adapters.postgres_store import PostgresStore
from consumer.adapters.redis_seen import KEYS, RedisSeenIds
from consumer.adapters.row_days import bounds, days_of
from consumer.adapters.store_thread import StoreThread
from consumer.copy_format import fingerprint
from consumer.decode import Decoder
from consumer.envelope import Envelope, Lateness, Partition, Row
from consumer.ports import (
    EventStore,
    FencedError,
    KnownLog,
    Progress,
    RowsConflictError,
    RowsRefusedError,
    SeenIds,
    SeenIdsUnavailableError,
    StoreTimedOutError,
    StoreUnavailableError,
)
from consumer.seen_format import number_of, record
from consumer.tests.fakes import MemoryDatabase, MemorySeenIds, MemoryStore
from consumer.tests.strategies import Read
from fleet.jobs.passwords import REDIS_USERS
from shared.event.identity import identity_of
from shared.event.model import LogRecord, epoch_us, format_time
from shared.event.sealed import Intake, to_record
from shared.tests.strategies import client_texts, scaled
from testbed.patience import patience
from testbed.server import Server

pytestmark = pytest.mark.services

P0 = Partition("logs", 0)
P1 = Partition("region-b.logs", 1)
NOW = datetime.now(UTC)


def an_envelope(
    offset: int, *, partition: Partition = P0, time: datetime = NOW, event_id: Any = None, message: str = "m"
) -> Envelope:
    return decoded(a_record(time, event_id or uuid7(), message=message), offset, partition)


def a_record(
    time: datetime, event_id: Any, *, message: str = "m", attributes: dict[str, Any] | None = None
) -> LogRecord:
    return LogRecord.model_construct(
        event_id=event_id,
        timestamp=time,
        service_name="s",
        level="INFO",
        message=message,
        correlation_id="c",
        attributes=attributes or {},
        received_at=time,
        origin_region="region-a",
    )


def decoded(record: LogRecord, offset: int, partition: Partition = P0) -> Envelope:
    envelope = Decoder(partition, "region-a").decode(Read(offset, record.encode()))
    assert isinstance(envelope, Envelope), envelope
    return envelope


def rows_of(*envelopes: Envelope) -> list[Row]:
    return [Row(envelope) for envelope in envelopes]


def a_postgres_store(dsn: str, instance: str) -> PostgresStore:
    return PostgresStore(as_consumer(dsn), region="region-a", instance=instance, group="g", timeout_s=10)


SetBack = Callable[[], Awaitable[None]]


@dataclass
class Stores:
    """
    Two consumers' access to the same store.

    Attributes:
        first: Of one consumer.
        second: Of another one in the same region.
        snapshot: Takes one, and returns what makes the store be like that again.
    """

    first: EventStore
    second: EventStore
    snapshot: Callable[[], Awaitable[SetBack]]


def snapshots_of_memory(database: MemoryDatabase) -> Callable[[], Awaitable[SetBack]]:
    async def snapshot() -> SetBack:
        tables = database.snapshot()

        async def set_back() -> None:
            database.set_back(tables)

        return set_back

    return snapshot


def snapshots_of_postgres(dsn: str) -> Callable[[], Awaitable[SetBack]]:
    async def execute(sql: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def set_back() -> None:
        await execute(
            "BEGIN; TRUNCATE logs, consumer_offsets, writers; INSERT INTO logs OVERRIDING SYSTEM VALUE SELECT * FROM logs_then; "
            "INSERT INTO consumer_offsets SELECT * FROM consumer_offsets_then; "
            "INSERT INTO writers SELECT * FROM writers_then; COMMIT"
        )

    async def snapshot() -> SetBack:
        await execute(
            "DROP TABLE IF EXISTS logs_then, consumer_offsets_then, writers_then; CREATE TABLE logs_then AS TABLE logs; "
            "CREATE TABLE consumer_offsets_then AS TABLE consumer_offsets; CREATE TABLE writers_then AS TABLE writers"
        )
        return set_back

    return snapshot


@pytest.fixture(params=["memory", "postgres", "postgres on threads"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        database = MemoryDatabase()
        mine, theirs = MemoryStore(database, instance="first"), MemoryStore(database, instance="second")
        yield Stores(mine, theirs, snapshots_of_memory(database))
        return
    dsn = await asyncio.to_thread(request.getfixturevalue, "postgres")
    await make_tables(dsn)
    on_threads = request.param == "postgres on threads"
    both = [a_postgres_store(dsn, "first"), a_postgres_store(dsn, "second")]
    first, second = map(StoreThread, both) if on_threads else both
    yield Stores(first, second, snapshots_of_postgres(dsn))
    await first.close()
    await second.close()


async def test_a_row_is_new_once_whoever_stores_it(stores: Stores) -> None:
    event = an_envelope(0)
    copy = an_envelope(7, partition=P1, event_id=UUID(bytes=event.event_id))
    mine = await stores.first.claim([P0])
    theirs = await stores.second.claim([P1])

    assert set(await stores.first.store(rows_of(event), {P0: Progress(1, 5)}, mine.generation)) == {0}
    assert set(await stores.second.store(rows_of(copy), {P1: Progress(8, 5)}, theirs.generation)) == set()
    assert set(await stores.first.store(rows_of(event), {P0: Progress(1, 5)}, mine.generation)) == set()


async def test_what_is_stored_is_known_by_its_identity_on_any_day(stores: Stores) -> None:
    claim = await stores.first.claim([P0])
    some = [
        an_envelope(0),
        an_envelope(1, time=NOW - timedelta(days=1)),
        an_envelope(2, time=NOW - timedelta(days=9000)),
    ]
    await stores.first.store(rows_of(*some), {P0: Progress(3, 5)}, claim.generation)
    later = an_envelope(3, time=NOW + timedelta(microseconds=1), event_id=UUID(bytes=some[0].event_id))

    assert set(await stores.second.known(rows_of(later, some[2], an_envelope(4), some[0], some[1]))) == {1, 3, 4}
    assert set(await stores.second.known([])) == set()


async def test_the_same_id_at_another_time_is_another_event(stores: Stores) -> None:
    event = an_envelope(0)
    other = an_envelope(1, time=NOW + timedelta(microseconds=1), event_id=UUID(bytes=event.event_id))
    claim = await stores.first.claim([P0])

    assert set(await stores.first.store(rows_of(event, other), {P0: Progress(2, 5)}, claim.generation)) == {0, 1}


async def test_of_the_same_event_twice_in_a_batch_one_is_new(stores: Stores) -> None:
    event = an_envelope(0)
    again = an_envelope(1, event_id=UUID(bytes=event.event_id))
    claim = await stores.first.claim([P0])

    new = await stores.first.store(rows_of(event, again, an_envelope(2)), {P0: Progress(3, 5)}, claim.generation)

    assert set(new) == {0, 2}


async def test_an_event_with_the_identity_of_another_is_refused_with_what_differs(stores: Stores) -> None:
    event = an_envelope(0)
    copy = an_envelope(1, partition=P1, event_id=UUID(bytes=event.event_id))
    other = an_envelope(2, event_id=UUID(bytes=event.event_id), message="other")
    claim = await stores.first.claim([P0])
    await stores.first.store(rows_of(event), {}, claim.generation)

    with pytest.raises(RowsConflictError) as refused:
        await stores.first.store(rows_of(an_envelope(3), copy, other), {P0: Progress(4, 5)}, claim.generation)

    assert refused.value.differs == {2: ["message"]}
    assert (await stores.first.claim([P0])).progress[P0] == Progress(None, None), "nothing of it was stored"


async def test_of_two_contents_of_one_identity_in_a_batch_the_second_is_refused(stores: Stores) -> None:
    event = an_envelope(0)
    other = an_envelope(1, event_id=UUID(bytes=event.event_id), message="other")
    claim = await stores.first.claim([P0])

    with pytest.raises(RowsConflictError) as refused:
        await stores.first.store(rows_of(event, other), {}, claim.generation)

    assert refused.value.differs == {1: ["message"]}
    assert set(await stores.first.store(rows_of(event), {}, claim.generation)) == {0}


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("service_name", "t", "serviceName"),
        ("level", "WARN", "level"),
        ("message", "n", "message"),
        ("correlation_id", "d", "correlationId"),
        ("attributes", {"a": 1, "b": 3}, "attributes"),
        ("attributes", {}, "attributes"),
    ],
)
async def test_whatever_an_event_says_is_compared(stores: Stores, field: str, value: Any, name: str) -> None:
    said = a_record(NOW, uuid7(), attributes={"a": 1, "b": 2})
    claim = await stores.first.claim([P0])
    await stores.first.store(rows_of(decoded(said, 0)), {}, claim.generation)

    other = said.model_copy(update={field: value})
    with pytest.raises(RowsConflictError) as refused:
        await stores.first.store(rows_of(decoded(other, 1)), {}, claim.generation)

    assert refused.value.differs == {0: [name]}


async def test_what_a_retry_may_change_is_no_conflict(stores: Stores) -> None:
    said = a_record(NOW, uuid7(), attributes={"a": 1, "b": 2})
    again = said.model_copy(
        update={
            "received_at": NOW + timedelta(hours=1),
            "origin_region": "region-b",
            "attributes": {"b": 2, "a": 1},
        }
    )
    claim = await stores.first.claim([P0])
    await stores.first.store(rows_of(decoded(said, 0)), {}, claim.generation)

    assert set(await stores.first.store(rows_of(decoded(again, 1)), {}, claim.generation)) == set()


async def test_a_successor_gets_the_progress_and_fences_its_predecessor(stores: Stores) -> None:
    watermark_us = epoch_us(NOW)
    old = await stores.first.claim([P0, P1])
    assert set(old.progress.values()) == {Progress(None, None)}
    known = KnownLog("0190c0de-0000-7000-8000-000000000001", 4, -(2**63), 2**40)
    await stores.first.store(rows_of(an_envelope(4)), {P0: Progress(5, watermark_us, known)}, old.generation)

    new = await stores.second.claim([P0, P1])

    assert new.generation > old.generation
    assert new.store_id == old.store_id
    assert new.progress == {P0: Progress(5, watermark_us, known), P1: Progress(None, None)}
    late_comer = an_envelope(5)
    with pytest.raises(FencedError):
        await stores.first.store(rows_of(late_comer), {P0: Progress(6, watermark_us)}, old.generation)
    assert set(await stores.second.store(rows_of(late_comer), {P0: Progress(6, None)}, new.generation)) == {0}


async def test_rows_without_progress_are_fenced_when_all_partitions_have_another_owner(stores: Stores) -> None:
    """Otherwise rows could come behind what a reader took for the end of their generation."""
    old = await stores.first.claim([P0])
    assert set(await stores.first.store(rows_of(an_envelope(0)), {}, old.generation)) == {0}
    new = await stores.second.claim([P0])

    with pytest.raises(FencedError):
        await stores.first.store(rows_of(an_envelope(1)), {}, old.generation)
    assert set(await stores.second.store(rows_of(an_envelope(1)), {}, new.generation)) == {0}


async def test_a_store_that_was_set_back_gets_another_identity_from_the_first_who_notices(stores: Stores) -> None:
    mine, theirs = await stores.first.claim([P0]), await stores.second.claim([P1])
    set_back = await stores.snapshot()
    await stores.first.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, mine.generation)
    await stores.second.store([], {P1: Progress(1, None)}, theirs.generation)
    await set_back()
    with pytest.raises(FencedError):
        await stores.first.store(rows_of(an_envelope(1)), {P0: Progress(2, None)}, mine.generation)

    first, second = await stores.first.claim([P0]), await stores.second.claim([P1])

    assert first.store_id != mine.store_id == theirs.store_id, (
        "what is remembered for the old one may be gone from the new"
    )
    assert second.store_id == first.store_id
    again = await stores.first.claim([P0])
    assert again.store_id == first.store_id
    assert set(await stores.first.store(rows_of(an_envelope(0)), {}, again.generation)) == {0}


async def test_whoever_still_finds_its_own_last_write_is_fenced_when_another_noticed(stores: Stores) -> None:
    mine, theirs = await stores.first.claim([P0]), await stores.second.claim([P1])
    set_back = await stores.snapshot()
    await stores.first.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, mine.generation)
    await set_back()
    noticed = await stores.first.claim([P0])

    with pytest.raises(FencedError):
        await stores.second.store(rows_of(an_envelope(0, partition=P1)), {P1: Progress(1, None)}, theirs.generation)
    assert (await stores.second.claim([P1])).store_id == noticed.store_id != theirs.store_id
    assert set(await stores.first.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, noticed.generation)) == {0}


async def test_who_is_fenced_gives_a_store_that_was_set_back_its_new_name_before_a_successor_comes(
    stores: Stores,
) -> None:
    old = await stores.first.claim([P0])
    set_back = await stores.snapshot()
    await stores.first.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, old.generation)
    await set_back()
    with pytest.raises(FencedError):
        await stores.first.store(rows_of(an_envelope(1)), {P0: Progress(2, None)}, old.generation)

    successor = await stores.second.claim([P0])

    assert successor.store_id != old.store_id
    assert (await stores.first.claim([P0])).store_id == successor.store_id


async def test_a_store_set_back_to_before_there_was_any_progress_gets_another_identity(stores: Stores) -> None:
    set_back = await stores.snapshot()
    claim = await stores.first.claim([P0])
    await set_back()

    assert (await stores.first.claim([P0])).store_id != claim.store_id


async def test_a_store_that_others_have_written_to_keeps_its_identity(stores: Stores) -> None:
    old = await stores.first.claim([P0, P1])
    await stores.first.store([], {P0: Progress(1, None)}, old.generation)
    new = await stores.second.claim([P0])
    await stores.second.store([], {P0: Progress(2, None)}, new.generation)

    assert (await stores.first.claim([P0, P1])).store_id == old.store_id


async def test_progress_alone_can_be_written(stores: Stores) -> None:
    claim = await stores.first.claim([P0])
    await stores.first.store([], {P0: Progress(9, None)}, claim.generation)

    assert (await stores.second.claim([P0])).progress[P0] == Progress(9, None)


async def test_no_partitions_can_be_claimed_without_harm(stores: Stores) -> None:
    assert (await stores.first.claim([])).progress == {}


@pytest.fixture(params=["memory", "redis"])
async def seen(request: pytest.FixtureRequest) -> AsyncIterator[SeenIds]:
    if request.param == "memory":
        ids: SeenIds = MemorySeenIds()
        ids.use_store("a-store")
        yield ids
        return
    url = await asyncio.to_thread(request.getfixturevalue, "redis_url")
    # With the rights that a consumer has in the fleet, and no others.
    user = ("ACL", "SETUSER", "consumer", "reset", "on", ">of-a-test", *REDIS_USERS["consumer"].split())
    async with Redis.from_url(url) as admin:
        await admin.execute_command(*user)  # type: ignore[no-untyped-call]
    async with Redis.from_url(url, username="consumer", password="of-a-test", client_name="test") as client:
        ids = RedisSeenIds(client, ttl_s=60)
        ids.use_store("a-store")
        yield ids


async def asked(seen: SeenIds, envelopes: Sequence[Envelope]) -> set[int]:
    return set(await seen.duplicates(envelopes))


async def test_nothing_is_a_duplicate_before_it_is_remembered(seen: SeenIds) -> None:
    assert await asked(seen, [an_envelope(n) for n in range(100)]) == set()


async def test_a_copy_from_another_record_is_a_duplicate_and_a_redelivery_is_not(seen: SeenIds) -> None:
    events = [an_envelope(n) for n in range(50)]
    await seen.remember(events)
    copies = [an_envelope(n, partition=P1, event_id=UUID(bytes=e.event_id)) for n, e in enumerate(events)]

    assert await asked(seen, copies) == set(range(50))
    assert await asked(seen, events) == set()
    assert await asked(seen, [an_envelope(99), copies[3]]) == {1}


async def test_what_says_something_else_than_what_was_stored_is_for_the_store_to_judge(seen: SeenIds) -> None:
    events = [an_envelope(n) for n in range(50)]
    await seen.remember(events)
    others = [an_envelope(100 + n, event_id=UUID(bytes=e.event_id), message="other") for n, e in enumerate(events)]
    assert await asked(seen, others) == set()

    retried = [
        decoded(a_record(NOW, UUID(bytes=e.event_id)).model_copy(update={"origin_region": "region-b"}), 200 + n)
        for n, e in enumerate(events)
    ]
    assert await asked(seen, retried) == set(range(50))


async def test_the_first_record_stays_the_one_that_was_stored(seen: SeenIds) -> None:
    event = an_envelope(0)
    copy = an_envelope(1, event_id=UUID(bytes=event.event_id))
    await seen.remember([event])
    await seen.remember([copy])

    assert await asked(seen, [event, copy]) == {1}


async def test_the_same_id_at_another_time_is_not_remembered(seen: SeenIds) -> None:
    event = an_envelope(0)
    await seen.remember([event])
    others = [
        an_envelope(n, time=NOW + step, event_id=UUID(bytes=event.event_id))
        for n, step in enumerate((timedelta(microseconds=1), timedelta(minutes=1), timedelta(days=1)), 1)
    ]

    assert await asked(seen, others) == set()


async def test_another_stores_memory_is_not_believed(seen: SeenIds) -> None:
    event = an_envelope(0)
    copy = an_envelope(1, event_id=UUID(bytes=event.event_id))
    await seen.remember([event])
    seen.use_store("another-store")
    assert await asked(seen, [copy]) == set()
    seen.use_store("a-store")
    assert await asked(seen, [copy]) == {0}


async def test_under_a_live_stream_with_late_events_in_it_no_id_is_forgotten(seen: SeenIds) -> None:
    model, start_us = an_envelope(0), epoch_us(NOW) // 60_000_000 * 60_000_000
    stored: list[Envelope] = []
    for batch in range(1000):
        times_us = [start_us + batch * 20_000 + event * 1000 for event in range(15)]
        if batch % 10 == 0:
            await seen.remember([an_event_at(model, 10**6 + batch, times_us[0] - 45_000_000)])
        events = [an_event_at(model, batch * 15 + n, time_us) for n, time_us in enumerate(times_us)]
        await seen.remember(events)
        stored += events
    copies = [read_at(P1, event) for event in stored]

    assert len(await asked(seen, copies)) == len(copies) == 15_000


async def test_a_burst_into_a_minute_that_was_quiet_is_remembered_whole(seen: SeenIds) -> None:
    model, start_us = an_envelope(0), epoch_us(NOW) // 60_000_000 * 60_000_000
    first = an_event_at(model, 0, start_us)
    burst = [an_event_at(model, 1 + n, start_us + 10_000_000 + n * 50) for n in range(40_000)]
    await seen.remember([first])
    for begin in range(0, len(burst), 5000):
        await seen.remember(burst[begin : begin + 5000])
        await seen.remember(burst[begin : begin + 1000])  # again: nothing is kept twice

    for begin in range(0, len(burst), 5000):
        copies = [read_at(P1, event) for event in burst[begin : begin + 5000]]
        assert len(await asked(seen, copies)) == len(copies)
        assert not await asked(seen, burst[begin : begin + 5000])
    assert await asked(seen, [first, read_at(P1, first)]) == {1}
    assert not await asked(seen, [an_event_at(model, n, burst[n].time_us) for n in range(1000)])


def an_event_at(model: Envelope, offset: int, time_us: int) -> Envelope:
    identity = identity_of(uuid7().bytes, time_us)
    return read_at(P0, model._replace(offset=offset, time_us=time_us, identity=identity))


def read_at(partition: Partition, event: Envelope) -> Envelope:
    log = number_of("region-a", partition)
    memory = record(event.event_id, event.time_us, fingerprint(event.columns), log, event.offset)
    return event._replace(partition=partition, memory=memory)


# ---- what only the real ones have


async def a_store_with_tables(dsn: str) -> PostgresStore:
    await make_tables(dsn)
    return a_postgres_store(dsn, "one")


async def query(dsn: str, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(sql)
        return rows
    finally:
        await connection.close()


# Events that came through the mirror take the way that expects rows to be there already.
@pytest.mark.parametrize("partition", [P0, P1])
async def test_rows_get_ascending_seq_in_the_order_given(postgres: str, partition: Partition) -> None:
    store = await a_store_with_tables(postgres)
    claim = await store.claim([partition])
    # Of many sizes: where a row does not fit, PostgreSQL puts smaller ones that come later in front of it.
    random = Random(1)
    batches = [
        [
            an_envelope(1000 * b + n, partition=partition, message=f"{b}-{n} " + "x" * random.randint(0, 1500))
            for n in range(1000)
        ]
        for b in range(3)
    ]
    for batch in batches:
        await store.store(rows_of(*batch), {partition: Progress(1, None)}, claim.generation)
    stored = await query(postgres, "SELECT message, late, late_reason FROM logs ORDER BY seq")
    await store.close()

    assert [row["message"].split()[0] for row in stored] == [f"{b}-{n}" for b in range(3) for n in range(1000)]


@pytest.mark.parametrize("partition", [P0, P1])
async def test_all_that_is_known_of_an_event_is_stored(postgres: str, partition: Partition) -> None:
    record = LogRecord.model_construct(
        event_id=uuid7(),
        timestamp=NOW,
        service_name="käse",
        level="ERROR",
        message="two\nlines and 日本",
        correlation_id="trace/ü",
        attributes={"a": 1, "b": None, "ç": "x", "d": 1.5, "e": True},
        received_at=NOW + timedelta(microseconds=1),
        origin_region="region-b",
    )
    envelope = Decoder(partition, "region-a").decode(Read(0, record.encode()))
    assert isinstance(envelope, Envelope)
    late = an_envelope(1, partition=partition)
    store = await a_store_with_tables(postgres)
    claim = await store.claim([partition])
    before = datetime.now(UTC)
    await store.store([Row(envelope), Row(late, Lateness("delayed", 17))], {}, claim.generation)
    stored, second = await query(postgres, "SELECT * FROM logs ORDER BY seq")
    await store.close()

    fields = dict(stored)
    del fields["seq"]
    assert before <= fields.pop("stored_at") <= datetime.now(UTC)
    assert fields.pop("event_id") == UUID(str(record.event_id))
    assert json.loads(fields.pop("attributes")) == record.attributes
    assert (fields.pop("tenant_id"), fields.pop("tenant_event_id")) == (0, None)
    assert fields == {
        "event_time": NOW,
        "received_at": record.received_at,
        "service_name": record.service_name,
        "level": "ERROR",
        "message": record.message,
        "correlation_id": record.correlation_id,
        "origin_region": "region-b",
        "stored_by": f"region-a/one/{claim.generation}",
        "late": False,
        "late_by_ms": None,
        "late_reason": None,
    }
    assert (second["late"], second["late_by_ms"], second["late_reason"]) == (True, 17, "delayed")


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(sent=st.lists(client_texts(), min_size=1, max_size=40))
async def test_whatever_a_gateway_takes_is_stored_as_it_was_written(postgres: str, sent: list[bytes]) -> None:
    intake = Intake(NOW, uuid7)
    decoder = Decoder(P0, "region-a")
    envelopes: list[Envelope] = []
    expected: dict[tuple[str, str], dict[str, object]] = {}
    for offset, raw in enumerate(sent):
        event = intake.seal(raw)
        envelope = decoder.decode(Read(offset, to_record(event, "region-a").value))
        assert isinstance(envelope, Envelope), envelope
        envelopes.append(envelope)
        expected.setdefault((event.event_id, event.timestamp), json.loads(raw, parse_float=Decimal)["attributes"])
    store = await a_store_with_tables(postgres)
    claim = await store.claim([P0])
    await query(postgres, "TRUNCATE logs")
    await store.store(rows_of(*envelopes), {}, claim.generation)
    rows = await query(postgres, "SELECT event_id, event_time, attributes::text AS attributes FROM logs")
    await store.close()

    stored = {
        (str(row["event_id"]), format_time(row["event_time"])): json.loads(row["attributes"], parse_float=Decimal)
        for row in rows
    }
    assert {key: {k: scaled(v) for k, v in of.items()} for key, of in stored.items()} == {
        key: {k: scaled(v) for k, v in of.items()} for key, of in expected.items()
    }


async def test_of_a_batch_of_which_some_rows_are_there_the_others_are_stored_in_order(postgres: str) -> None:
    store = await a_store_with_tables(postgres)
    claim = await store.claim([P0])
    events = [an_envelope(n, message=str(n)) for n in range(100)]
    assert set(await store.store(rows_of(*events[40:60]), {P0: Progress(1, None)}, claim.generation)) == set(range(20))

    # Twice: the first call finds out, the second one knows. Then, long after, as if nothing had happened.
    for batch in (events[:50], events[50:]):
        new = await store.store(rows_of(*batch), {P0: Progress(2, None)}, claim.generation)
        assert {batch[index].offset for index in new} == {e.offset for e in batch if not 40 <= e.offset < 60}
    more = [[an_envelope(100 + n, message=str(100 + n))] for n in range(20)]
    for batch in more:
        assert set(await store.store(rows_of(*batch), {P0: Progress(3, None)}, claim.generation)) == {0}
    stored = await query(postgres, "SELECT message FROM logs ORDER BY seq")
    [progress] = await query(postgres, "SELECT next_offset FROM consumer_offsets")
    await store.close()

    assert [int(row["message"]) for row in stored] == [*range(40, 60), *range(40), *range(60, 120)]
    assert progress["next_offset"] == 3


async def test_a_row_that_postgres_refuses_refuses_the_batch_and_stores_none_of_it(postgres: str) -> None:
    store = await a_store_with_tables(postgres)
    await query(postgres, "ALTER TABLE logs ADD CONSTRAINT no_poison CHECK (message <> 'poison')")
    claim = await store.claim([P0])
    batch = rows_of(an_envelope(0), an_envelope(1, message="poison"))

    with pytest.raises(RowsRefusedError):
        await store.store(batch, {P0: Progress(2, None)}, claim.generation)
    assert await query(postgres, "SELECT 1 FROM logs") == []
    assert set(await store.store(batch[:1], {P0: Progress(1, None)}, claim.generation)) == {0}
    await store.close()


async def test_an_index_entry_that_is_too_large_is_a_refusal_and_not_an_outage(postgres: str) -> None:
    store = await a_store_with_tables(postgres)
    await query(postgres, "CREATE INDEX ON logs (message)")
    claim = await store.claim([P0])
    incompressible = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(20000))

    with pytest.raises(RowsRefusedError):
        await store.store(rows_of(an_envelope(0, message=incompressible)), {}, claim.generation)
    await store.close()


async def test_two_regions_storing_the_same_rows_at_once_do_not_deadlock(postgres: str) -> None:
    first, second = await a_store_with_tables(postgres), a_postgres_store(postgres, "two")
    mine, theirs = await first.claim([P0]), await second.claim([P1])
    batches = [[an_envelope(100 * b + n) for n in range(100)] for b in range(20)]

    async def store_all(store: PostgresStore, partition: Partition, generation: int) -> int:
        count = 0
        for batch in batches:
            rows = sorted(rows_of(*batch), key=lambda row: row.envelope.order)
            count += len(await store.store(rows, {partition: Progress(1, None)}, generation))
        return count

    counts = await asyncio.gather(store_all(first, P0, mine.generation), store_all(second, P1, theirs.generation))
    await first.close()
    await second.close()

    assert sum(counts) == 2000


async def test_a_postgres_that_is_away_is_unavailable_and_is_used_again_when_it_is_back(own_postgres: Server) -> None:
    store = await a_store_with_tables(own_postgres.address)
    claim = await store.claim([P0])
    own_postgres.kill()
    with pytest.raises(StoreUnavailableError):
        await store.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, claim.generation)
    own_postgres.start()
    assert set(await store.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, claim.generation)) == {0}
    await store.close()


async def test_a_transaction_that_had_no_answer_in_time_says_so(postgres: str) -> None:
    """The retry is then of a smaller batch."""
    await (await a_store_with_tables(postgres)).close()
    await query(
        postgres,
        "CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$",
    )
    await query(postgres, "CREATE TRIGGER slow BEFORE INSERT ON logs FOR EACH ROW EXECUTE FUNCTION take_long()")
    store = PostgresStore(postgres, region="region-a", instance="one", group="g", timeout_s=1)
    claim = await store.claim([P0])
    with pytest.raises(StoreTimedOutError):
        await store.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, claim.generation)
    await store.close()


@pytest.mark.parametrize("rows", [0, 2])
async def test_what_was_there_before_is_looked_up_by_its_key_also_on_a_day_that_has_just_begun(
    postgres: str, rows: int
) -> None:
    """The plan is kept while the day grows: one that reads the whole day for each row would stall all writes then."""
    store = await a_store_with_tables(postgres)
    claim = await store.claim([P0])
    there = rows_of(*(an_envelope(offset) for offset in range(max(1, rows))))
    if rows:
        await store.store(there, {}, claim.generation)
        await query(postgres, "ANALYZE logs")
    connection = await store._connection.open()
    plan = [line for [line] in await connection.fetch("EXPLAIN " + FOUND.format(days=bounds(days_of(there))))]
    await store.close()

    [looked_up] = [
        number for number, line in enumerate(plan) if re.search(r"Index Scan using logs\w*_pkey on logs", line)
    ]
    assert "(event_time = i.event_time)" in plan[looked_up + 1]
    assert "(event_id = i.event_id)" in plan[looked_up + 1]


async def test_rows_say_in_whose_order_they_are(postgres: str) -> None:
    store = await a_store_with_tables(postgres)
    claim = await store.claim([P0])
    own, mirrored, late = rows_of(an_envelope(0), an_envelope(1), an_envelope(2))
    mirrored = mirrored._replace(order="region-b")
    late = late._replace(order="region-a/1", lateness=Lateness("delayed", 1))
    await store.store([mirrored], {}, claim.generation)
    await store.store([own, late], {}, claim.generation)
    rows = await query(postgres, "SELECT stored_by FROM logs ORDER BY seq")
    await store.close()

    writer = f"region-a/one/{claim.generation}"
    assert [row["stored_by"] for row in rows] == [f"{writer}/region-b", writer, f"{writer}/region-a/1"]


@pytest.mark.parametrize("is_shared", [True, False])
async def test_what_came_through_the_mirror_goes_straight_in_where_no_other_region_stores_it(
    postgres: str,
    is_shared: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collided = Mock()
    monkeypatch.setattr(Collisions, "collided", collided)
    await (await a_store_with_tables(postgres)).close()
    store = PostgresStore(postgres, region="region-a", instance="one", group="g", timeout_s=10, is_shared=is_shared)
    claim = await store.claim([P0])
    mirrored = rows_of(an_envelope(0, partition=Partition("region-b.logs", 0)))
    await query(postgres, f"SELECT ensure_log_partition('{NOW:%Y-%m-%d}')")
    await store._days.learn(await store._connection.open())
    first = await store.store(mirrored, {}, claim.generation)
    again = await store.store(mirrored, {}, claim.generation)
    await store.close()

    assert (set(first), set(again)) == ({0}, set())
    assert collided.called is not is_shared, "only a batch that went straight in can collide"


async def test_a_call_to_a_thread_that_is_cancelled_ends_there_before_the_next_one_begins(postgres: str) -> None:
    direct = await a_store_with_tables(postgres)
    store = StoreThread(direct)
    claim = await store.claim([P0])
    blocker = await asyncpg.connect(postgres)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE logs")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await store.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, claim.generation)
        again = asyncio.create_task(store.claim([P0]))
        done, _ = await asyncio.wait({again}, timeout=patience(5))
        assert done, "the transaction that was given up still holds its locks"
    claim = again.result()
    assert claim.progress[P0].next_offset is None
    assert set(await store.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, claim.generation)) == {0}
    await store.close()
    await store.close()
    await blocker.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "store"]


async def test_a_database_set_back_within_a_generation_is_noticed(postgres: str) -> None:
    store = await a_store_with_tables(postgres)
    claim = await store.claim([P0])
    await store.store(rows_of(an_envelope(0)), {P0: Progress(1, None)}, claim.generation)
    [backup] = await query(postgres, "SELECT next_offset, stamp FROM consumer_offsets")
    await store.store(rows_of(an_envelope(1)), {P0: Progress(2, None)}, claim.generation)
    await query(postgres, f"UPDATE consumer_offsets SET next_offset = 1, stamp = '{backup['stamp']}'")

    with pytest.raises(FencedError):
        await store.store(rows_of(an_envelope(2)), {P0: Progress(3, None)}, claim.generation)
    assert (await store.claim([P0])).progress[P0].next_offset == 1
    await store.close()


@pytest.mark.parametrize("fault", ["kill", "suspend", "out of memory", "read only", "wrong type"])
async def test_a_redis_that_cannot_be_asked_says_so_and_is_asked_again_later(own_redis: Server, fault: str) -> None:
    now = 0.0
    client = Redis.from_url(
        own_redis.address,
        socket_timeout=patience(0.3),
        socket_connect_timeout=patience(0.3),
        retry=Retry(NoBackoff(), 0),
    )
    seen = RedisSeenIds(client, ttl_s=60, clock=lambda: now)
    event = an_envelope(0)
    if fault == "wrong type":
        await client.hset(f"{KEYS}:{event.time_us // 60_000_000}", "another", "program's")
    elif fault == "out of memory":
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", "1")
    elif fault == "read only":
        await client.replicaof("127.0.0.1", "1")
    else:
        getattr(own_redis, fault)()
    with pytest.raises(SeenIdsUnavailableError):
        await seen.remember([event])
    # After a failed write the adapter writes nothing for a moment. A Redis that answers may still be asked.
    with pytest.raises(SeenIdsUnavailableError, match="left alone"):
        await seen.remember([event])
    if fault in ("kill", "suspend"):
        with pytest.raises(SeenIdsUnavailableError, match="left alone"):
            await seen.duplicates([event])
    elif fault == "read only":
        assert set(await seen.duplicates([event])) == set()

    if fault == "wrong type":
        await client.flushall()
    elif fault == "out of memory":
        await client.config_set("maxmemory", "0")
    elif fault == "read only":
        await client.replicaof("NO", "ONE")
    elif fault == "kill":
        own_redis.start()
    else:
        own_redis.resume()
    now += 10
    await seen.remember([event])
    assert set(await seen.duplicates([an_envelope(1, event_id=UUID(bytes=event.event_id))])) == {0}
    await client.aclose()
