"""What a consumer sees of replication in a real Kafka, with MirrorMaker's topics written by the test."""

import asyncio
import json

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from consumer.adapters.kafka_replication import TAIL_RECORDS, KafkaReplication
from consumer.replication import ReplicationProbe
from shared.wire.replication import Copies, Pair
from testbed.patience import eventually
from testbed.server import Server, recreate_topics

pytestmark = pytest.mark.services

NOTES = "mm2-offsets.region-a.internal"
SYNCS = "mm2-offset-syncs.region-a.internal"
BEATS = "region-a.heartbeats"


def note(partition: int, offset: int) -> tuple[bytes, bytes]:
    where = {"cluster": "region-a", "partition": partition, "topic": "logs"}
    return json.dumps(["MirrorSourceConnector", where]).encode(), json.dumps({"offset": offset}).encode()


def sync(partition: int, upstream: int, downstream: int = 0) -> tuple[bytes, bytes]:
    return b"\0\4logs" + partition.to_bytes(4, "big"), upstream.to_bytes(8, "big") + downstream.to_bytes(8, "big")


@asynccontextmanager
async def looking(kafka: str) -> AsyncIterator[KafkaReplication]:
    looker = KafkaReplication(bootstrap_servers=kafka, client_id="test", sources=["region-a"])
    await looker.start()
    try:
        yield looker
    finally:
        await looker.stop()


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    await recreate_topics(kafka, ["logs", NOTES], partitions=3)
    await recreate_topics(kafka, ["heartbeats", SYNCS, BEATS], partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def copies(looker: KafkaReplication) -> Copies:
    _, seen = await looker.look()
    return seen["region-a"]


async def test_the_regions_own_partitions_are_seen_as_they_grow(kafka: str, producer: AIOKafkaProducer) -> None:
    async with looking(kafka) as looker:
        before, _ = await looker.look()
        for _ in range(5):
            await producer.send_and_wait("logs", b"event", partition=2)
        after, _ = await looker.look()

    assert {where: span.end for where, span in before.items()} == {
        "logs/0": 0,
        "logs/1": 0,
        "logs/2": 0,
        "heartbeats/0": 0,
    }
    assert (after["logs/2"].beginning, after["logs/2"].end) == (0, 5)


async def test_marks_at_the_end_of_a_log_are_told_once_it_rests(kafka: str, producer: AIOKafkaProducer) -> None:
    """Two transactions, one of them aborted: an event and a mark each."""
    await producer.send_and_wait("logs", b"event", partition=0)
    transactional = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id="marks")
    await transactional.start()
    try:
        for end in (transactional.commit_transaction, transactional.abort_transaction):
            await transactional.begin_transaction()
            await transactional.send_and_wait("logs", b"event", partition=2)
            await end()
    finally:
        await transactional.stop()
    async with looking(kafka) as looker:

        async def told() -> bool:
            spans, _ = await looker.look()
            return [spans[f"logs/{number}"].marks for number in range(3)] == [0, 0, 1]

        await eventually(told, "one mark is the last thing in that log")
        assert await told()
        await producer.send_and_wait("logs", b"event", partition=2)
        for _ in range(3):
            spans, _ = await looker.look()
            assert (spans["logs/2"].end, spans["logs/2"].marks) == (5, 0)


