"""Partitions whose broker is away when they are assigned, on three real brokers: the others are read meanwhile."""

import asyncio

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from surroundings import LOCAL, MIRRORED, Surroundings, an_event, ids

from shared.event.model import LogRecord
from testbed.kafka_cluster import Cluster, running_cluster
from testbed.patience import eventually

pytestmark = pytest.mark.services


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster({}) as cluster:
        yield cluster


async def leaders(kafka: str) -> dict[int, int]:
    """Return the broker that leads each partition of the topic, -1 for none."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        [topic] = await admin.describe_topics([LOCAL])
        return {partition["partition"]: partition["leader"] for partition in topic["partitions"]}
    finally:
        await admin.close()


async def send_to(kafka: str, partitions: list[int]) -> list[LogRecord]:
    """Write an event to each of these partitions."""
    events = [an_event(datetime.now(UTC), correlation_id=f"c{number}") for number in partitions]
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        for event, number in zip(events, partitions, strict=True):
            await producer.send_and_wait(LOCAL, event.encode(), key=b"c", partition=number)
    finally:
        await producer.stop()
    return events


@pytest.mark.parametrize("read_before", [False, True], ids=["never read before", "read before"])
async def test_a_partition_without_a_leader_holds_up_no_other_and_is_read_when_it_has_one(
    cluster: Cluster, postgres: str, redis_url: str, *, read_before: bool
) -> None:
    around = Surroundings(cluster.address, postgres, redis_url)
    await around.prepare()
    away = cluster.brokers[2]
    theirs = [number for number, leader in (await leaders(cluster.address)).items() if leader == len(cluster.brokers)]
    others = sorted(set(range(6)) - set(theirs))
    assert theirs, "the broker leads some of them"
    expected = [event.event_id for event in await send_to(cluster.address, list(range(6)))]
    if read_before:
        async with around.consumer():
            await around.rows(6, within_s=60)
        expected += [event.event_id for event in await send_to(cluster.address, theirs)]
    await asyncio.to_thread(away.kill)

    async def without_leaders() -> bool:
        with suppress(KafkaError):  # the one that is asked may be the one that is away
            return sorted(n for n, leader in (await leaders(cluster.address)).items() if leader == -1) == theirs
        return False

    await eventually(without_leaders, "they have no leader", within_s=60)
    async with around.consumer() as service:
        now = await send_to(cluster.address, others)
        expected += [event.event_id for event in now]

        async def stored() -> bool:
            rows = await around.query("SELECT event_id FROM logs")
            return {event.event_id for event in now} <= set(ids(rows))

        await eventually(stored, "the others are read", within_s=60)
        told = service.readiness()
        assert told.ready
        assert all(any(f"{LOCAL}/{number}," in reason for reason in told.degraded) for number in theirs), told.degraded

        await asyncio.to_thread(away.start)
        await around.rows(len(expected), within_s=60)
        await eventually(lambda: not service.readiness().degraded, "all is well", within_s=60)
        rows = await around.query("SELECT event_id FROM logs")

    assert sorted(ids(rows)) == sorted(expected)
    assert around.counted("consumer_skipped_records_total", topic=LOCAL, reason="retention") == 0


async def test_one_whose_partitions_all_have_no_leader_says_so_and_leaves_its_group_alone(
    cluster: Cluster, postgres: str, redis_url: str
) -> None:
    """Each time it joined anew, it would interrupt the group's other members."""
    around = Surroundings(cluster.address, postgres, redis_url)
    await around.prepare()
    away = cluster.brokers[2]
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.address)
    await admin.start()
    try:
        for topic in (LOCAL, MIRRORED):
            await around.delete_topic(topic)
        led = {number: [len(cluster.brokers)] for number in range(6)}
        await admin.create_topics(
            [
                NewTopic(topic, num_partitions=-1, replication_factor=-1, replica_assignments=led)
                for topic in (LOCAL, MIRRORED)
            ]
        )
    finally:
        await admin.close()
    events = await send_to(cluster.address, list(range(6)))
    await asyncio.to_thread(away.kill)

    async def without_leaders() -> bool:
        with suppress(KafkaError):
            return set((await leaders(cluster.address)).values()) == {-1}
        return False

    await eventually(without_leaders, "they have no leader", within_s=60)
    async with around.consumer(until_ready=False) as service:
        said = ["kafka: no broker answers for any of its partitions"]
        await eventually(lambda: service.readiness().reasons == said, "it is told", within_s=60)
        assert len(service.readiness().degraded) == 2 * 6
        await asyncio.to_thread(away.start)
        rows = await around.rows(len(events), within_s=60)
        await eventually(lambda: service.readiness().ready, "all is well", within_s=60)

    assert sorted(ids(rows)) == sorted(event.event_id for event in events)
    assert around.counted("consumer_assignments_total") == 1
