"""
What the broker answers, looked at before the client library takes it in.

The library does not say whether a partition answered at all, nor what a batch looks like. It resets a position that the log
does not have, or gives up. There is no public way to see the answers, so this stands in for its client's `send`.

A partition is *doubted* when its log may not be the one that was being read: an error instead of records, a broker that was
away, a long time without an answer, an end further down than before. Nothing of it gets through until `kafka_doubted.py` has
looked at its log.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.protocol.fetch import FetchRequest

from consumer.adapters.kafka_batches import is_plain
from consumer.adapters.kafka_records import Unreadable
from consumer.adapters.kafka_unfold import unfold
from consumer.envelope import Partition

# In this time no topic goes, comes again and gets as many records as before. Fetches follow each other within milliseconds, but
# not on a backlog: what one of them brings may last for longer. Meanwhile the broker is asked how far the log reaches, every
# second. Otherwise each answer would be thrown away and asked for again, which takes Kafka twice the time.
_GAP_US: Final = 2_000_000
# From this version on, answers are laid out like this: topics, and of each the partitions.
_LEAST_VERSION: Final = 4

Send = Callable[..., Awaitable[Any]]


class Screen:
    """
    Stands between the client library and its connections.

    Args:
        send: The client's own way to send.
        now_us: Clock, microseconds since 1970, never backwards.
        on_doubt: Called when a partition has become doubted.

    Attributes:
        doubted: Partitions of which nothing gets through.
        answered_us: When the broker last answered for each partition.
        vouched_us: Until when it said, without a longer gap, that the log reaches as far as before.
        ends: How far it said that each of them reaches.
        unreadable: What could not be read and has an empty record in its place, by partition and that record's offset.
    """

    def __init__(self, send: Send, now_us: Callable[[], int], on_doubt: Callable[[Partition], None]) -> None:
        self._send = send
        self._now_us = now_us
        self._on_doubt = on_doubt
        self._thorough: set[Partition] = set()
        self.doubted: set[Partition] = set()
        self.answered_us: dict[Partition, int] = {}
        self.vouched_us: dict[Partition, int] = {}
        self.ends: dict[Partition, int] = {}
        self.unreadable: dict[Partition, dict[int, Unreadable]] = {}

    def begin(self, ends: Mapping[Partition, int]) -> None:
        """Let these partitions through, and no other; their logs are known and reach so far."""
        self.doubted.clear()
        self._thorough.clear()
        self.unreadable.clear()
        self.ends = dict(ends)
        self.answered_us = dict.fromkeys(ends, self._now_us())
        self.vouched_us = dict(self.answered_us)

    def trust(self, partition: Partition, end: int) -> None:
        """Let a doubted partition through again."""
        self.doubted.discard(partition)
        self.ends[partition] = end
        self.answered_us[partition] = self.vouched_us[partition] = self._now_us()

    def reaches(self, partition: Partition, end: int) -> None:
        """Note that the broker says so, asked by another way; one that is paused grows although it is not read."""
        if partition in self.ends and partition not in self.doubted:
            now_us = self._now_us()
            if end >= self.ends[partition] and now_us - self.vouched_us[partition] <= _GAP_US:
                self.vouched_us[partition] = now_us
            self.ends[partition] = max(end, self.ends[partition])

    def look_closely(self, partition: Partition) -> None:
        """Read every record of the partition's next answer: the library has failed on one."""
        self._thorough.add(partition)

    async def send(self, node_id: int, request: Any, **how: Any) -> Any:
        """Send as the client does, and screen the answer if it brings records."""
        if not isinstance(request, FetchRequest):
            return await self._send(node_id, request, **how)
        asked = {
            Partition(topic, number): offset for topic, partitions in request.topics for number, offset, _ in partitions
        }
        try:
            response = await self._send(node_id, request, **how)
        except KafkaError:
            self._doubt(asked)
            raise
        if response.API_VERSION >= _LEAST_VERSION:
            response.topics = [
                (topic, [seen for answer in answers if (seen := self._see(topic, answer, asked)) is not None])
                for topic, answers in response.topics
            ]
        return response

    def _see(self, topic: str, answer: tuple[Any, ...], asked: Mapping[Partition, int]) -> tuple[Any, ...] | None:
        """Return a partition's answer as the library may have it, None if it may not."""
        number, code, end, *between, data = answer
        partition = Partition(topic, number)
        if partition not in self.ends:
            return answer  # not begun yet: paused, and only asked because that came too late
        if code:
            self._doubt([partition])
            # Not for the library to mend: where the log begins and ends, and whether it is the same, is looked at first.
            return None if code == OffsetOutOfRangeError.errno else answer
        now_us = self._now_us()
        if now_us - self.vouched_us[partition] > _GAP_US or end < self.ends[partition]:
            self._doubt([partition])
        if partition in self.doubted:
            return None
        self.answered_us[partition] = self.vouched_us[partition] = now_us
        self.ends[partition] = end
        thorough = partition in self._thorough
        if not data or (not thorough and is_plain(data)):
            return answer
        self._thorough.discard(partition)
        data, found = unfold(data, asked[partition], end, thorough=thorough)
        if found:
            self.unreadable.setdefault(partition, {}).update((each.offset, each) for each in found)
        return (number, code, end, *between, data)

    def _doubt(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            if partition in self.ends and partition not in self.doubted:
                self.doubted.add(partition)
                self._on_doubt(partition)
