"""A record that a real MirrorMaker cannot copy: who says so, where it is, and what gets past it."""

import time

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from surroundings import read_all

from consumer.adapters.kafka_replication import KafkaReplication
from gateway.replication.links import Link, LinkState
from gateway.replication.losses import Gap, Window, Wrong
from testbed.local_servers import LocalServer
from testbed.mirror_maker import mirror_maker
from testbed.patience import eventually
from testbed.raw_kafka import RawKafka, RawRecord, raw_batch
from testbed.server import Server, recreate_topics

pytestmark = pytest.mark.services

UNPACKED_BYTES = 80 * 2**20
STOPPED = 3
STOPPED_PLACE = f"logs/{STOPPED}"


def now() -> float:
    """Ten seconds of the watch pass in each: it has to wait for a minute until it says that something stands still."""
    return 10 * time.monotonic()


def batch(value: bytes, codec: str = "none") -> bytes:
    return raw_batch([RawRecord(value)], codec=codec, timestamp=int(time.time() * 1000))


class Direction:
    """What the regions' consumers and a gateway know of one direction."""

    def __init__(self, source: KafkaReplication, target: KafkaReplication) -> None:
        self._source = source
        self._target = target
        self._link = Link("region-a", "region-b", began=now())
        self.wrong: list[Wrong] = []

    @classmethod
    @asynccontextmanager
    async def watched(cls, source: str, target: str) -> AsyncIterator["Direction"]:
        """Look at both ends, each in its own Kafka."""
        ends = [
            KafkaReplication(bootstrap_servers=kafka, client_id="test", sources=others)
            for kafka, others in ((source, []), (target, ["region-a"]))
        ]
        for end in ends:
            await end.start()
        try:
            yield cls(*ends)
        finally:
            for end in ends:
                await end.stop()

    async def look(self) -> LinkState:
        """Look once, and say how it is."""
        since = now()
        spans, _ = await self._source.look()
        self.wrong += self._link.see_source(spans, Window(since, now()), self._source.topic_ids)
        since = now()
        _, copies = await self._target.look()
        if "region-a" in copies:
            self.wrong += self._link.see_target(copies["region-a"], Window(since, now()))
        return self._link.state(now())

    async def is_whole(self) -> bool:
        """Tell whether all is copied."""
        state = await self.look()
        return state.up and state.lag_records == 0


@pytest.fixture
def mirror(kafka: str, own_kafka: Server) -> Iterator[LocalServer]:
    maker = mirror_maker(kafka, own_kafka.address)
    yield maker
    maker.close()


async def delete_records(kafka: str, partition: int, before: int) -> None:
    """Do what the run book says."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition("logs", partition): RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


async def test_a_record_that_cannot_be_copied_is_named_and_once_it_is_deleted_the_rest_is_copied(
    kafka: str, own_kafka: Server, mirror: LocalServer
) -> None:
    await recreate_topics(kafka, ["logs", "heartbeats"])
    await recreate_topics(own_kafka.address, ["region-a.logs"])
    mirror.start()
    async with (
        RawKafka.connected(kafka, ["logs"]) as raw,
        Direction.watched(kafka, own_kafka.address) as direction,
    ):

        async def flow(partitions: Sequence[int]) -> None:
            for partition in partitions:
                await raw.produce("logs", partition, batch(b"event"))

        await flow(range(6))
        await eventually(direction.is_whole, "everything is copied", within_s=120)
        offset = await raw.produce("logs", STOPPED, batch(b"0" * UNPACKED_BYTES, codec="gzip"))
        await flow(range(6))

        async def told() -> bool:
            await flow(range(6))
            return STOPPED_PLACE in (await direction.look()).stopped

        await eventually(told, "it is told", within_s=120, every_s=0.5)
        state = await direction.look()
        assert (state.up, state.stopped[STOPPED_PLACE]) == (False, offset)

        mirror.kill()
        await delete_records(kafka, STOPPED, before=offset + 1)
        mirror.start()
        await eventually(direction.is_whole, "the rest is copied", within_s=120)

    assert direction.wrong == [Gap(STOPPED_PLACE, offset, 1)], "one record is lost to the target, and told"


async def test_a_transaction_holds_up_no_copying_while_it_is_open_and_its_end_is_no_backlog(
    kafka: str, own_kafka: Server, mirror: LocalServer
) -> None:
    await recreate_topics(kafka, ["logs", "heartbeats"])
    await recreate_topics(own_kafka.address, ["region-a.logs"])
    mirror.start()
    transactional = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id="open")
    await transactional.start()
    try:
        async with Direction.watched(kafka, own_kafka.address) as direction:
            await transactional.begin_transaction()
            for partition in range(6):
                await transactional.send_and_wait("logs", b"event", partition=partition)

            async def copied() -> int:
                return sum(1 for _ in await read_all(own_kafka.address, "region-a.logs"))

            async def all_are_copied() -> bool:
                return await copied() == 6

            await eventually(all_are_copied, "its events are copied", within_s=120)
            await transactional.abort_transaction()
            await eventually(direction.is_whole, "nothing is left to copy", within_s=60)
            assert await copied() == 6
            assert not direction.wrong
    finally:
        await transactional.stop()
