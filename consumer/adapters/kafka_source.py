"""The region's Kafka as the consumer reads it; the only module that knows AIOKafkaConsumer."""

import asyncio
import contextlib
import time

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    UnsupportedCodecError,
)

from consumer.adapters.kafka_errors import as_source_unavailable
from consumer.adapters.kafka_logs import KafkaLogs
from consumer.adapters.kafka_missing import Missing
from consumer.adapters.kafka_screen import Screen
from consumer.beginnings import Finding, Log, fingerprint
from consumer.decode import Record, UnreadableRecord
from consumer.envelope import Partition
from consumer.ports import KnownLog, SourceUnavailableError
from consumer.source import OnAssigned, OnRevoked

log: Final = structlog.stdlib.get_logger(__name__)

# The whole process is one event loop: if it stands still, so do the heartbeats, and the session ends. A second watch, over
# the time between polls, would only throw a healthy consumer out of its group while PostgreSQL is away.
_NO_POLL_LIMIT_MS: Final = 2**31 - 1
# What comes within this time is read, put in order and stored together, unless it is a lot: beside the reorder window nobody
# notices, and a turn of the consumer, a transaction and a fetch cost the same for one event as for a handful.
_FETCH_WAIT_MS: Final = 50
_FETCH_MIN_BYTES: Final = 16_384
_STOP_S: Final = 5


