"""
Marks at the end of a log: what Kafka itself writes where a transaction ends. No client reads them, and no mirror copies them.

Each takes an offset. So a partition whose last record is copied may still end behind it, for as long as no other comes.
"""

from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest

from consumer.adapters.kafka_batches import mark_base

# Transactions without an event leave marks, too; more of them in a row are not to be expected.
_MOST: Final = 16


class TrailingMarks:
    """
    Counts them where a log has come to rest; one that grows is not looked at.

    Args:
        client: Knows which brokers lead the partitions.
    """

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client
        self._ends: Mapping[TopicPartition, int] = {}
        self._known: dict[TopicPartition, tuple[int, int]] = {}

    async def count(
        self, beginnings: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        """
        Return how many offsets at each end are taken by marks.

        Raises:
            KafkaError: Kafka did not say.
        """
        before, self._ends = self._ends, dict(ends)
        counts = {}
        for partition, end in ends.items():
            if end < before.get(partition, 0):
                self._known.pop(partition, None)  # another log, which may come to the same end
            known_end, marks = self._known.get(partition, (-1, 0))
            if known_end != end and before.get(partition) == end:
                marks = await self._marks_before(partition, beginnings[partition], end)
                self._known[partition] = known_end, _ = end, marks
            counts[partition] = marks if known_end == end else 0
        return counts

    async def _marks_before(self, partition: TopicPartition, beginning: int, end: int) -> int:
        base = end
        for _ in range(_MOST):
            leader = self._client.cluster.leader_for_partition(partition)
            if base <= beginning or leader in (None, -1):
                break
            # A byte is enough: the broker answers with the whole batch that the offset lies in.
            request = FetchRequest(0, 1, 1, 0, [(partition.topic, [(partition.partition, base - 1, 1)])])
            response = await self._client.send(leader, request)
            [(_, [(*_, data)])] = response.topics
            found = mark_base(data or b"")
            if found is None:
                break
            base = found
        return end - base
