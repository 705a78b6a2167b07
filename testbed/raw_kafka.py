"""
Records that no well-behaved client writes: batches encoded byte by byte, which the broker gets unchanged.

The tests have their own encoder. The client library's, or the product's, would correct the intended errors.
"""

import asyncio

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from struct import pack
from typing import Final

import cramjam

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NotLeaderForPartitionError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from testbed.access import to_kafka
from testbed.patience import patience

CODECS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_SEVEN_BITS: Final = 0x7F
_AGAIN_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record. The names of its headers are bytes, as on the wire."""

    value: bytes | None
    key: bytes | None = b"k"
    headers: Sequence[tuple[bytes, bytes | None]] = ()


def varint(number: int) -> bytes:
    """Encode a signed number, zigzag."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > _SEVEN_BITS:
        out.append(left & _SEVEN_BITS | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def field(content: bytes | None) -> bytes:
    """Encode bytes, preceded by their length."""
    return varint(-1) if content is None else varint(len(content)) + content


def raw_record(record: RawRecord, index: int) -> bytes:
    """Encode the record at this index of a batch."""
    body = b"\0" + varint(0) + varint(index) + field(record.key) + field(record.value) + varint(len(record.headers))
    body += b"".join(field(name) + field(value) for name, value in record.headers)
    return varint(len(body)) + body


def raw_batch(records: Sequence[RawRecord], *, codec: str = "none", timestamp: int = 0, base: int = 0) -> bytes:
    """Encode a batch with a valid checksum."""
    content = b"".join(raw_record(record, index) for index, record in enumerate(records))
    return seal(compress(content, codec), len(records), attributes=CODECS[codec], timestamp=timestamp, base=base)


def compress(content: bytes, codec: str) -> bytes:
    """Compress as Kafka's own clients do."""
    if codec == "none":
        return content
    if codec == "snappy":
        return bytes(cramjam.snappy.compress_raw(content))
    if codec == "lz4":
        compressor = cramjam.lz4.Compressor(level=4, content_checksum=False, block_linked=False)
        compressor.compress(content)
        return bytes(compressor.finish())
    return bytes({"gzip": cramjam.gzip, "zstd": cramjam.zstd}[codec].compress(content))


def seal(content: bytes, count: int, *, attributes: int = 0, timestamp: int = 0, base: int = 0) -> bytes:
    """Put a batch's header before its content."""
    checked = pack(">hiqqqhii", attributes, count - 1, timestamp, timestamp, -1, -1, -1, count) + content
    return pack(">qiibI", base, 9 + len(checked), -1, 2, calc_crc32c(checked)) + checked


class RawKafka:
    """Sends batches to the leader of their partition."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def connected(cls, bootstrap_servers: str, topics: Sequence[str]) -> AsyncIterator["RawKafka"]:
        """Connect inside the block."""
        client = AIOKafkaClient(**to_kafka(bootstrap_servers))
        await client.bootstrap()
        try:
            await client.set_topics(topics)
            yield cls(client)
        finally:
            await client.close()

    async def produce(self, topic: str, partition: int, batch: bytes) -> int:
        """
        Write one batch with acks=all, and return its base offset.

        Raises:
            KafkaError: The broker refused it.
        """
        try:
            return await self._produce(topic, partition, batch)
        except NotLeaderForPartitionError:
            # A broker says that it leads a partition of a new topic a moment before it does.
            async with asyncio.timeout(patience(30)):
                while True:
                    await asyncio.sleep(_AGAIN_S)
                    await self._client.force_metadata_update()
                    with suppress(NotLeaderForPartitionError):
                        return await self._produce(topic, partition, batch)

    async def _produce(self, topic: str, partition: int, batch: bytes) -> int:
        leader = self._client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, batch)])])
        response = await self._client.send(leader, request)
        [(_, [(_, code, offset, *_)])] = response.topics
        if code:
            raise for_code(code)(f"{topic}/{partition}")
        return int(offset)
