"""
Logs that are not as a consumer left them, against a real Kafka: what can be read is stored, what never can is told, exactly.

What was decided about each case is tested without servers in `consumer/tests/test_beginnings.py`.
"""

import asyncio

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from surroundings import BELIEVED_MS, LOCAL, PATIENT_MS, Surroundings, an_event, committed_offsets, ids

from consumer.adapters.kafka_replication import KafkaReplication
from consumer.service import ConsumerService
from shared.event.model import LogRecord
from testbed.patience import eventually
from testbed.server import Server, recreate_topics

pytestmark = pytest.mark.services
REASONS = ("retention", "truncated", "recreated")


def some_events(count: int) -> list[LogRecord]:
    return [an_event(datetime.now(UTC), correlation_id=f"c{i % 50}") for i in range(count)]


async def purge(around: Surroundings, topic: str = LOCAL) -> None:
    """Remove every record that the topic holds, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=around.kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, n): RecordsToDelete(before_offset=-1) for n in range(6)})
    finally:
        await admin.close()


def told(around: Surroundings) -> dict[str, float]:
    counts = {r: around.counted("consumer_skipped_records_total", topic=LOCAL, reason=r) for r in REASONS}
    return {reason: count for reason, count in counts.items() if count}


def stored(around: Surroundings, events: Sequence[LogRecord]) -> Callable[[], Awaitable[bool]]:
    wanted = {event.event_id for event in events}

    async def look() -> bool:
        return wanted <= set(ids(await around.query("SELECT event_id FROM logs")))

    return look


async def test_what_retention_removes_before_a_running_consumer_reads_it_is_told(
    kafka: str, own_postgres: Server, redis_url: str
) -> None:
    around = Surroundings(kafka, own_postgres.address, redis_url)
    await around.prepare()
    before, unread, after = some_events(30), some_events(900), some_events(30)

    async with around.consumer(buffer_max_events=100, batch_max_events=50) as service:
        await around.send(before)
        await around.rows(len(before))
        own_postgres.suspend()
        try:
            await around.send(unread)
            await eventually(lambda: not service.readiness().ready, "the outage is reported")
            await purge(around)
        finally:
            own_postgres.resume()
        await around.send(after)
        await eventually(stored(around, after), "what came afterwards is stored")
        await eventually(lambda: service.readiness().details["buffered"] == 0, "all is stored")
        rows = await around.query("SELECT event_id FROM logs")

    lost = len(before + unread + after) - len(rows)
    assert lost > 0, "the test is about records that no consumer has read"
    assert told(around) == {"retention": lost}


async def test_what_retention_removes_while_no_consumer_runs_is_told(around: Surroundings) -> None:
    before, unread, after = some_events(30), some_events(70), some_events(30)

    async with around.consumer():
        await around.send(before)
        await around.rows(len(before))
    await around.send(unread)
    await purge(around)
    await around.send(after)
    async with around.consumer():
        rows = await around.rows(len(before) + len(after))

    assert set(ids(rows)) == {event.event_id for event in before + after}
    assert told(around) == {"retention": len(unread)}


async def test_of_a_partition_that_had_no_record_yet_retention_is_told_too(around: Surroundings) -> None:
    unread = some_events(70)

    async with around.consumer():
        pass
    await around.send(unread)
    await purge(around)
    async with around.consumer():
        await eventually(lambda: told(around) == {"retention": len(unread)}, "all of them are told")


async def test_a_topic_made_anew_under_a_running_consumer_is_read_from_its_beginning(around: Surroundings) -> None:
    before, after = some_events(300), some_events(400)

    async with around.consumer():
        await around.send(before)
        await around.rows(len(before))
        await recreate_topics(around.kafka, [LOCAL])
        await around.send(after)
        rows = await around.rows(len(before) + len(after))

    assert set(ids(rows)) == {event.event_id for event in before + after}
    assert told(around) == {}, "nothing was lost"


async def test_what_was_read_of_a_topic_that_is_deleted_is_stored_all_the_same(around: Surroundings) -> None:
    """It cannot be read a second time."""
    held = some_events(300)

    async with around.consumer(reorder_window_ms=PATIENT_MS, reorder_max_future_ms=BELIEVED_MS) as service:
        await around.send(held)
        await eventually(lambda: service.readiness().details["buffered"] == len(held), "all are held back")
        await recreate_topics(around.kafka, [LOCAL])
        rows = await around.rows(len(held))

    assert set(ids(rows)) == {event.event_id for event in held}
    assert told(around) == {}


@pytest.mark.parametrize("grown", [False, True], ids=["shorter than before", "grown past the old place"])
async def test_a_log_that_lost_its_end_while_nobody_read_it_is_read_from_its_beginning(
    around: Surroundings, *, grown: bool
) -> None:
    before = some_events(60)
    async with around.consumer():
        await around.send(before)
        await around.rows(len(before))
    # As if the log had held other records, ten more in each partition, three of them never read.
    await around.query(
        "UPDATE consumer_offsets SET next_offset = next_offset + 10, last_offset = next_offset + 9, last_record = 1, "
        "log_end = next_offset + 13 WHERE topic = 'logs' AND next_offset IS NOT NULL"
    )
    await around.query("UPDATE consumer_offsets SET topic_id = NULL")
    committed = {tp: offset for tp, offset in (await committed_offsets(around)).items() if tp.topic == LOCAL}
    after = some_events(1200 if grown else 12)
    await around.send(after)

    async with around.consumer():
        rows = await around.rows(len(before) + len(after))

    assert set(ids(rows)) == {event.event_id for event in before + after}
    [known] = await around.query("SELECT count(*) AS n FROM consumer_offsets WHERE topic = 'logs'")
    assert known["n"] == len(committed)
    assert told(around) == {"truncated": 3 * len(committed)}
    async with around.consumer():
        pass
    assert told(around) == {"truncated": 3 * len(committed)}, "it is told once"


async def test_a_broker_that_was_away_is_read_on_where_it_was(own_kafka: Server, postgres: str, redis_url: str) -> None:
    around = Surroundings(own_kafka.address, postgres, redis_url)
    await around.prepare()
    before, after = some_events(60), some_events(60)

    async with around.consumer() as service:
        await around.send(before)
        await around.rows(len(before))
        generation = {row["stored_by"] for row in await around.query("SELECT stored_by FROM logs")}
        own_kafka.kill()
        await eventually(lambda: not service.readiness().ready, "the outage is reported")
        own_kafka.start()
        await around.send(after)
        rows = await around.rows(len(before) + len(after), within_s=60)

    assert set(ids(rows)) == {event.event_id for event in before + after}
    assert told(around) == {}
    assert generation


async def test_an_existing_database_gets_what_logs_are_known_by(around: Surroundings) -> None:
    """Its rows have no fingerprints of their logs; the consumer trusts the offsets once more, as it always did."""
    before, after = some_events(30), some_events(30)
    async with around.consumer():
        await around.send(before)
        await around.rows(len(before))
    await around.query(
        "UPDATE consumer_offsets SET topic_id = NULL, last_offset = NULL, last_record = NULL, log_end = NULL"
    )

    async with around.consumer() as service:
        await around.send(after)
        rows = await around.rows(len(before) + len(after))
        await asyncio.wait_for(_known(around, service), 20)

    assert set(ids(rows)) == {event.event_id for event in before + after}
    assert told(around) == {}


async def test_a_topic_is_known_by_its_id_in_the_forms_that_fleets_have_kept(around: Surroundings) -> None:
    """Another form in the store would be another topic, and so would one in what a gateway is told."""
    looker = KafkaReplication(bootstrap_servers=around.kafka, client_id="test", sources=[])
    async with around.consumer():
        await around.send(some_events(1))
        await around.rows(1)
    await looker.start()
    try:
        await looker.look()
    finally:
        await looker.stop()
    rows = await around.query("SELECT topic_id::text FROM consumer_offsets WHERE topic = 'logs'")

    assert {row["topic_id"] for row in rows} == {str(UUID(hex=looker.topic_ids[LOCAL]))}
    assert len(looker.topic_ids[LOCAL]) == 32


async def _known(around: Surroundings, service: ConsumerService) -> None:
    assert service.readiness().ready
    sql = "SELECT count(*) AS n FROM consumer_offsets WHERE topic = 'logs' AND last_record IS NOT NULL"

    async def look() -> bool:
        return bool((await around.query(sql))[0]["n"] == 6)

    await eventually(look, "what was read is known by its last record")
