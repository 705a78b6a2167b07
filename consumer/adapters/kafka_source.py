"""The region's Kafka as the consumer reads it: `Source` on a member of the consumer group."""

import asyncio
import contextlib
import time

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    UnsupportedCodecError,
)

from consumer.adapters.kafka_doubted import DoubtedLogs
from consumer.adapters.kafka_errors import as_source_unavailable
from consumer.adapters.kafka_logs import KafkaLogs
from consumer.adapters.kafka_member import GroupListener, close, new_member, position_of, unread_of
from consumer.adapters.kafka_missing import Missing
from consumer.adapters.kafka_proofs import Proofs
from consumer.adapters.kafka_screen import Screen
from consumer.beginnings import Finding, Log
from consumer.decode import Record, UnreadableRecord
from consumer.envelope import Partition
from consumer.ports import KnownLog, SourceUnavailableError
from consumer.source import OnAssigned, OnRevoked
from shared.process.kafka_settings import OPEN, Access

log: Final = structlog.stdlib.get_logger(__name__)

# What the library raises for a record that it cannot read; all else is about the cluster, or a fault of ours.
_UNREAD: Final = (UnicodeDecodeError, CorruptRecordException, UnsupportedCodecError)


class KafkaSource:
    """
    Reads the region's topics as one member of the consumer group.

    Args:
        bootstrap_servers: The region's Kafka.
        group: Consumer group.
        client_id: How the broker's logs name this process.
        topics: What to read.
        now_us: Clock, microseconds since 1970, never backwards.
        on_revoked: Awaited before partitions go to another consumer; must return soon.
        on_assigned: Called with the new partitions, which are paused until `begin`.
        access: How Kafka lets a client in.
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
        access: Access = OPEN,
    ) -> None:
        self._consumer = new_member(bootstrap_servers, group, client_id, access)
        self._topics = list(topics)
        self._now_us = now_us
        self._listener = GroupListener(self._pause_all, on_revoked, on_assigned)
        client = self._consumer._client  # noqa: SLF001 - there is no public way to see what the broker answers
        self._logs = KafkaLogs(self._consumer, client.send)
        self._missing = Missing(self._logs, client)
        self._screen = Screen(client.send, now_us, self._on_doubt)
        client.send = self._screen.send
        self._doubted = DoubtedLogs(self._logs, self._screen, self._position)
        self._proofs = Proofs(now_us())

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
        await self._doubted.stop()
        await self._missing.stop()
        await close(self._consumer)

    async def look(self, known: Mapping[Partition, KnownLog]) -> Mapping[Partition, Log]:
        """Look at assigned partitions, and ask what the group committed; see `Source`."""
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
        """Start to read assigned partitions at the given offsets; see `Source`."""
        self._proofs.begin()
        self._doubted.begin(known)
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

    @property
    def ends(self) -> Mapping[Partition, int]:
        """How far the partitions are known to reach at any moment, until they begin anew."""
        return self._screen.ends

    def findings(self) -> Mapping[Partition, Finding]:
        """Return what is known about the partitions that are doubted; they are not read until `go_on`."""
        return self._doubted.findings()

    def go_on(self, partition: Partition, position: int, end: int) -> None:
        """Read a doubted partition again, from `position` on: its log is the one that was read, and reaches so far."""
        self._doubted.forget(partition)
        self._screen.trust(partition, end)
        with contextlib.suppress(IllegalStateError):  # it went to another consumer
            self._consumer.seek(TopicPartition(*partition), position)
            self._consumer.resume(TopicPartition(*partition))

    async def poll(self, shares: Mapping[Partition, int], timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        """Return what was read since the last call; see `Source`. The client alone would empty one after the other."""
        running = sorted(self._consumer.assignment() - self._consumer.paused())
        polled: dict[TopicPartition, Sequence[Record]] = {}
        for tp in running:
            if share := shares.get(Partition(*tp)):
                polled |= await self._getmany(tp, max_records=share)
        if not polled:
            least = min(shares.values(), default=1)
            polled = await self._getmany(*running, timeout_ms=int(timeout_s * 1000), max_records=least)
        if polled:
            self._proofs.records_came(self._now_us())
        # Of a partition that was begun before and is missing now, some records may be left.
        return {
            partition: self._seen(partition, records)
            for tp, records in polled.items()
            if (partition := Partition(*tp)) not in self._missing.partitions
        }

    async def _getmany(self, *tps: TopicPartition, **limits: int) -> dict[TopicPartition, Sequence[Record]]:
        """Return what the library has; have the next answer read here where the library cannot read one."""
        before = {tp: position_of(self._consumer, tp) for tp in tps}
        try:
            polled: dict[TopicPartition, Sequence[Record]] = await self._consumer.getmany(*tps, **limits)
        except NoOffsetForPartitionError:
            return {}  # just assigned, and not begun
        except _UNREAD as exc:
            # The library has thrown away what it had read before, and would read on behind it.
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
        self._doubted.read(partition, records[-1])
        return records

    def _position(self, partition: Partition) -> int | None:
        return position_of(self._consumer, TopicPartition(*partition))

    def _on_doubt(self, partition: Partition) -> None:
        with contextlib.suppress(IllegalStateError):
            self._consumer.pause(TopicPartition(*partition))
        self._doubted.look()

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
        """Return the partitions with nothing unread, each with the time until which that is proven; each proof once."""
        now_us, wall_ms = self._now_us(), int(time.time() * 1000)
        self._proofs.look(now_us)
        empty: dict[Partition, int] = {}
        for tp in self._consumer.assignment():
            stamp_ms = self._consumer.last_poll_timestamp(tp)
            partition = Partition(*tp)
            if stamp_ms is None or partition in self._missing.partitions:
                continue
            # Also when what the answer brought took more than one poll to read.
            until_us = self._proofs.note(partition, stamp_ms, now_us, wall_ms)
            if until_us is not None and await unread_of(self._consumer, tp) == 0:
                empty[partition] = until_us
                self._proofs.use(partition)
        return empty

    def silence_s(self, limit_s: float) -> float:
        """Return for how long the broker has answered no fetch, in seconds; 0 unless it was longer than `limit_s`."""
        return self._proofs.silence_s(self._now_us(), limit_s)

    def silent(self, limit_s: float) -> list[Partition]:
        """Return the partitions that should be read and for which no broker has answered for longer than `limit_s`."""
        since_us = self._proofs.seen_since_us(limit_s)
        paused = {Partition(*tp) for tp in self._consumer.paused()} - self._screen.doubted
        return sorted(
            partition
            for partition, answered_us in self._screen.answered_us.items()
            if answered_us < since_us and partition not in paused and not self._doubted.is_found(partition)
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

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit offsets; False if the group has moved on; see `Source`."""
        try:
            await self._consumer.commit({TopicPartition(*p): offset for p, offset in offsets.items()})
        except (CommitFailedError, IllegalStateError):
            return False
        except KafkaError as exc:
            raise SourceUnavailableError(str(exc)) from exc
        return True

    def _pause_all(self, partitions: Collection[TopicPartition]) -> None:
        """Pause what was just assigned; what is not assigned any more is no matter of ours."""
        self._screen.begin({})
        self._doubted.forget()
        self._missing.look_for(())
        if partitions:
            self._consumer.pause(*partitions)
