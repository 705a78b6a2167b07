"""
What is logged and done when a log is not as it was left: skipped records are counted and logged, once.

`consumer/beginnings.py` decides; here its decisions are carried out, at the start of an assignment and in the middle of one.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final, Protocol

import structlog

from consumer.beginnings import Beginning, Finding, Log, beginning
from consumer.envelope import Partition
from consumer.metrics import ConsumerMetrics
from consumer.ports import Progress

log: Final = structlog.stdlib.get_logger(__name__)


class Doubted(Protocol):
    """The part of a source that is used here."""

    def findings(self) -> Mapping[Partition, Finding]:
        """Return what is known about the partitions that are doubted; they are not read until `go_on`."""
        ...

    def go_on(self, partition: Partition, position: int, end: int) -> None:
        """Read a doubted partition again, from `position` on: its log is the one that was read, and reaches so far."""
        ...


class Doubts:
    """
    Settles what logs are.

    Args:
        metrics: Where to count.
    """

    def __init__(self, metrics: ConsumerMetrics) -> None:
        self._metrics = metrics
        self._since_us: dict[Partition, int] = {}

    def begin(
        self, stored: Mapping[Partition, Progress], logs: Mapping[Partition, Log]
    ) -> Mapping[Partition, Beginning]:
        """Return where to begin each partition; log and count what is gone."""
        found = {partition: beginning(progress, logs[partition]) for partition, progress in stored.items()}
        for partition, begun in found.items():
            self._tell(partition, stored[partition], logs[partition], begun)
        return found

    def note(self, doubted: Collection[Partition], now_us: int, limit_us: int) -> Collection[Partition]:
        """Note which partitions are doubted now; return those doubted for so long that no other waits for them any more."""
        if doubted or self._since_us:
            self._since_us = {partition: self._since_us.get(partition, now_us) for partition in doubted}
        return [partition for partition, since_us in self._since_us.items() if since_us < now_us - limit_us]

    def settle(self, source: Doubted) -> bool:
        """
        Have those partitions read again whose log is the one that was read, maybe without its beginning.

        Returns:
            Whether the log of another one was replaced: then all has to begin anew, after what was read is stored.
        """
        replaced = False
        for partition, finding in source.findings().items():
            stored = Progress(finding.position, None, finding.known)
            begun = beginning(stored, replace(finding.log, committed=finding.position))
            if begun.changed is not None:
                replaced = True  # logged when it begins, for only then it is known what was stored
                continue
            self._tell(partition, stored, finding.log, begun)
            source.go_on(partition, max(finding.position, finding.log.beginning), finding.log.end)
        return replaced

    def _tell(self, partition: Partition, stored: Progress, there: Log, begun: Beginning) -> None:
        for reason, count in begun.skipped.items():
            self._metrics.skipped[partition.topic, reason].inc(count)
        if begun.changed is None and not begun.skipped:
            return
        log.error(
            "records are gone before they were read" if begun.skipped else "a log is not the one that was read before",
            topic=partition.topic,
            partition=partition.number,
            changed=begun.changed,
            skipped=dict(begun.skipped),
            read_up_to=stored.next_offset,
            known_end=stored.log.end,
            log_begins=there.beginning,
            log_ends=there.end,
            goes_on_at=begun.offset,
        )
