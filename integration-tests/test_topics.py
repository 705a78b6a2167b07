"""The topics on a real Kafka: what they are set to, whose clock is theirs, and what three brokers promise."""

import asyncio
import os
import re
import subprocess
import sys
import time

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from asgi_lifespan import LifespanManager
from structlog.testing import capture_logs
from surroundings import read_all

from fleet.jobs.topics import TopicSettings, check_topics, ensure_topics
from producer.app import create_app
from producer.settings import ProducerSettings
from shared.process.topic_admin import TopicAdmin
from shared.wire.regions import DEAD_LETTERS, LOGS
from shared.wire.topic_needs import Topic
from testbed.kafka_cluster import Cluster, running_cluster
from testbed.patience import eventually

pytestmark = pytest.mark.services

ROOT: Final = Path(__file__).parents[1]
COPY: Final = "region-b.logs"
OURS: Final = (LOGS, COPY, DEAD_LETTERS)
HOUR_MS: Final = 3_600_000
PARTITIONS: Final = 6


def topic_settings(kafka: str, **changes: Any) -> TopicSettings:
    return TopicSettings(
        region="region-a",
        regions=("region-a", "region-b"),
        kafka_bootstrap_servers=kafka,
        partitions=PARTITIONS,
        **changes,
    )


async def make(kafka: str, *topics: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        answer = await admin.create_topics(list(topics))
        assert not any(code for _, code, *_ in answer.topic_errors), answer

        async def seen() -> bool:
            return {topic.name for topic in topics} <= set(await admin.list_topics())

        await eventually(seen, "the topics can be seen")
    finally:
        await admin.close()


async def topics_of(kafka: str) -> Mapping[str, Topic]:
    async with TopicAdmin(kafka) as admin:
        return await admin.read(OURS)


@pytest.fixture
async def without_topics(kafka: str) -> str:
    """Return the shared Kafka, without any of the fleet's topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()

    async def gone() -> bool:
        return not set(OURS) & set(await admin.list_topics())

    try:
        await admin.delete_topics([name for name in OURS if name in await admin.list_topics()])
        await eventually(gone, "the topics are gone")
    finally:
        await admin.close()
    return kafka


async def test_topics_are_made_as_the_settings_say(without_topics: str) -> None:
    await ensure_topics(topic_settings(without_topics, retention_hours=48))

    made = await topics_of(without_topics)
    assert made.keys() >= set(OURS)
    for name in OURS:
        assert (made[name].partitions, made[name].replicas) == (PARTITIONS, 1)
        assert made[name].config["retention.ms"] == str(48 * HOUR_MS)
        assert made[name].config["message.timestamp.type"] == "LogAppendTime"
        assert made[name].config["min.insync.replicas"] == "1"
    assert int(made[DEAD_LETTERS].config["max.message.bytes"]) == 2 * 1024 * 1024
    assert await check_topics(topic_settings(without_topics, retention_hours=48)) == []


async def test_topics_that_exist_follow_the_settings_and_keep_what_else_is_set(without_topics: str) -> None:
    kept = {"segment.bytes": "33554432", "max.message.bytes": "500000"}
    await make(without_topics, *(NewTopic(name, 2, 1, topic_configs=kept | {"retention.ms": "1000"}) for name in OURS))

    with capture_logs() as lines:
        await ensure_topics(topic_settings(without_topics, retention_hours=48))

    async def followed() -> bool:
        # The broker answers before the new setting is in force.
        return not await check_topics(topic_settings(without_topics, retention_hours=48))

    await eventually(followed, "the topics are as the settings say")
    now = await topics_of(without_topics)
    assert {now[name].partitions for name in OURS} == {PARTITIONS}
    assert {now[name].config["retention.ms"] for name in OURS} == {str(48 * HOUR_MS)}
    assert {now[name].config["message.timestamp.type"] for name in OURS} == {"LogAppendTime"}
    assert {now[name].config["segment.bytes"] for name in OURS} == {"33554432"}
    assert now[LOGS].config["max.message.bytes"] == now[COPY].config["max.message.bytes"] == "500000"
    assert now[DEAD_LETTERS].config["max.message.bytes"] == str(2 * 1024 * 1024)
    altered = [(line["topic"], line["old"], line["new"]) for line in lines if line.get("setting") == "retention.ms"]
    assert sorted(altered) == sorted((name, "1000", str(48 * HOUR_MS)) for name in OURS)

    with capture_logs() as lines:
        await ensure_topics(topic_settings(without_topics, retention_hours=48))
    assert lines == []


async def test_a_topic_that_somebody_else_makes_at_the_same_moment_is_altered_all_the_same(without_topics: str) -> None:
    """As MirrorMaker may do with a copy: it is not there when we look, and there when we make it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=without_topics)
    await admin.start()
    try:
        await asyncio.gather(
            admin.create_topics([NewTopic(name, 2, 1) for name in OURS]),
            *(ensure_topics(topic_settings(without_topics)) for _ in range(3)),
        )
    finally:
        await admin.close()

    async def followed() -> bool:
        told = await check_topics(topic_settings(without_topics))
        assert not told, told
        return True

    await eventually(followed, "the topics are as the settings say")


