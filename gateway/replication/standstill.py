"""
Finds the partitions that are not copied while others are. PURE: moments are arguments, in monotonic seconds.

One record that MirrorMaker cannot read, or that the target refuses, holds up its partition for good. MirrorMaker fails at
it again and again, and copies the other partitions between its failures. The partition's position names the record.

A partition's time counts only while the direction copies something, and of a longer pause only the first `PAUSE_S` seconds.
Behind a cut link all partitions stand, and after it heals each has time to catch up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.wire.replication import SourcePartition

STANDS_S: Final = 60.0
# A restart of MirrorMaker takes about this long.
PAUSE_S: Final = 15.0


@dataclass(slots=True)
class _Standing:
    position: int
    since: float
    counted_s: float = 0.0


class Standstills:
    """The partitions of one direction that stand still."""

    def __init__(self) -> None:
        self._standing: dict[SourcePartition, _Standing] = {}
        self._moved_at: float | None = None

    def see(self, waiting: Mapping[SourcePartition, int], at: float, *, moved: bool) -> None:
        """
        Record an observation of the target.

        Args:
            waiting: Partitions that hold uncopied events, each with the offset of its first one.
            at: When it was made.
            moved: Whether any partition was copied since the observation before.
        """
        self._standing = {
            where: known
            if (known := self._standing.get(where)) is not None and known.position == position
            else _Standing(position, at)
            for where, position in waiting.items()
        }
        if not moved:
            return
        for standing in self._standing.values():
            before = standing.since if self._moved_at is None else max(standing.since, self._moved_at)
            standing.counted_s += min(at - before, PAUSE_S)
        self._moved_at = at

    def stopped(self, now: float) -> Mapping[SourcePartition, int]:
        """Return the partitions that stand still, each with its offset. There are none while nothing is copied at all."""
        if self._moved_at is None or now - self._moved_at > STANDS_S:
            return {}
        return {
            where: standing.position
            for where, standing in sorted(self._standing.items())
            if standing.counted_s >= STANDS_S
        }

    def since(self, where: SourcePartition) -> float:
        """Return since when a partition of `stopped` stands still."""
        return self._standing[where].since
