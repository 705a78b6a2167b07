"""
Rows that cannot be stored now because of their day, while those of other days can. Pure.

Another session has locked a day's partition, or the partition is just being made. Its rows wait here, and what comes of that
day meanwhile waits behind them; their records count as not done. Those that were in time are late by what was stored past them
in their order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from consumer.envelope import Envelope, Lateness, Partition, Row
from consumer.ports import Progress
from shared.event.model import EPOCH

DAY_US: Final = 86_400_000_000
_NEVER: Final = -(2**62)


class WaitingRows:
    """
    What waits.

    Args:
        lateness: Says how late an event is, by a watermark.
        day_us: How long a day is.

    Attributes:
        days: Those that have rows here, by their number since 1970.
        held_bytes: Bytes of the events that wait, as they were read and as rows.
    """

    def __init__(self, lateness: Callable[[Envelope, int], Lateness], day_us: int = DAY_US) -> None:
        self._lateness = lateness
        self._day_us = day_us
        self._rows: list[Row] = []
        self._passed_us: dict[str, int] = {}  # of each order
        self._overtaken: set[tuple[Partition, int]] = set()
        self.days: set[int] = set()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        days = ", ".join(str(EPOCH.date() + timedelta(days=day)) for day in sorted(self.days))
        return f"{len(self._rows)} events of {days}"

    def add(self, rows: Iterable[Row]) -> None:
        """Let these wait."""
        for row in rows:
            envelope = row.envelope
            # One that waits again was in time still, when it came.
            again = (envelope.partition, envelope.offset) in self._overtaken
            self._rows.append(row._replace(lateness=None) if again else row)
            self.held_bytes += len(envelope.value) + len(envelope.columns)
            self.days.add(envelope.time_us // self._day_us)

    def keep_back(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Let those wait whose day has rows waiting, otherwise they would get past them; return the others."""
        self.add([row for row in rows if row.envelope.time_us // self._day_us in self.days])
        return [row for row in rows if row.envelope.time_us // self._day_us not in self.days]

    def passed_by(self, rows: Iterable[Row]) -> None:
        """Note that these were stored meanwhile; each passes what waits in its own order."""
        if self._rows:
            for envelope, lateness, order in rows:
                if lateness is None and envelope.time_us > self._passed_us.get(order, _NEVER):
                    self._passed_us[order] = envelope.time_us

    def take(self) -> list[Row]:
        """Return what waits, in order, as it is to be stored now; nothing waits any more."""
        rows, self._rows, self.days, self.held_bytes = sorted(self._rows), [], set(), 0
        if not self._passed_us:
            return rows
        for index, (envelope, lateness, order) in enumerate(rows):
            passed_us = self._passed_us.get(order, _NEVER)
            if lateness is None and envelope.time_us < passed_us:
                rows[index] = Row(envelope, self._lateness(envelope, passed_us), order)
                self._overtaken.add((envelope.partition, envelope.offset))
        return rows

    def forget_who_passed(self) -> None:
        """Begin anew if nothing waits."""
        if not self._rows:
            self._passed_us.clear()
            self._overtaken.clear()

    def hold_back(self, progress: Mapping[Partition, Progress]) -> Mapping[Partition, Progress]:
        """Return the progress without what waits: it is read again after a crash, and then no later than it is now."""
        if not self._rows:
            return progress
        lowest: dict[Partition, int] = {}
        in_time: dict[str, int] = {}  # by topic: a successor decides anew in which order all of a topic is
        for envelope, lateness, _ in self._rows:
            partition = envelope.partition
            lowest[partition] = min(envelope.offset, lowest.get(partition, envelope.offset))
            if lateness is None:
                in_time[partition.topic] = min(envelope.time_us, in_time.get(partition.topic, envelope.time_us))
        return {
            partition: replace(
                done,
                next_offset=_least(done.next_offset, lowest.get(partition)),
                watermark_us=_least(done.watermark_us, in_time.get(partition.topic)),
            )
            for partition, done in progress.items()
        }

    def hold_offsets_back(self, offsets: dict[Partition, int]) -> dict[Partition, int]:
        """Return offsets of which none has passed what waits."""
        for envelope, _, _ in self._rows:
            if envelope.offset < offsets.get(envelope.partition, -1):
                offsets[envelope.partition] = envelope.offset
        return offsets


def _least(done: int | None, held: int | None) -> int | None:
    return done if held is None or done is None else min(done, held)
