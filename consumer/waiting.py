"""
Rows that cannot be stored now because of their day, while those of other days can. Pure.

Somebody has locked a day's partition, or it is just being made. Its rows wait here, and what comes of that day meanwhile waits
behind them; their records count as not done. Those that were in time are late by what was stored past them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from consumer.envelope import Envelope, Lateness, Partition, Row
from consumer.ports import Progress

DAY_US: Final = 86_400_000_000


class WaitingRows:
    """
    What waits.

    Args:
        lateness: Says how late an event is, by a watermark.
        day_us: How long a day is.

    Attributes:
        days: Those that have rows here, by their number since 1970.
    """

    def __init__(self, lateness: Callable[[Envelope, int], Lateness], day_us: int = DAY_US) -> None:
        self._lateness = lateness
        self._day_us = day_us
        self._rows: list[Row] = []
        self._passed_us: int | None = None
        self._overtaken: set[tuple[Partition, int]] = set()
        self.days: set[int] = set()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def held_bytes(self) -> int:
        """Bytes of the events that wait."""
        return sum(len(envelope.value) + len(envelope.columns) for envelope, _ in self._rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Let these wait."""
        for row in rows:
            envelope = row.envelope
            # One that waits again was in time still, when it came.
            again = (envelope.partition, envelope.offset) in self._overtaken
            self._rows.append(Row(envelope) if again else row)
            self.days.add(envelope.time_us // self._day_us)

    def keep_back(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Let those wait whose day has rows waiting, else they would get past them; return the others."""
        if not self.days:
            return rows
        self.add([row for row in rows if row.envelope.time_us // self._day_us in self.days])
        return [row for row in rows if row.envelope.time_us // self._day_us not in self.days]

    def passed_by(self, rows: Iterable[Row]) -> None:
        """Note that these were stored meanwhile."""
        if self._rows:
            newest = max((row.envelope.time_us for row in rows if row.lateness is None), default=None)
            if newest is not None:
                self._passed_us = newest if self._passed_us is None else max(newest, self._passed_us)

    def take(self) -> list[Row]:
        """Return what waits, in order, as it is to be stored now; nothing waits any more."""
        rows, self._rows, self.days = sorted(self._rows), [], set()
        passed_us = self._passed_us
        if passed_us is None:
            return rows
        for index, (envelope, lateness) in enumerate(rows):
            if lateness is None and envelope.time_us < passed_us:
                rows[index] = Row(envelope, self._lateness(envelope, passed_us))
                self._overtaken.add((envelope.partition, envelope.offset))
        return rows

    def forget_who_passed(self) -> None:
        """Begin anew if nothing waits."""
        if not self._rows:
            self._passed_us = None
            self._overtaken.clear()

    def hold_back(self, progress: Mapping[Partition, Progress]) -> Mapping[Partition, Progress]:
        """Return the progress without what waits: it is read again after a crash, and then no later than it is now."""
        if not self._rows:
            return progress
        lowest: dict[Partition, int] = {}
        for envelope, _ in self._rows:
            lowest[envelope.partition] = min(envelope.offset, lowest.get(envelope.partition, envelope.offset))
        in_time = [row.envelope.time_us for row in self._rows if row.lateness is None]
        return {
            partition: replace(
                done,
                next_offset=_least(done.next_offset, lowest.get(partition)),
                watermark_us=_least(done.watermark_us, min(in_time, default=None)),
            )
            for partition, done in progress.items()
        }

    def hold_offsets_back(self, offsets: dict[Partition, int]) -> dict[Partition, int]:
        """Return offsets of which none has passed what waits."""
        for envelope, _ in self._rows:
            if envelope.offset < offsets.get(envelope.partition, -1):
                offsets[envelope.partition] = envelope.offset
        return offsets


def _least(done: int | None, held: int | None) -> int | None:
    return done if held is None or done is None else min(done, held)
