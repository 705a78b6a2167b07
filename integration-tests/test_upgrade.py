"""A fleet is brought to this release part by part: services of both releases work together, tables change, nothing is lost."""

import asyncio

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from earlier import unpacked
from surroundings import LOCAL, MIRRORED, Surroundings, an_event, ids, read_all
from test_days import holding
from test_migrations import OLD_ROWS

from consumer.schema import ensure_schema
from shared.event.model import LogRecord
from shared.process.http_client import http_client
from testbed.consumer_process import ROOT, ConsumerProcess
from testbed.patience import eventually, patience
from testbed.server import recreate_topics

pytestmark = pytest.mark.services

OLD_COUNT = 20_000


@pytest.fixture
def earlier_release(tmp_path: Path) -> Path:
    return unpacked("b569f61", tmp_path)


@asynccontextmanager
async def a_fleet_of_before(around: Surroundings, release: Path) -> AsyncIterator[ConsumerProcess]:
    """Run a consumer of an earlier release on its own schema, with old rows in the default partition."""
    await recreate_topics(around.kafka, [LOCAL, MIRRORED, "logs-dlq"])
    connection = await asyncpg.connect(around.postgres)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.execute((release / "consumer/schema.sql").read_text())
    await connection.execute(OLD_ROWS, OLD_COUNT)
    await connection.close()
    async with around.process_of(release, "before") as process:
        await eventually(lambda: ready(process), "the earlier release is ready")
        yield process


async def ready(process: ConsumerProcess) -> bool:
    return bool((await process.readiness())["status"] == "ready")


def events_of_all_times(count: int = 40) -> list[LogRecord]:
    """Make events of today, of days that have no partition yet, and of far ones in the past and to come."""
    now = datetime.now(UTC)
    times = [
        now,
        now - timedelta(days=5),
        now - timedelta(days=40),
        now - timedelta(days=9000),
        now + timedelta(days=20),
    ]
    return [an_event(times[n % 5] + timedelta(microseconds=n), correlation_id=f"c{n}") for n in range(count)]


async def partitions_of(process: ConsumerProcess) -> int:
    return len((await process.readiness())["partitions"])


