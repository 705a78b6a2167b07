"""A client that is closed while Kafka does not answer leaks nothing: no task, no socket."""

import asyncio
import os

from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from surroundings import LOCAL, Surroundings, read_all

from consumer.adapters.kafka_dead_letters import KafkaDeadLetters
from consumer.adapters.kafka_source import KafkaSource
from consumer.envelope import DeadLetter, Partition
from consumer.ports import DeadLettersUnavailableError, KnownLog
from testbed.patience import eventually
from testbed.server import Server

pytestmark = pytest.mark.services


def now_us() -> int:
    return int(datetime.now(UTC).timestamp() * 1e6)


def sockets() -> set[str]:
    held = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names of links
        with suppress(OSError):
            held.add(str(Path(f"/proc/self/fd/{name}").readlink()))
    return {target for target in held if target.startswith("socket:")}


def nothing_is_left_behind(tasks: set[asyncio.Task[object]], held: set[str]) -> bool:
    left = [repr(task) for task in asyncio.all_tasks() - tasks] + sorted(sockets() - held)
    assert not left
    return True


async def test_dead_letters_that_nobody_takes(own_kafka: Server, postgres: str, redis_url: str) -> None:
    around = Surroundings(own_kafka.address, postgres, redis_url)
    await around.prepare()
    letter = DeadLetter(Partition(LOCAL, 0), 0, b"k", b"v", "malformed", "no JSON")
    letters = KafkaDeadLetters(own_kafka.address, timeout_s=2)
    tasks, held = asyncio.all_tasks(), sockets()

    await letters.write([letter])
    own_kafka.suspend()
    try:
        for _ in range(2):
            with pytest.raises(DeadLettersUnavailableError):
                await letters.write([letter])
            await eventually(lambda: nothing_is_left_behind(tasks, held), "nothing is left behind")
    finally:
        own_kafka.resume()
    await letters.write([letter])
    await letters.close()

    await eventually(lambda: nothing_is_left_behind(tasks, held), "nothing is left behind")
    assert len(await read_all(own_kafka.address, "logs-dlq")) >= 2


async def test_a_consumer_whose_broker_does_not_take_its_leave(
    own_kafka: Server, postgres: str, redis_url: str
) -> None:
    around = Surroundings(own_kafka.address, postgres, redis_url)
    await around.prepare()
    assigned: list[Partition] = []

    async def on_revoked() -> None:
        pass

    def on_assigned(partitions: Collection[Partition]) -> None:
        assigned.extend(partitions)

    tasks, held = asyncio.all_tasks(), sockets()
    source = KafkaSource(
        bootstrap_servers=own_kafka.address,
        group=around.group,
        client_id="test",
        topics=[LOCAL],
        now_us=now_us,
        on_revoked=on_revoked,
        on_assigned=on_assigned,
    )
    await source.start()
    await eventually(lambda: len(assigned) == 6, "all partitions are assigned")
    source.begin(dict.fromkeys(assigned, 0), dict.fromkeys(assigned, KnownLog()))
    await source.poll(dict.fromkeys(assigned, 1), 0.1)

    own_kafka.suspend()
    try:
        await source.stop()
        await eventually(lambda: nothing_is_left_behind(tasks, held), "nothing is left behind")
    finally:
        own_kafka.resume()
