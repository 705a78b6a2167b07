"""`LogReader` on the client library's connections alone: it joins no group, keeps no positions, and reads bytes as they are."""

import asyncio

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, NotLeaderForPartitionError, for_code
from aiokafka.partitioner import murmur2
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from consumer.adapters.kafka_batches import CONTROL, content_of, parse, split
from consumer.adapters.kafka_codecs import UnfoldError
from consumer.adapters.kafka_errors import as_source_unavailable
from consumer.adapters.kafka_records import BrokenError, PlainRecord, records_of
from consumer.adapters.kafka_topics import find_topics
from consumer.envelope import Partition
from consumer.log_reader import Portion, Span
from shared.process.kafka_settings import OPEN, Access

T = TypeVar("T")

_REQUEST_TIMEOUT_S: Final = 1.0
# The brokers know a moment later than the controller who leads a partition.
_AGAIN_S: Final = 0.05
_TRIES: Final = 8
_PORTION_BYTES: Final = 1024 * 1024
_EARLIEST: Final = -2
_LATEST: Final = -1
_POSITIVE: Final = 0x7FFFFFFF


class KafkaLogReader:
    """
    Reads a region's Kafka.

    Args:
        bootstrap_servers: Where it is.
        client_id: How the broker's logs name this process.
        group: The consumers' group, whose offsets are of interest.
        access: How it lets a client in.
        timeout_s: For each request.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        client_id: str,
        group: str,
        access: Access = OPEN,
        timeout_s: float = _REQUEST_TIMEOUT_S,
    ) -> None:
        self._client = AIOKafkaClient(
            bootstrap_servers=bootstrap_servers, client_id=client_id, request_timeout_ms=int(timeout_s * 1000), **access
        )
        self._group = group

    async def start(self) -> None:
        """See `LogReader`."""
        with as_source_unavailable():
            await self._client.bootstrap()

    async def stop(self) -> None:
        """See `LogReader`."""
        with suppress(KafkaError):
            await self._client.close()

    async def partitions(self, topics: Collection[str]) -> Mapping[str, int]:
        """See `LogReader`."""
        with as_source_unavailable():
            found = await find_topics(self._client, topics)
            if found:  # else all topics that there are would be meant
                await self._client.set_topics(list(found))
        return {name: len(topic.partitions) for name, topic in found.items()}

    def partition_of(self, key: bytes, partitions: int) -> int:
        """See `LogReader`."""
        return int(murmur2(key) & _POSITIVE) % partitions

    async def span(self, partition: Partition, since_ms: int) -> Span:
        """See `LogReader`."""
        with as_source_unavailable():
            beginning, first, end = await asyncio.gather(
                *(self._offset(partition, at) for at in (_EARLIEST, since_ms, _LATEST))
            )
        # Without a record that is as new as that there is nothing to read.
        return Span(beginning, end if first < 0 else min(first, end), end)

    async def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """See `LogReader`."""
        topics: dict[str, list[int]] = {}
        for partition in partitions:
            topics.setdefault(partition.topic, []).append(partition.number)
        with as_source_unavailable():
            where = await self._client.send(self._client.get_random_node(), FindCoordinatorRequest(self._group, 0))
            _raise(where.error_code, "the group's coordinator")
            answer = await self._client.send(
                where.coordinator_id, OffsetFetchRequest(self._group, list(topics.items()))
            )
        return {
            Partition(topic, number): offset
            for topic, offsets in answer.topics
            for number, offset, _, code in offsets
            if not code and offset >= 0
        }

    async def read(self, partition: Partition, offset: int, containing: Sequence[bytes]) -> Portion:
        """See `LogReader`."""
        wanted = [(partition.topic, [(partition.number, offset, _PORTION_BYTES)])]
        request = FetchRequest(0, 1, _PORTION_BYTES, 0, wanted)

        async def fetch() -> bytes:
            answer = await self._client.send(self._leader(partition), request)
            [(_, [(_, code, *_, data)])] = answer.topics
            _raise(code, f"{partition.topic}/{partition.number}@{offset}")
            return data or b""

        with as_source_unavailable():
            data = await self._of_leader(fetch)
        # Beside the event loop: a portion that was compressed may be large.
        return await asyncio.to_thread(portion_of, data, offset, containing)

    async def _offset(self, partition: Partition, at: int) -> int:
        request = OffsetRequest(-1, 0, [(partition.topic, [(partition.number, at)])])

        async def look() -> int:
            answer = await self._client.send(self._leader(partition), request)
            [(_, [(_, code, _, offset)])] = answer.topics
            _raise(code, f"{partition.topic}/{partition.number}")
            return int(offset)

        return await self._of_leader(look)

    async def _of_leader(self, ask: Callable[[], Awaitable[T]]) -> T:
        for _ in range(_TRIES - 1):
            with suppress(NotLeaderForPartitionError, LeaderNotAvailableError):
                return await ask()
            await self._client.force_metadata_update()
            await asyncio.sleep(_AGAIN_S)
        return await ask()

    def _leader(self, partition: Partition) -> int:
        leader = self._client.cluster.leader_for_partition(TopicPartition(*partition))
        if leader in (None, -1):
            raise KafkaError(f"{partition.topic}/{partition.number} has no leader")
        return int(leader)


def _raise(code: int, what: str) -> None:
    if code:
        raise for_code(code)(what)


def portion_of(data: bytes, offset: int, containing: Sequence[bytes]) -> Portion:
    """
    Take in an answer of the broker.

    Args:
        data: Batches, the last of which may be cut off.
        offset: The one that was asked for.
        containing: Batches without any of these, in lower case, are passed.
    """
    records: list[PlainRecord] = []
    unreadable = None
    following = offset
    for raw, base_behind in split(data):
        batch = parse(raw)
        if batch is None or not batch.is_whole or batch.last < batch.base:
            # A batch of another format, or a damaged one; the next one says where it ends.
            last = following if base_behind is None else max(following, base_behind - 1)
            unreadable, following = f"{following} to {last}", last + 1
            continue
        if batch.last < offset:
            continue
        following = batch.last + 1
        if batch.attributes & CONTROL:
            continue
        try:
            content = content_of(batch)
            # Most batches are without, and reading their records costs a hundred times as much as looking.
            lowered = content.lower()
            if any(part in lowered for part in containing):
                found = records_of(batch, content)
                records += (record for record in found if isinstance(record, PlainRecord))
                broken = [record.offset for record in found if not isinstance(record, PlainRecord)]
                unreadable = f"{broken[0]} to {broken[-1]}" if broken else unreadable
        except (UnfoldError, BrokenError):
            unreadable = f"{batch.base} to {batch.last}"
    return Portion(records, following, len(data), unreadable)