async def apply(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await ensure_schema(connection, wait_s=patience(120))
    await connection.close()


async def each_is_stored_once(around: Surroundings, sent: Sequence[LogRecord]) -> None:
    rows = await around.rows(OLD_COUNT + len(sent), within_s=60)
    assert sorted(ids(rows)[OLD_COUNT:]) == sorted(event.event_id for event in sent)
    assert await around.out_of_order() == 0
    assert await read_all(around.kafka, "logs-dlq") == []


async def test_earlier_and_present_consumers_share_a_region_while_its_tables_change(
    around: Surroundings, earlier_release: Path
) -> None:
    sent: list[LogRecord] = []
    over = asyncio.Event()

    async def traffic() -> None:
        while not over.is_set():
            events = events_of_all_times()
            # Both regions' copies, as the mirror makes them.
            await around.send(events)
            await around.send(events, MIRRORED)
            sent.extend(events)
            await asyncio.sleep(0.2)

    async with a_fleet_of_before(around, earlier_release) as before:
        flow = asyncio.create_task(traffic())
        await eventually(lambda: len(sent) > 100, "events flow")
        await apply(around.postgres)
        count = len(sent)
        await eventually(lambda: len(sent) > count + 100, "events flow on, on the new tables")
        async with around.process("present") as present:
            await eventually(lambda: partitions_of(present), "the present release has taken over partitions")
            await eventually(lambda: partitions_of(before), "and the earlier one has kept some")
            count = len(sent)
            await eventually(lambda: len(sent) > count + 100, "both work")
            await before.close()
            count = len(sent)
            await eventually(lambda: len(sent) > count + 100, "the present release goes on alone")
            over.set()
            await flow
            await each_is_stored_once(around, sent)


async def test_an_upgrade_can_be_taken_back(around: Surroundings, earlier_release: Path) -> None:
    sent = events_of_all_times()
    async with a_fleet_of_before(around, earlier_release):
        await around.send(sent)
        await around.rows(OLD_COUNT + len(sent))
    await apply(around.postgres)
    async with around.process("present") as present:
        await eventually(lambda: ready(present), "the present release is ready")
        more = events_of_all_times()
        await around.send(more)
        await around.rows(OLD_COUNT + 2 * len(sent))
    # As its one-shot does with each start.
    connection = await asyncpg.connect(around.postgres)
    await connection.execute((earlier_release / "consumer/schema.sql").read_text())
    await connection.close()
    async with around.process_of(earlier_release, "before") as before:
        await eventually(lambda: ready(before), "the earlier release is ready again")
        last = events_of_all_times()
        await around.send(last)
        await each_is_stored_once(around, [*sent, *more, *last])
    await apply(around.postgres)
    [function] = await around.query("SELECT prosrc FROM pg_proc WHERE proname = 'ensure_log_partition'")
    assert "make_log_partition" in function["prosrc"], "functions are those of this release again"


async def test_a_consumer_that_comes_before_its_schema_waits_for_it(
    around: Surroundings, earlier_release: Path
) -> None:
    sent = events_of_all_times()
    async with a_fleet_of_before(around, earlier_release) as before:
        await before.close()
        await around.send(sent)
        async with around.process("present") as present:
            await eventually(lambda: waits_for_postgres(present), "it says what it waits for")
            await apply(around.postgres)
            await each_is_stored_once(around, sent)
            await eventually(lambda: ready(present), "it is ready")


async def waits_for_postgres(process: ConsumerProcess) -> bool:
    answer = await process.readiness()
    return answer["status"] != "ready" and any(reason.startswith("postgres:") for reason in answer["reasons"])


async def test_a_reader_no_longer_stops_an_earlier_consumer(around: Surroundings, earlier_release: Path) -> None:
    async with a_fleet_of_before(around, earlier_release):
        await apply(around.postgres)
        sent = events_of_all_times()
        async with holding(around.postgres, "SELECT count(*) FROM logs"):
            await around.send(sent)
            await around.rows(OLD_COUNT + len(sent), within_s=60)


@asynccontextmanager
async def running(module: str, folder: Path, **variables: str) -> AsyncIterator[ConsumerProcess]:
    process = ConsumerProcess(variables, module, folder)
    await process.start()
    try:
        await eventually(lambda: ready(process), f"the {module} is ready")
        yield process
    finally:
        await process.close()


@pytest.mark.parametrize("earlier", ["gateway", "producer"])
async def test_a_gateway_and_a_producer_of_both_releases_understand_each_other(
    around: Surroundings, earlier_release: Path, earlier: str
) -> None:
    folders = {service: earlier_release if service == earlier else ROOT for service in ("gateway", "producer")}
    body = {"serviceName": "s", "level": "INFO", "message": "m", "correlationId": "c", "attributes": {"n": 1}}
    to_kafka = {"PRODUCER_REGION": "region-a", "PRODUCER_KAFKA_BOOTSTRAP_SERVERS": around.kafka}
    async with (
        running("producer", folders["producer"], **to_kafka) as producer,
        running("gateway", folders["gateway"], GATEWAY_REGIONS=f"region-a={producer.url}") as gateway,
        http_client(patience(30)) as client,
    ):
        one = [await client.post(f"{gateway.url}/api/logs", json=body) for _ in range(5)]
        many = await client.post(f"{gateway.url}/api/logs/batch", json=[body] * 20)
    async with around.consumer():
        rows = await around.rows(25)

    assert [answer.status_code for answer in [*one, many]] == [202] * 6
    assert {answer.json()["eventId"] for answer in one} <= {str(row["event_id"]) for row in rows}