async def test_what_differs_is_told_and_asking_alters_nothing(without_topics: str) -> None:
    await make(without_topics, NewTopic(LOGS, 8, 1, topic_configs={"retention.ms": "1000"}), NewTopic(COPY, 2, 1))
    before = await topics_of(without_topics)
    variables = {
        "TOPICS_REGION": "region-a",
        "TOPICS_REGIONS": "region-a,region-b",
        "TOPICS_KAFKA_BOOTSTRAP_SERVERS": without_topics,
        "TOPICS_PARTITIONS": "6",
        "TOPICS_REPLICATION_FACTOR": "3",
    }

    done = await asyncio.to_thread(run_check, variables)

    assert (done.returncode, done.stderr) == (1, "")
    told = done.stdout.splitlines()
    for beginning in (
        f"topic {DEAD_LETTERS} does not exist",
        f"topic {LOGS} has 8 partitions, TOPICS_PARTITIONS says 6, and Kafka takes none away",
        f"topic {COPY} has 2 partitions, TOPICS_PARTITIONS says 6: start the fleet again",
        f"topic {LOGS} has 1 replica, TOPICS_REPLICATION_FACTOR says 3",
        f"topic {LOGS} has retention.ms=1000, and 604800000 is needed",
        f"topic {LOGS} has message.timestamp.type=CreateTime, and LogAppendTime is needed",
    ):
        assert any(sentence.startswith(beginning) for sentence in told), (beginning, told)
    assert await topics_of(without_topics) == before


async def test_bookkeeping_that_has_too_few_replicas_is_told(without_topics: str) -> None:
    await ensure_topics(topic_settings(without_topics))
    consumer = AIOKafkaConsumer(LOGS, bootstrap_servers=without_topics, group_id="makes the topic of offsets")
    await consumer.start()
    await consumer.stop()

    told = await check_topics(topic_settings(without_topics, replication_factor=3))

    assert any(sentence.startswith("topic __consumer_offsets has 1 replica,") for sentence in told), told
    assert await check_topics(topic_settings(without_topics)) == []


def run_check(variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fleet.jobs.topics", "--check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | dict(variables),
        capture_output=True,
        text=True,
        check=False,
    )


