"""What a partition's log is: where it begins and ends, of which topic, and what there is at an offset."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code
from aiokafka.protocol.fetch import FetchRequest

from consumer.adapters.kafka_batches import read, unfold
from consumer.adapters.kafka_wire import TopicsRequest, topic_ids
from consumer.beginnings import Log, fingerprint
from consumer.envelope import Partition
from consumer.ports import KnownLog


class KafkaLogs:
    """
    Looks at logs, beside whoever reads them.

    Args:
        consumer: Whose connections are used.
        send: The way to send by that sees the answers as they are.
    """

    def __init__(self, consumer: AIOKafkaConsumer, send: Callable[..., Awaitable[Any]]) -> None:
        self._consumer = consumer
        self._send = send

    async def look(self, known: Mapping[Partition, KnownLog]) -> dict[Partition, Log]:
        """
        Ask what the partitions hold, and what there is at the offsets by which they are known.

        What is not asked is what the group committed.

        Raises:
            KafkaError: Kafka did not say.
        """
        wanted = [TopicPartition(*partition) for partition in known]
        beginnings = await self._consumer.beginning_offsets(wanted)
        ends = await self._consumer.end_offsets(wanted)
        ids = await self._ids({partition.topic for partition in known})
        logs: dict[Partition, Log] = {}
        for tp in wanted:
            last, record = known[Partition(*tp)].last_offset, None
            if last is not None and beginnings[tp] <= last < ends[tp]:
                record = await self._fingerprint_at(tp, last)
            logs[Partition(*tp)] = Log(beginnings[tp], ends[tp], None, ids.get(tp.topic), record)
        return logs

    async def _ids(self, topics: Collection[str]) -> Mapping[str, str]:
        client = self._consumer._client  # noqa: SLF001 - there is no public way to ask what the library does not
        try:
            return topic_ids(await self._send(client.get_random_node(), TopicsRequest(topics)))
        except (IncompatibleBrokerVersion, NotImplementedError):
            return {}  # an elder broker, whose topics have none

    async def _fingerprint_at(self, tp: TopicPartition, offset: int) -> int | None:
        leader = self._consumer._client.cluster.leader_for_partition(tp)  # noqa: SLF001
        if leader in (None, -1):
            raise KafkaError(f"{tp.topic}/{tp.partition} has no leader")
        # A byte is enough: the broker answers with the whole batch that the offset lies in.
        request = FetchRequest(0, 1, 1, 0, [(tp.topic, [(tp.partition, offset, 1)])])
        response = await self._send(leader, request)
        [(_, [(_, code, end, *_, data)])] = response.topics
        if code:
            raise for_code(code)(f"{tp.topic}/{tp.partition}@{offset}")
        if not data:
            # There is a record: the broker holds its answer back, for a quota maybe. That is no sign of another log.
            raise KafkaError(f"no answer about {tp.topic}/{tp.partition}@{offset}")
        clean, _ = unfold(data, offset, end, thorough=True)
        return next((fingerprint(record) for record in read(clean) if record.offset == offset), None)
