"""The region's Kafka as the consumer reads it; the only module that knows AIOKafkaConsumer."""

import asyncio
import contextlib
import time

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from consumer.decode import Record
from consumer.envelope import Partition

# The whole process is one event loop: if it stands still, so do the heartbeats, and the session ends. A second watch, over
# the time between polls, would only throw a healthy consumer out of its group while PostgreSQL is away.
_NO_POLL_LIMIT_MS: Final = 2**31 - 1
# What comes within this time is read, put in order and stored together, unless it is a lot: beside the reorder window nobody
# notices, and a turn of the consumer, a transaction and a fetch cost the same for one event as for a handful.
_FETCH_WAIT_MS: Final = 50
_FETCH_MIN_BYTES: Final = 16_384
_STOP_S: Final = 5


@dataclass(frozen=True, slots=True)
class Range:
    """
    What a partition holds and what was committed of it.

    Attributes:
        beginning: First offset that retention has left.
        end: Offset the next record will get.
        committed: Offset the group committed, None if it did not.
    """

    beginning: int
    end: int
    committed: int | None


@dataclass(slots=True)
class _Response:
    stamp: int
    at_us: int
    before_us: int | None  # the one before it
    is_used: bool = False


class KafkaSource:
    """
    Reads the region's topics as one member of the consumer group.

    Args:
        bootstrap_servers: The region's Kafka.
        group: Consumer group.
        client_id: How the broker's logs name this process.
        topics: What to read.
        now_us: Clock, microseconds since 1970, never backwards.
        on_revoked: Awaited before partitions go to somebody else; must return soon.
        on_assigned: Called with the new partitions, which are paused until `begin`.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        group: str,
        client_id: str,
        topics: Collection[str],
        now_us: Callable[[], int],
        on_revoked: Callable[[], Awaitable[None]],
        on_assigned: Callable[[Collection[Partition]], None],
    ) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            group_id=group,
            client_id=client_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_interval_ms=_NO_POLL_LIMIT_MS,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2_000,
            rebalance_timeout_ms=15_000,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            fetch_min_bytes=_FETCH_MIN_BYTES,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            metadata_max_age_ms=30_000,
        )
        self._topics = list(topics)
        self._now_us = now_us
        self._listener = _Listener(self, on_revoked, on_assigned)
        self._responses: dict[Partition, _Response] = {}
        self._answered_us = self._looked_us = now_us()

    async def start(self) -> None:
        """
        Connect and join the group; partitions follow through `on_assigned`.

        Raises:
            KafkaError: Kafka cannot be reached.
        """
        await self._consumer.start()
        self._consumer.subscribe(self._topics, listener=self._listener)

    async def stop(self) -> None:
        """Leave the group; `on_revoked` is not called."""
        # A broker that is gone cannot be told goodbye; it notices by itself when the session times out.
        with contextlib.suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(_STOP_S):
                await self._consumer.stop()

    async def ranges(self, partitions: Collection[Partition]) -> dict[Partition, Range]:
        """
        Ask what the partitions hold.

        Raises:
            KafkaError: Kafka did not say.
        """
        wanted = [TopicPartition(*partition) for partition in partitions]
        beginnings = await self._consumer.beginning_offsets(wanted)
        ends = await self._consumer.end_offsets(wanted)
        return {Partition(*tp): Range(beginnings[tp], ends[tp], await self._consumer.committed(tp)) for tp in wanted}

    def begin(self, starts: Mapping[Partition, int]) -> None:
        """
        Start to read assigned partitions at the given offsets.

        Raises:
            KafkaError: They are not assigned any more.
        """
        self._responses.clear()
        for partition, offset in starts.items():
            self._consumer.seek(TopicPartition(*partition), offset)
        self._consumer.resume(*(TopicPartition(*partition) for partition in starts))

    async def poll(self, shares: Mapping[Partition, int], timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        """
        Return what was read since the last call; waits for `timeout_s` at most if that is nothing.

        Args:
            shares: How many records of each partition at most. The client alone would empty one after the other.
            timeout_s: In seconds.

        Raises:
            KafkaError: The group or the cluster refuses this consumer.
        """
        running = sorted(self._consumer.assignment() - self._consumer.paused())
        polled: dict[TopicPartition, Sequence[Record]] = {}
        for tp in running:
            if share := shares.get(Partition(*tp)):
                polled |= await self._consumer.getmany(tp, max_records=share)
        if not polled:
            least = min(shares.values(), default=1)
            polled = await self._consumer.getmany(*running, timeout_ms=int(timeout_s * 1000), max_records=least)
        if polled:
            self._answered_us = self._now_us()
        return {Partition(*tp): records for tp, records in polled.items()}

    def pause_only(self, partitions: Collection[Partition]) -> None:
        """Pause these partitions and let all others run."""
        wanted = {TopicPartition(*partition) for partition in partitions}
        paused: set[TopicPartition] = self._consumer.paused()
        if wanted - paused:
            self._consumer.pause(*(wanted - paused))
        if paused - wanted:
            self._consumer.resume(*(paused - wanted))

    async def known_empty(self) -> dict[Partition, int]:
        """
        Return the partitions with nothing unread, each with the time until which that is certain.

        A fetch is sent after the answer to the one before. So an answer that shows nothing unread proves it for the time
        of the *previous* answer, however long it lay in a socket since (a suspended process). Each proof is given once.
        """
        now_us, wall_ms = self._now_us(), int(time.time() * 1000)
        self._looked_us = now_us
        empty: dict[Partition, int] = {}
        for tp in self._consumer.assignment():
            stamp = self._consumer.last_poll_timestamp(tp)
            partition = Partition(*tp)
            if stamp is None:
                continue
            latest = self._responses.get(partition)
            if latest is None or latest.stamp != stamp:
                at_us = now_us - max(0, wall_ms - stamp) * 1000
                latest = _Response(stamp, at_us, None if latest is None else latest.at_us)
                self._responses[partition] = latest
            # Also when what it brought took more than one poll to read.
            if latest.before_us is not None and not latest.is_used and await self._unread(tp) == 0:
                empty[partition], latest.is_used = latest.before_us, True
        return empty

    def silence_s(self, limit_s: float) -> float:
        """
        Return for how long the broker has answered no fetch, in seconds; 0 unless it was longer than `limit_s`.

        Only what was seen to be missing counts: while nobody looks, because the store is waited for, answers may lie there.
        """
        if not self._responses:
            return 0.0
        answered_us = max(self._answered_us, *(r.at_us for r in self._responses.values()))
        missed_s = (self._looked_us - answered_us) / 1e6
        return (self._now_us() - answered_us) / 1e6 if missed_s > limit_s else 0.0

    async def ask_ends(self, partitions: Collection[Partition], timeout_s: float) -> dict[Partition, int]:
        """Return the end offsets as the broker says at this moment, nothing if it does not say."""
        try:
            async with asyncio.timeout(timeout_s):
                ends = await self._consumer.end_offsets([TopicPartition(*partition) for partition in partitions])
        except (TimeoutError, KafkaError):
            return {}
        return {Partition(*tp): end for tp, end in ends.items()}

    def ends(self) -> dict[Partition, int]:
        """Return the end offsets as of the latest fetch."""
        ends: dict[Partition, int] = {}
        for tp in self._consumer.assignment():
            end = self._consumer.highwater(tp)
            if end is not None:
                ends[Partition(*tp)] = end
        return ends

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit offsets; False if the group has moved on, which is harmless: its next owner asks the store."""
        try:
            await self._consumer.commit({TopicPartition(*p): offset for p, offset in offsets.items()})
        except (CommitFailedError, IllegalStateError):
            return False
        return True

    async def _unread(self, tp: TopicPartition) -> int | None:
        end = self._consumer.highwater(tp)
        if end is None:
            return None
        try:
            # Answers at once unless the position is being reset.
            async with asyncio.timeout(0.05):
                position: int = await self._consumer.position(tp)
        except (TimeoutError, IllegalStateError, KafkaError):
            return None
        return max(0, int(end) - position)

    def pause_all(self, partitions: Collection[Any]) -> None:
        """Pause what was just assigned."""
        if partitions:
            self._consumer.pause(*partitions)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library ships no types
    def __init__(
        self,
        source: KafkaSource,
        on_revoked: Callable[[], Awaitable[None]],
        on_assigned: Callable[[Collection[Partition]], None],
    ) -> None:
        self._source = source
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        if revoked:
            await self._on_revoked()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._source.pause_all(assigned)
        self._on_assigned([Partition(*tp) for tp in assigned])
