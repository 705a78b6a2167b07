"""A fleet is brought to this release part by part: services of both releases work together, tables change, nothing is lost."""

import asyncio

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from earlier import unpacked
from surroundings import LOCAL, MIRRORED, PASSWORDS, Surroundings, an_event, as_user, ids, read_all
from test_days import holding
from test_migrations import OLD_ROWS
from test_roles import a_cluster_of_compose, a_cluster_of_native_mode
from test_tail import Tail

from consumer.adapters.postgres_roles import connect_as_admin, connect_as_owner, ensure_roles
from consumer.roles import OWNER
from consumer.schema import ensure_schema
from shared.event.model import LogRecord
from shared.process.http_client import http_client
from testbed.consumer_process import ROOT, ConsumerProcess
from testbed.patience import eventually, patience
from testbed.server import Server, free_port, recreate_topics

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
    async with around.process_of(release, "before", owner(around)) as process:
        await eventually(lambda: ready(process), "the earlier release is ready")
        yield process


def owner(around: Surroundings) -> dict[str, str]:
    """Let a consumer log in as the owner of the tables, as all did before each service had a role."""
    return {"CONSUMER_POSTGRES_DSN": around.postgres}


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

    # A console that comes before its schema, and stays.
    reader = running("console", ROOT, {"CONSOLE_POSTGRES_DSN": around.postgres}, until=ConsumerProcess.readiness)
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(a_fleet_of_before(around, earlier_release))
        reading = await stack.enter_async_context(reader)
        http = await stack.enter_async_context(http_client(patience(30)))
        flow = asyncio.create_task(traffic())
        await eventually(lambda: len(sent) > 100, "events flow")
        too_early = await http.get(f"{reading.url}/api/logs?from=-1d")
        assert (too_early.status_code, "schema" in too_early.json()["detail"]) == (503, True), too_early.text
        await apply(around.postgres)
        found = await http.get(f"{reading.url}/api/logs?from=-1d")
        assert found.status_code == 200, found.text
        assert {row["eventId"] for row in found.json()["items"]} <= {str(event.event_id) for event in sent}
        tail = Tail(reading.url)
        await stack.enter_async_context(tail.following())
        tailed_from = len(sent)
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
            # Rows of the earlier consumer among them, once the present one had its partitions.
            after = {str(event.event_id) for event in sent[tailed_from:]}
            await eventually(lambda: after <= set(tail.seen), "the tail has all")
            assert len(tail.seen) == len(set(tail.seen)), "each once"
            assert tail.resets == []


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
    async with around.process_of(earlier_release, "before", owner(around)) as before:
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


# ---------------------------------------------------------------- each service gets a role of its own


CLUSTERS = pytest.mark.parametrize("made", [a_cluster_of_compose, a_cluster_of_native_mode], ids=["compose", "native"])
Made = Callable[[str], Awaitable[str]]


async def make_roles(admin_dsn: str) -> None:
    """Do what the one-shot does as the superuser; people keep their password."""
    admin = await connect_as_admin(admin_dsn)
    assert await ensure_roles(admin, PASSWORDS | {"logs": "test"})
    connection = await connect_as_owner(admin, admin_dsn)
    await ensure_schema(connection, wait_s=patience(120))
    await connection.close()
    await admin.close()


async def owners(admin_dsn: str) -> set[str]:
    admin = await asyncpg.connect(admin_dsn)
    rows = await admin.fetch(
        "SELECT relowner::regrole::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "UNION SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    await admin.close()
    return {row["name"] for row in rows}


async def end_sessions_of_consumers(admin_dsn: str) -> None:
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'log-consumer %'"
    )
    await admin.close()


async def is_not_ready(process: ConsumerProcess) -> bool:
    return not await ready(process)


