"""Partitions whose log may not be the one that was being read: looked at until it is known what it is."""

import asyncio
import contextlib

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from aiokafka.errors import KafkaError

from consumer.adapters.kafka_logs import KafkaLogs
from consumer.adapters.kafka_screen import Screen
from consumer.beginnings import Finding, fingerprint
from consumer.decode import Record
from consumer.envelope import Partition
from consumer.ports import KnownLog

_LOOK_S: Final = 2.0
_LOOK_AGAIN_S: Final = 0.25


class DoubtedLogs:
    """
    Looks at them.

    Args:
        logs: Looks at partitions.
        screen: Says which are doubted.
        position: Returns the offset of a partition that is read next.
    """

    def __init__(self, logs: KafkaLogs, screen: Screen, position: Callable[[Partition], int | None]) -> None:
        self._logs = logs
        self._screen = screen
        self._position = position
        self._known: dict[Partition, KnownLog] = {}
        self._last: dict[Partition, Record] = {}
        self._findings: dict[Partition, Finding] = {}
        self._looking: asyncio.Task[None] | None = None

    def begin(self, known: Mapping[Partition, KnownLog]) -> None:
        """Begin anew with these logs; nothing was read of them yet."""
        self._known = dict(known)
        self._last.clear()
        self._findings.clear()

    def is_found(self, partition: Partition) -> bool:
        """Say whether it is known what the log of a partition is."""
        return partition in self._findings

    def read(self, partition: Partition, last: Record) -> None:
        """Note the last record that was read of a partition: its log is known again by it."""
        if fingerprint(last) is not None:
            self._last[partition] = last

    def findings(self) -> Mapping[Partition, Finding]:
        """Return what is known about those that are doubted."""
        if self._looking is not None and self._looking.done() and not self._looking.cancelled():
            self._looking.result()  # a fault of ours: to go on would be to leave them unread in silence
        return dict(self._findings)

    def forget(self, partition: Partition | None = None) -> None:
        """Forget what was found out, about one partition or about all."""
        if partition is None:
            self._findings.clear()
        else:
            self._findings.pop(partition, None)

    def look(self) -> None:
        """Look at those that are doubted now, in a task beside the reading."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Look at nothing any more."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self) -> None:
        """Look at the doubted partitions, each by itself: one whose broker is away must not hold up another."""
        while missing := self._screen.doubted - self._findings.keys():
            for partition in sorted(missing & self._screen.doubted):
                with contextlib.suppress(TimeoutError, KafkaError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._look_at(partition)
                if not self._screen.doubted:
                    return  # they went to another consumer meanwhile, or began anew
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _look_at(self, partition: Partition) -> None:
        known = self._known_log(partition)
        found = (await self._logs.look({partition: known}))[partition]
        position = self._position(partition)
        if position is not None and partition in self._screen.doubted:
            self._findings[partition] = Finding(position, known, found)

    def _known_log(self, partition: Partition) -> KnownLog:
        known, last = self._known[partition], self._last.get(partition)
        if last is not None:
            known = replace(known, last_offset=last.offset, last_record=fingerprint(last))
        return replace(known, end=self._screen.ends[partition])
