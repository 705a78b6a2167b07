"""Replication as the region's Kafka shows it; like `kafka_source`, it knows AIOKafkaConsumer, but joins no group."""

import asyncio
import time

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient

from consumer.adapters.kafka_errors import as_source_unavailable
from consumer.adapters.kafka_marks import TrailingMarks
from consumer.adapters.kafka_topics import Topic, find_topics
from consumer.positions import Positions, read_note, read_sync
from shared.process.kafka_settings import OPEN, Access
from shared.wire.regions import HEARTBEATS, LOGS, Region, mirrored_heartbeats, positions_topic, syncs_topic
from shared.wire.replication import Copies, OffsetRange, source_partition

COPIED: Final = (LOGS, HEARTBEATS)
# Not every sync is needed: the newest few hundred have each partition that is busy, and for the others the notes suffice.
TAIL_RECORDS: Final = 300
_FETCH_WAIT_MS: Final = 250
_MAX_FETCH_BYTES: Final = 64 * 1024
_DRAIN_S: Final = 0.5
_REQUEST_TIMEOUT_MS: Final = 5000


@dataclass(slots=True)
class _Source:
    """One region that is copied from; `topics` is all that is written about it here, as it was when reading it began."""

    name: Region
    topics: Sequence[Topic]
    notes: list[TopicPartition]
    syncs: TopicPartition
    heartbeats: TopicPartition
    positions: Positions = field(default_factory=lambda: Positions(COPIED))
    heartbeat_ms: int | None = None
    loaded: bool = False


class KafkaReplication:
    """
    Looks at the region's own log and at what MirrorMaker writes about its copies.

    Args:
        bootstrap_servers: The region's Kafka.
        client_id: How the broker's logs name this process.
        sources: The other regions.
        wall_s: Clock, seconds since 1970.
        access: How Kafka lets a client in.

    Attributes:
        topic_ids: Which topics the region's own partitions are of, by name, as last looked at.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        client_id: str,
        sources: Collection[Region],
        wall_s: Callable[[], float] = time.time,
        access: Access = OPEN,
    ) -> None:
        self._client = AIOKafkaClient(
            bootstrap_servers=bootstrap_servers, client_id=client_id, request_timeout_ms=_REQUEST_TIMEOUT_MS, **access
        )
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            client_id=client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=_MAX_FETCH_BYTES,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            **access,
        )
        self._marks = TrailingMarks(self._consumer._client)  # noqa: SLF001 - it knows which broker leads a partition
        self._wanted = sources
        self._wall_s = wall_s
        self._own: list[TopicPartition] = []
        self._sources: dict[Region, _Source] = {}
        self.topic_ids: dict[str, str] = {}

    async def start(self) -> None:
        """
        Connect.

        Raises:
            SourceUnavailableError: Kafka cannot be reached.
        """
        with as_source_unavailable():
            await self._client.bootstrap()
            await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        # A broker that is away cannot be left, and neither close shall keep the other from its turn.
        await asyncio.gather(self._consumer.stop(), self._client.close(), return_exceptions=True)

    async def look(self) -> tuple[Mapping[str, OffsetRange], Mapping[Region, Copies]]:
        """
        Return the region's own partitions, and how far each source is copied.

        A source is missing until all that was noted about it is read.

        Raises:
            SourceUnavailableError: Kafka did not say.
        """
        with as_source_unavailable():
            return await self._look()

    async def _look(self) -> tuple[Mapping[str, OffsetRange], Mapping[Region, Copies]]:
        await self._find_topics()
        tails = [tail for source in self._sources.values() for tail in (source.syncs, source.heartbeats)]
        notes = [partition for source in self._sources.values() for partition in source.notes]
        beginnings = await self._consumer.beginning_offsets([*self._own, *tails])
        ends = await self._consumer.end_offsets([*self._own, *tails, *notes])
        marks = await self._marks.count(beginnings, {tp: ends[tp] for tp in self._own})
        for tail in tails:
            await self._keep_to_tail(tail, beginnings[tail], ends[tail])
        await self._read()
        for source in self._sources.values():
            source.loaded = source.loaded or await self._has_read(source, ends)
        return (
            {
                source_partition(tp.topic, tp.partition): OffsetRange(
                    beginning=beginnings[tp], end=ends[tp], marks=marks[tp]
                )
                for tp in self._own
            },
            {source.name: self._copies(source) for source in self._sources.values() if source.loaded},
        )

    async def _find_topics(self) -> None:
        """
        Learn what is there now, at each look: partitions are added, topics made anew, and MirrorMaker makes its own when it first runs.

        What was written about a source is read from its start whenever any of it is another topic, or has more partitions, than before.
        """
        told = {name: (positions_topic(name), syncs_topic(name), mirrored_heartbeats(name)) for name in self._wanted}
        found = await find_topics(self._client, [*COPIED, *(topic for topics in told.values() for topic in topics)])
        self._own = [
            TopicPartition(name, number) for name in COPIED if name in found for number in found[name].partitions
        ]
        self.topic_ids = {name: identity.hex for name in COPIED if name in found and (identity := found[name].id)}
        there = {
            name: [found[topic] for topic in topics]
            for name, topics in told.items()
            if all(topic in found for topic in topics)
        }
        if there == {name: source.topics for name, source in self._sources.items()}:
            return
        self._sources = {
            name: _Source(
                name,
                topics,
                notes=[TopicPartition(told[name][0], number) for number in topics[0].partitions],
                syncs=TopicPartition(told[name][1], topics[1].partitions[0]),
                heartbeats=TopicPartition(told[name][2], topics[2].partitions[0]),
            )
            for name, topics in there.items()
        }
        self._consumer.assign(
            [tp for source in self._sources.values() for tp in (*source.notes, source.syncs, source.heartbeats)]
        )

    async def _keep_to_tail(self, tail: TopicPartition, beginning: int, end: int) -> None:
        newest = max(beginning, end - TAIL_RECORDS)
        if await self._consumer.position(tail) < newest:
            self._consumer.seek(tail, newest)

    async def _read(self) -> None:
        """Take in what can be had soon; a long history takes several looks."""
        until = time.monotonic() + _DRAIN_S
        by_topic = {tp.topic: source for source in self._sources.values() for tp in source.notes}
        by_topic |= {tp.topic: s for s in self._sources.values() for tp in (s.syncs, s.heartbeats)}
        while by_topic and (left_s := until - time.monotonic()) > 0:
            polled = await self._consumer.getmany(timeout_ms=int(left_s * 1000))
            for partition, records in polled.items():
                self._take_in(by_topic[partition.topic], partition, records)
            if not polled:
                return

    def _take_in(self, source: _Source, partition: TopicPartition, records: Collection[Any]) -> None:
        for record in records:
            if partition == source.syncs:
                source.positions.sync(read_sync(record.key, record.value))
            elif partition == source.heartbeats:
                source.heartbeat_ms = record.timestamp
            else:
                source.positions.note(read_note(record.key, record.value, source.name))

    async def _has_read(self, source: _Source, ends: Mapping[TopicPartition, int]) -> bool:
        return all([await self._consumer.position(tp) >= ends[tp] for tp in source.notes])

    def _copies(self, source: _Source) -> Copies:
        beat = source.heartbeat_ms
        return source.positions.copies(None if beat is None else max(0.0, self._wall_s() - beat / 1000))