@CLUSTERS
async def test_when_roles_are_made_an_earlier_consumer_waits_and_what_it_leaves_is_stored_once(
    made: Made, own_postgres: Server, kafka: str, redis_url: str, earlier_release: Path
) -> None:
    admin = await made(own_postgres.address)
    around = Surroundings(kafka, as_user("logs", "test", admin), redis_url)
    sent: list[LogRecord] = []

    async def send() -> None:
        events = events_of_all_times()
        await around.send(events)
        sent.extend(events)

    async with a_fleet_of_before(around, earlier_release) as before:
        # The schema first, as the user that owns the tables: both releases log in as it, and store.
        connection = await asyncpg.connect(around.postgres)
        assert not await ensure_roles(connection, PASSWORDS)
        await ensure_schema(connection, wait_s=patience(120))
        await connection.close()
        async with around.process("as-before", CONSUMER_POSTGRES_DSN=around.postgres) as present:
            await eventually(lambda: ready(present), "the present release is ready as user logs")
            await send()
            await around.rows(OLD_COUNT + len(sent), within_s=60)
        # Then the roles. A session of a superuser stays one; a new one may read, and no more.
        await make_roles(admin)
        await end_sessions_of_consumers(admin)
        await send()
        await eventually(lambda: is_not_ready(before), "the earlier release says that it cannot store")
        assert len(await around.query("SELECT 1 FROM logs")) == OLD_COUNT + len(sent) - 40
    async with around.process("present") as present:
        await eventually(lambda: ready(present), "the present release is ready with a role of its own")
        await send()
        await each_is_stored_once(around, sent)
    assert await owners(admin) == {OWNER}


@CLUSTERS
async def test_roles_come_while_an_earlier_consumer_stores_and_nothing_is_lost(
    made: Made, own_postgres: Server, kafka: str, redis_url: str, earlier_release: Path
) -> None:
    """As compose mode does it: roles and migrations at once, and then the consumers are replaced."""
    admin = await made(own_postgres.address)
    around = Surroundings(kafka, as_user("logs", "test", admin), redis_url)
    sent: list[LogRecord] = []
    over = asyncio.Event()

    async def traffic() -> None:
        while not over.is_set():
            events = events_of_all_times()
            await around.send(events)
            sent.extend(events)
            await asyncio.sleep(0.2)

    async with a_fleet_of_before(around, earlier_release):
        flow = asyncio.create_task(traffic())
        await eventually(lambda: len(sent) > 100, "events flow")
        await make_roles(admin)
        count = len(sent)
        await eventually(lambda: len(sent) > count + 40, "events flow on")
    over.set()
    await flow
    async with around.process("present"):
        await each_is_stored_once(around, sent)
    await make_roles(admin)  # as the next start does
    assert await owners(admin) == {OWNER}


async def test_to_go_back_behind_the_roles_user_logs_gets_its_rights_again(
    own_postgres: Server, kafka: str, redis_url: str, earlier_release: Path
) -> None:
    admin = await a_cluster_of_compose(own_postgres.address)
    around = Surroundings(kafka, as_user("logs", "test", admin), redis_url)
    sent = events_of_all_times()
    async with a_fleet_of_before(around, earlier_release):
        await around.send(sent)
        await around.rows(OLD_COUNT + len(sent))
    await make_roles(admin)
    # As docs/operating.md says.
    connection = await asyncpg.connect(admin)
    for statement in ("ALTER ROLE logs SUPERUSER", "ALTER ROLE logs RESET ALL"):
        await connection.execute(statement)
    await connection.close()
    connection = await asyncpg.connect(around.postgres)
    await connection.execute((earlier_release / "consumer/schema.sql").read_text())
    await connection.close()
    async with around.process_of(earlier_release, "before", owner(around)) as before:
        await eventually(lambda: ready(before), "the earlier release is ready again")
        more = events_of_all_times()
        await around.send(more)
        await around.rows(OLD_COUNT + len(sent) + len(more))
    await make_roles(admin)
    async with around.process("present"):
        last = events_of_all_times()
        await around.send(last)
        await each_is_stored_once(around, [*sent, *more, *last])
    assert await owners(admin) == {OWNER}


# ---------------------------------------------------------------- other services


@asynccontextmanager
async def running(
    module: str,
    folder: Path,
    variables: Mapping[str, str],
    *,
    port: int | None = None,
    until: Callable[[ConsumerProcess], Awaitable[object]] = ready,
) -> AsyncIterator[ConsumerProcess]:
    process = ConsumerProcess(variables, module, folder, port=port)
    await process.start()
    try:
        await eventually(lambda: until(process), f"the {module} is there")
        yield process
    finally:
        await process.close()