# What the library raises for a record that it cannot read; all else is about the cluster, or a fault of ours.
_UNREAD: Final = (UnicodeDecodeError, CorruptRecordException, UnsupportedCodecError)
_LOOK_S: Final = 2.0
_LOOK_AGAIN_S: Final = 0.25
_FIND_EVERY_S: Final = 1.0


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
        on_revoked: OnRevoked,
        on_assigned: OnAssigned,
    ) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            group_id=group,
            client_id=client_id,
            enable_auto_commit=False,
            auto_offset_reset="none",  # where to go on when a position is not there any more is not the library's to decide
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
        client = self._consumer._client  # noqa: SLF001 - there is no public way to see what the broker answers
        self._logs = KafkaLogs(self._consumer, client.send)
        self._missing = Missing(self._logs, client)
        self._screen = Screen(client.send, now_us, self._on_doubt)
        client.send = self._screen.send
        self._known: dict[Partition, KnownLog] = {}
        self._last: dict[Partition, Record] = {}
        self._findings: dict[Partition, Finding] = {}
        self._looking: asyncio.Task[None] | None = None
        self._finding: asyncio.Task[None] | None = None
        self._responses: dict[Partition, _Response] = {}
        self._answered_us = self._looked_us = now_us()

    async def start(self) -> None:
        """
        Connect and join the group; partitions follow through `on_assigned`.

        Raises:
            SourceUnavailableError: Kafka cannot be reached.
        """
        with as_source_unavailable():
            await self._consumer.start()
        self._consumer.subscribe(self._topics, listener=self._listener)

    async def stop(self) -> None:
        """Leave the group and close everything; `on_revoked` is not called."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await self._missing.stop()
        # A broker that is gone cannot be told goodbye; it notices by itself when the session times out.
        with contextlib.suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(_STOP_S):
                await self._consumer.stop()
                return
        # That was cut off, and a second call would do nothing: the library closes what holds sockets last.
        coordinator, fetcher = self._consumer._coordinator, self._consumer._fetcher  # noqa: SLF001
        if coordinator is not None:
            await _end_tasks_of(coordinator)
        for part in (fetcher, self._consumer._client):  # noqa: SLF001
            if part is not None:
                with contextlib.suppress(TimeoutError, KafkaError):
                    async with asyncio.timeout(_STOP_S):
                        await part.close()

    async def look(self, known: Mapping[Partition, KnownLog]) -> Mapping[Partition, Log]:
        """
        Look at assigned partitions, and ask what the group committed; see `Source.look`.

        Raises:
            SourceUnavailableError: Kafka did not say.
        """
        with as_source_unavailable():
            logs = await self._logs.look_at_all(known, hopeless=self._missing.partitions)
            return {
                partition: replace(log, committed=await self._consumer.committed(TopicPartition(*partition)))
                for partition, log in logs.items()
            }

    def begin(
        self,
        starts: Mapping[Partition, int],
        known: Mapping[Partition, KnownLog],
        missing: Collection[Partition] = (),
    ) -> None:
        """
        Start to read assigned partitions at the given offsets.

        Args:
            starts: The offsets.
            known: By what each log is known again until something of it has been read.
            missing: Partitions to look for from now on; `found` says when to begin anew with them.

        Raises:
            SourceUnavailableError: They are not assigned any more.
        """
        self._responses.clear()
        self._last.clear()
        self._findings.clear()
        self._known = dict(known)
        self._screen.begin({partition: log.end or 0 for partition, log in known.items()})
        with as_source_unavailable():
            for partition, offset in starts.items():
                self._consumer.seek(TopicPartition(*partition), offset)
            self._consumer.resume(*(TopicPartition(*partition) for partition in starts))
            self._consumer.pause(*(TopicPartition(*partition) for partition in missing))
        self._missing.look_for(missing)

    @property
    def missing(self) -> frozenset[Partition]:
        """Assigned partitions that could not be begun: they have no leader, or it is away."""
        return self._missing.partitions

    @property
    def found(self) -> bool:
        """Whether one of the missing can be begun by now."""
        return self._missing.found

    @property
    def doubts(self) -> Collection[Partition]:
        """The partitions whose log may not be the one that was read."""
        return frozenset(self._screen.doubted)

    def findings(self) -> Mapping[Partition, Finding]:
        """Return what is known about the partitions that are doubted; they are not read until `go_on`."""
        if self._looking is not None and self._looking.done() and not self._looking.cancelled():
            self._looking.result()  # a fault of ours: to go on would be to leave them unread in silence
        return dict(self._findings)

    def go_on(self, partition: Partition, position: int, end: int) -> None:
        """Read a doubted partition again, from `position` on: its log is the one that was read, and reaches so far."""
        self._findings.pop(partition, None)
        self._screen.trust(partition, end)
        with contextlib.suppress(IllegalStateError):  # it has gone to somebody else
            self._consumer.seek(TopicPartition(*partition), position)
            self._consumer.resume(TopicPartition(*partition))

    async def poll(self, shares: Mapping[Partition, int], timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        """
        Return what was read since the last call; waits for `timeout_s` at most if that is nothing.

        Args:
            shares: How many records of each partition at most. The client alone would empty one after the other.
            timeout_s: In seconds.

        Raises:
            SourceUnavailableError: The group or the cluster refuses this consumer.
        """
        running = sorted(self._consumer.assignment() - self._consumer.paused())
        polled: dict[TopicPartition, Sequence[Record]] = {}
        for tp in running:
            if share := shares.get(Partition(*tp)):
                polled |= await self._getmany(tp, max_records=share)
        if not polled:
            least = min(shares.values(), default=1)
            polled = await self._getmany(*running, timeout_ms=int(timeout_s * 1000), max_records=least)
        if polled:
            self._answered_us = self._now_us()
        # Of one that was begun before and is missing now there may be something left.
        return {
            partition: self._seen(partition, records)
            for tp, records in polled.items()
            if (partition := Partition(*tp)) not in self._missing.partitions
        }

    async def _getmany(self, *tps: TopicPartition, **limits: int) -> dict[TopicPartition, Sequence[Record]]:
        """Return what the library has, and see to it that the next answer is read here where it cannot read one."""
        before = {tp: self._position(tp) for tp in tps}
        try:
            polled: dict[TopicPartition, Sequence[Record]] = await self._consumer.getmany(*tps, **limits)
        except NoOffsetForPartitionError:
            return {}  # just assigned, and to begin where we say
        except _UNREAD as exc:
            # The library has thrown away what it had read before, and would go on behind it.
            log.warning("records cannot be read as they are", error=f"{type(exc).__name__}: {exc}")
            for tp, position in before.items():
                if position is not None:
                    self._screen.look_closely(Partition(*tp))
                    self._consumer.seek(tp, position)
            return {}
        except KafkaError as exc:
            raise SourceUnavailableError(str(exc)) from exc
        return polled

    def _seen(self, partition: Partition, records: Sequence[Record]) -> Sequence[Record]:
        """Put what could not be read where it belongs, and remember the last record."""
        if unreadable := self._screen.unreadable.get(partition):
            records = [
                record if (found := unreadable.pop(record.offset, None)) is None else UnreadableRecord(*found)
                for record in records
            ]
        if fingerprint(records[-1]) is not None:
            self._last[partition] = records[-1]
        return records

    def _position(self, tp: TopicPartition) -> int | None:
        subscription = self._consumer._subscription.subscription  # noqa: SLF001 - the public way waits until there is one
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None or tp not in assignment.tps else assignment.state_value(tp)
        return None if state is None or not state.has_valid_position else int(state.position)

    def _on_doubt(self, partition: Partition) -> None:
        with contextlib.suppress(IllegalStateError):
            self._consumer.pause(TopicPartition(*partition))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Look at the doubted partitions, each by itself: one whose broker is away must not hold up another."""
        while missing := self._screen.doubted - self._findings.keys():
            for partition in sorted(missing & self._screen.doubted):
                with contextlib.suppress(TimeoutError, KafkaError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._look_at(partition)
                if not self._screen.doubted:
                    return  # they have gone to somebody else meanwhile, or begun anew
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _look_at(self, partition: Partition) -> None:
        known = self.known(partition)
        found = (await self._logs.look({partition: known}))[partition]
        position = self._position(TopicPartition(*partition))
        if position is not None and partition in self._screen.doubted:
            self._findings[partition] = Finding(position, known, found)

    def known(self, partition: Partition) -> KnownLog:
        """Return by what the log of a partition is known again that is being read."""
        known, last = self._known[partition], self._last.get(partition)
        if last is not None:
            known = replace(known, last_offset=last.offset, last_record=fingerprint(last))
        return replace(known, end=self._screen.ends[partition])

    def pause_only(self, partitions: Collection[Partition]) -> None:
        """Pause these partitions and let all others run that are not doubted, and have begun."""
        wanted = {
            TopicPartition(*partition) for partition in self._screen.doubted.union(partitions, self._missing.partitions)
        }
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
            if stamp is None or partition in self._missing.partitions:
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

    def silent(self, limit_s: float) -> list[Partition]:
        """
        Return the partitions that should be read and for which no broker has answered for longer than `limit_s`.

        As in `silence_s`, only what was seen to be missing counts.
        """
        since_us = self._looked_us - int(limit_s * 1e6)
        paused = {Partition(*tp) for tp in self._consumer.paused()} - self._screen.doubted
        return sorted(
            partition
            for partition, answered_us in self._screen.answered_us.items()
            if answered_us < since_us and partition not in paused and partition not in self._findings
        )

    async def ask_ends(self, partitions: Collection[Partition], timeout_s: float) -> dict[Partition, int]:
        """Return the end offsets as the broker says at this moment, nothing if it does not say."""
        try:
            async with asyncio.timeout(timeout_s):
                ends = await self._consumer.end_offsets([TopicPartition(*partition) for partition in partitions])
        except (TimeoutError, KafkaError):
            return {}
        for tp, end in ends.items():
            self._screen.reaches(Partition(*tp), end)
        return {Partition(*tp): end for tp, end in ends.items()}

    @property
    def ends(self) -> Mapping[Partition, int]:
        """How far the partitions are known to reach at any moment, until they begin anew."""
        return self._screen.ends

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """
        Commit offsets; False if the group has moved on, which is harmless: its next owner asks the store.

        Raises:
            SourceUnavailableError: Whether they are committed is unknown.
        """
        try:
            await self._consumer.commit({TopicPartition(*p): offset for p, offset in offsets.items()})
        except (CommitFailedError, IllegalStateError):
            return False
        except KafkaError as exc:
            raise SourceUnavailableError(str(exc)) from exc
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
        """Pause what was just assigned; what is not assigned any more is no matter of ours."""
        self._screen.begin({})
        self._findings.clear()
        self._missing.look_for(())
        if partitions:
            self._consumer.pause(*partitions)


async def _end_tasks_of(coordinator: Any) -> None:
    """End what a coordinator does in the background, when it could not be closed."""
    for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task"):
        task = getattr(coordinator, name, None)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library ships no types
    def __init__(
        self,
        source: KafkaSource,
        on_revoked: OnRevoked,
        on_assigned: OnAssigned,
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