async def send(kafka: str, topic: str, timestamps_ms: Sequence[int]) -> None:
    """Write records with these times; raises if one is refused."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await producer.start()
    try:
        for timestamp in timestamps_ms:
            await producer.send_and_wait(topic, b"no event", timestamp_ms=timestamp, partition=0)
    finally:
        await producer.stop()


@pytest.mark.parametrize("topic", [LOGS, COPY])
async def test_a_records_time_is_the_brokers_whatever_the_clock_of_who_sent_it(without_topics: str, topic: str) -> None:
    await ensure_topics(topic_settings(without_topics))
    before_ms = int(time.time() * 1000)
    wrong = [0, before_ms - 30 * 24 * HOUR_MS, before_ms + 2 * HOUR_MS, before_ms + 3650 * 24 * HOUR_MS]

    await send(without_topics, topic, wrong)
    records = await read_all(without_topics, topic)
    after_ms = int(time.time() * 1000)

    assert len(records) == len(wrong)
    for record in records:
        assert before_ms <= record.timestamp <= after_ms
    times = [record.timestamp for record in records]
    assert times == sorted(times)


# ---------------------------------------------------------------- three brokers


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # The broker applies retention all the time instead of every five minutes.
    often = {"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "500"}
    template = (ROOT / "native/templates/kafka.properties").read_text()
    as_the_fleets = dict(re.findall(r"^(log\.message\.\S+)=(\S+)$", template, re.MULTILINE))
    with running_cluster(often | as_the_fleets) as cluster:
        yield cluster


async def test_what_a_slow_clock_sent_is_kept_as_long_as_anything(cluster: Cluster) -> None:
    kafka = cluster.address
    await ensure_topics(topic_settings(kafka, replication_factor=3, retention_hours=24))
    # The same retention, and the sender's time.
    await make(kafka, NewTopic("by-the-sender", 1, 1, topic_configs={"retention.ms": str(24 * HOUR_MS)}))
    long_ago = [int(time.time() * 1000) - 48 * HOUR_MS] * 5
    await send(kafka, LOGS, long_ago)
    await send(kafka, "by-the-sender", long_ago)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
    await consumer.start()
    try:

        async def beginning(topic: str) -> int:
            partition = TopicPartition(topic, 0)
            return int((await consumer.beginning_offsets([partition]))[partition])

        async def removed() -> bool:
            return await beginning("by-the-sender") == len(long_ago)

        await eventually(removed, "what is past its retention by the sender's clock is removed")
        assert await beginning(LOGS) == 0
    finally:
        await consumer.stop()


async def test_a_heartbeat_of_a_region_whose_clocks_are_fast_is_taken(cluster: Cluster) -> None:
    """It keeps the writer's time, and a task that cannot copy it would copy no event either."""
    await make(cluster.address, NewTopic("region-b.heartbeats", 1, 1))

    await send(cluster.address, "region-b.heartbeats", [int(time.time() * 1000) + 24 * HOUR_MS])


async def test_with_three_brokers_an_acknowledgement_survives_one_and_without_two_it_is_503(cluster: Cluster) -> None:
    await ensure_topics(topic_settings(cluster.address, replication_factor=3))
    assert (await topics_of(cluster.address))[LOGS].config["min.insync.replicas"] == "2"
    settings = ProducerSettings(
        region="region-a", kafka_bootstrap_servers=cluster.address, rebuild_after_ms=600_000, send_timeout_ms=1500
    )
    acknowledged: list[str] = []

    async with LifespanManager(create_app(settings), shutdown_timeout=30) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://producer") as producer:

            async def post() -> int:
                body = {"serviceName": "s", "level": "INFO", "message": "m", "correlationId": f"c-{len(acknowledged)}"}
                answer = await producer.post("/api/logs", json=body)
                if answer.status_code == 202:
                    acknowledged.append(answer.json()["eventId"])
                return answer.status_code

            async def accepted() -> bool:
                return await post() == 202

            async def refused() -> bool:
                return await post() == 503

            async def rebuilds() -> float:
                lines = (await producer.get("/metrics")).text.splitlines()
                return sum(
                    float(line.split()[-1]) for line in lines if line.startswith("log_producer_client_rebuilds_total")
                )

            _, second, third = cluster.brokers
            await eventually(accepted, "three brokers acknowledge", within_s=60)
            await asyncio.to_thread(third.kill)
            await eventually(accepted, "two brokers acknowledge", within_s=60)
            await asyncio.to_thread(second.kill)
            await eventually(refused, "one broker alone does not acknowledge", within_s=60)
            assert not any([await accepted() for _ in range(3)])
            await asyncio.to_thread(second.start)
            await eventually(accepted, "two brokers acknowledge again", within_s=60)
            await asyncio.to_thread(third.start)
            # Nothing was wrong with the client.
            assert await rebuilds() == 0

    values = [record.value for record in await read_all(cluster.address, LOGS)]
    for event_id in acknowledged:
        assert sum(event_id.encode() in value for value in values) == 1, event_id