def to_kafka(around: Surroundings) -> dict[str, str]:
    return {"PRODUCER_REGION": "region-a", "PRODUCER_KAFKA_BOOTSTRAP_SERVERS": around.kafka}


BODY = {"serviceName": "s", "level": "INFO", "message": "m", "correlationId": "c", "attributes": {"n": 1}}


@pytest.mark.parametrize("earlier", ["gateway", "producer"])
async def test_a_gateway_and_a_producer_of_both_releases_understand_each_other(
    around: Surroundings, earlier_release: Path, earlier: str
) -> None:
    folders = {service: earlier_release if service == earlier else ROOT for service in ("gateway", "producer")}
    async with running("producer", folders["producer"], to_kafka(around)) as producer:
        # An earlier gateway has to be told where a producer of this release takes hand-offs.
        url = producer.internal_url if earlier == "gateway" else producer.url
        async with (
            running("gateway", folders["gateway"], {"GATEWAY_REGIONS": f"region-a={url}"}) as gateway,
            http_client(patience(30)) as client,
        ):
            one = [await client.post(f"{gateway.url}/api/logs", json=BODY) for _ in range(5)]
            many = await client.post(f"{gateway.url}/api/logs/batch", json=[BODY] * 20)
    async with around.consumer():
        rows = await around.rows(25)

    assert [answer.status_code for answer in [*one, many]] == [202] * 6
    assert {answer.json()["eventId"] for answer in one} <= {str(row["event_id"]) for row in rows}


def grew(accepted: Sequence[str], beyond: int) -> bool:
    return len(accepted) > beyond


async def test_a_gateway_that_was_upgraded_first_goes_on_while_its_producer_is_replaced_and_put_back(
    around: Surroundings, earlier_release: Path
) -> None:
    """By the settings of before, which name the producer's public address."""
    accepted: list[str] = []
    answers: list[int] = []
    over = asyncio.Event()
    port = free_port()

    async def traffic(url: str) -> None:
        async with http_client(patience(30)) as client:
            while not over.is_set():
                event_id = str(uuid4())
                event = BODY | {"eventId": event_id, "timestamp": datetime.now(UTC).isoformat()}
                while (answer := await client.post(f"{url}/api/logs", json=event)).status_code != 202:
                    answers.append(answer.status_code)
                accepted.append(event_id)

    regions = {"GATEWAY_REGIONS": f"region-a=http://127.0.0.1:{port}", "GATEWAY_DEADLINE_MS": "500"}
    gateway = ConsumerProcess(regions, "gateway")
    await gateway.start()
    try:
        await eventually(gateway.readiness, "the gateway answers")
        flow = asyncio.create_task(traffic(gateway.url))
        for folder in (earlier_release, ROOT, earlier_release, ROOT):
            async with running("producer", folder, to_kafka(around), port=port):
                count = len(accepted)
                await eventually(partial(grew, accepted, count + 20), f"events flow, by {folder}")
        async with running("producer", ROOT, to_kafka(around), port=port):
            over.set()
            await flow
    finally:
        await gateway.close()
    async with around.consumer():
        rows = await around.rows(len(accepted))

    assert sorted(accepted) == sorted(str(row["event_id"]) for row in rows)
    assert set(answers) <= {503}


async def test_a_gateway_that_is_upgraded_last_refuses_meanwhile_and_nothing_is_lost(
    around: Surroundings, earlier_release: Path
) -> None:
    event = BODY | {"eventId": str(uuid4()), "timestamp": datetime.now(UTC).isoformat()}
    async with running("producer", ROOT, to_kafka(around)) as producer, http_client(patience(30)) as client:
        regions = {"GATEWAY_REGIONS": f"region-a={producer.url}", "GATEWAY_DEADLINE_MS": "500"}
        async with running("gateway", earlier_release, regions) as gateway:
            refused = await client.post(f"{gateway.url}/api/logs", json=event)
        async with running("gateway", ROOT, regions) as gateway:
            taken = await client.post(f"{gateway.url}/api/logs", json=event)
    async with around.consumer():
        rows = await around.rows(1)

    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    assert taken.status_code == 202
    assert [str(row["event_id"]) for row in rows] == [event["eventId"]]