async def test_positions_noted_before_and_copies_made_since_are_both_seen(
    kafka: str, producer: AIOKafkaProducer
) -> None:
    for partition, (key, value) in enumerate([note(0, 41), note(0, 57), note(1, 7)]):
        await producer.send_and_wait(NOTES, value, key, partition=partition // 2)
    async with looking(kafka) as looker:

        async def loaded() -> bool:
            return "region-a" in (await looker.look())[1]

        await eventually(loaded, "the history is read")
        assert (await copies(looker)).copied == {"logs/0": 58, "logs/1": 8}
        key, value = sync(0, 99)
        await producer.send_and_wait(SYNCS, value, key)

        async def seen() -> bool:
            return (await copies(looker)).copied == {"logs/0": 100, "logs/1": 8}

        await eventually(seen, "the copy is seen")
        assert (await copies(looker)).noted == {"logs/0": 58, "logs/1": 8}


async def test_of_many_syncs_only_the_newest_are_read(kafka: str, producer: AIOKafkaProducer) -> None:
    number = 20 * TAIL_RECORDS
    for offset in range(number):
        key, value = sync(offset % 6, offset)
        await producer.send(SYNCS, value, key)
    await producer.flush()
    async with looking(kafka) as looker:

        async def seen() -> bool:
            _, found = await looker.look()
            return "region-a" in found and sorted(found["region-a"].copied.values()) == list(
                range(number - 5, number + 1)
            )

        await eventually(seen, "each partition's newest copy")


async def test_the_newest_heartbeat_says_how_old_the_way_is(kafka: str, producer: AIOKafkaProducer) -> None:
    async with looking(kafka) as looker:
        assert (await copies(looker)).heartbeat_age_s is None
        await producer.send_and_wait(BEATS, b"beat")

        async def seen() -> bool:
            age_s = (await copies(looker)).heartbeat_age_s
            return age_s is not None and age_s < 5

        await eventually(seen, "the heartbeat")


async def test_what_mirrormaker_makes_later_is_found(kafka: str) -> None:
    await recreate_topics(kafka, ["logs"], partitions=3)
    async with looking(kafka) as looker:
        looker._wanted = ["region-late"]
        spans, seen = await looker.look()
        assert (len(spans) >= 3, seen) == (True, {})
        late = ["mm2-offsets.region-late.internal", "mm2-offset-syncs.region-late.internal", "region-late.heartbeats"]
        await recreate_topics(kafka, late, partitions=1)

        async def found() -> bool:
            return "region-late" in (await looker.look())[1]

        await eventually(found, "the new topics")


async def test_partitions_that_are_added_are_seen_at_the_next_look(kafka: str, producer: AIOKafkaProducer) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        async with looking(kafka) as looker:
            before, _ = await looker.look()
            await admin.create_partitions({"logs": NewPartitions(total_count=5)})

            async def seen() -> bool:
                spans, _ = await looker.look()
                return spans.keys() - before.keys() == {"logs/3", "logs/4"}

            await eventually(seen, "the new partitions")
            await producer.client.force_metadata_update()
            await producer.send_and_wait("logs", b"event", partition=4)
            spans, _ = await looker.look()
    finally:
        await admin.close()

    assert spans["logs/4"].end == 1


async def test_a_topic_that_is_made_anew_is_another_one(kafka: str, producer: AIOKafkaProducer) -> None:
    await producer.send_and_wait("logs", b"event", partition=0)
    async with looking(kafka) as looker:
        before, _ = await looker.look()
        was = looker.topic_ids
        await recreate_topics(kafka, ["logs"], partitions=1)

        async def seen() -> bool:
            spans, _ = await looker.look()
            return spans.keys() == {"logs/0", "heartbeats/0"} and spans["logs/0"].end == 0

        await eventually(seen, "the new topic")
        now = looker.topic_ids

    assert before["logs/0"].end == 1
    assert was.keys() == now.keys() == {"logs", "heartbeats"}
    assert (was["logs"] != now["logs"], was["heartbeats"]) == (True, now["heartbeats"])


async def test_what_is_written_about_a_source_is_read_anew_when_it_is_made_anew(
    kafka: str, producer: AIOKafkaProducer
) -> None:
    key, value = note(0, 57)
    await producer.send_and_wait(NOTES, value, key, partition=0)
    async with looking(kafka) as looker:

        async def told(place: str, position: int) -> bool:
            _, seen = await looker.look()
            return "region-a" in seen and seen["region-a"].noted == {place: position}

        await eventually(partial(told, "logs/0", 58), "the position")
        await recreate_topics(kafka, [NOTES], partitions=4)
        await producer.client.force_metadata_update()
        key, value = note(1, 6)
        await producer.send_and_wait(NOTES, value, key, partition=3)

        await eventually(partial(told, "logs/1", 7), "the position in the new topic")


async def test_a_copy_is_told_with_the_record_it_is_of(kafka: str, producer: AIOKafkaProducer) -> None:
    async with looking(kafka) as looker:
        key, value = sync(2, 41, 17)
        await producer.send_and_wait(SYNCS, value, key)

        async def seen() -> bool:
            _, found = await looker.look()
            return "region-a" in found and found["region-a"].pairs == {"logs/2": Pair(source=42, target=18)}

        await eventually(seen, "the pair")


async def test_a_kafka_that_was_away_is_seen_again_and_meanwhile_the_report_ages(own_kafka: Server) -> None:
    await recreate_topics(own_kafka.address, ["logs", "heartbeats"])
    watch = ReplicationProbe(
        "region-b",
        lambda: KafkaReplication(bootstrap_servers=own_kafka.address, client_id="test", sources=["region-a"]),
    )
    assert watch.report() is None
    work = asyncio.create_task(watch.run())

    def age_s() -> float:
        report = watch.report()
        return 1e9 if report is None else report.age_s

    try:
        await eventually(lambda: age_s() < 2, "it is seen")
        await asyncio.to_thread(own_kafka.kill)
        await eventually(lambda: age_s() > 4, "it ages")
        await asyncio.to_thread(own_kafka.start)
        await eventually(lambda: age_s() < 2, "it is seen again", within_s=60)
    finally:
        work.cancel()
        await asyncio.wait([work])
