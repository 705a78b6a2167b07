"""What a partition's log is: where it begins and ends, of which topic, and what there is at an offset."""

import asyncio
import time

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code
from aiokafka.protocol.fetch import FetchRequest

from consumer.adapters.kafka_topics import find_topics
from consumer.adapters.kafka_unfold import read, unfold
from consumer.beginnings import Log, fingerprint
from consumer.envelope import Partition
from consumer.ports import KnownLog

# A leader that is elected anew has not come back after this time; others do not wait for its partitions any longer.
_ELECTION_S: Final = 5.0
_LOOK_S: Final = 3.0
_LOOK_AGAIN_S: Final = 0.25
_GIVE_UP_S: Final = 30.0


class KafkaLogs:
    """
    Looks at logs, beside the reading.

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

    async def look_at_all(
        self, known: Mapping[Partition, KnownLog], hopeless: Collection[Partition] = ()
    ) -> dict[Partition, Log]:
        """
        Look at those that can be looked at; one whose broker is away, or that has no leader, is left out: all, if none has one.

        Args:
            known: As for `look`.
            hopeless: Those that are not waited for, not even for as long as an election takes.

        Raises:
            KafkaError: Not one of their leaders answers.
        """
        logs: dict[Partition, Log] = {}
        began = time.monotonic()
        while True:
            found, error = await self._look_by_leader({p: log for p, log in known.items() if p not in logs})
            logs |= found
            waited_s = time.monotonic() - began
            if known.keys() - logs.keys() <= set(hopeless) or (waited_s >= _ELECTION_S and (logs or not error)):
                return logs
            if waited_s >= _GIVE_UP_S:
                raise KafkaError(f"no partition can be read: {error}")
            await self._consumer._client.force_metadata_update()  # noqa: SLF001
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def look_once(self, partitions: Collection[Partition]) -> Collection[Partition]:
        """Return those of these partitions that can be looked at now."""
        found, _ = await self._look_by_leader(dict.fromkeys(partitions, KnownLog()))
        return found

    async def _look_by_leader(self, known: Mapping[Partition, KnownLog]) -> tuple[dict[Partition, Log], str]:
        """Ask the brokers beside each other, so that none waits for another; return their answers, and an error."""
        led: defaultdict[int, dict[Partition, KnownLog]] = defaultdict(dict)
        for partition, log in known.items():
            leader = self._consumer._client.cluster.leader_for_partition(TopicPartition(*partition))  # noqa: SLF001
            if leader not in (None, -1):
                led[leader][partition] = log
        answers = await asyncio.gather(*map(self._look_soon, led.values()), return_exceptions=True)
        logs: dict[Partition, Log] = {}
        error = ""
        for answer in answers:
            if isinstance(answer, KafkaError | TimeoutError):
                error = f"{type(answer).__name__}: {answer}"
            elif isinstance(answer, BaseException):
                raise answer
            else:
                logs |= answer
        return logs, error

    async def _look_soon(self, known: Mapping[Partition, KnownLog]) -> dict[Partition, Log]:
        async with asyncio.timeout(_LOOK_S):
            return await self.look(known)

    async def _ids(self, topics: Collection[str]) -> Mapping[str, str]:
        client = self._consumer._client  # noqa: SLF001 - there is no public way to ask what the library does not
        try:
            found = await find_topics(client, topics)
        except (IncompatibleBrokerVersion, NotImplementedError):
            return {}  # an elder broker, whose topics have none
        # The store has them in this form; another one would look like another topic.
        return {name: str(topic.id) for name, topic in found.items() if topic.id is not None}

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
