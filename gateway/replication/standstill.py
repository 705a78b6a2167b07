"""
Partitions that are not copied while others are. PURE: moments are arguments, in monotonic seconds.

One record that MirrorMaker cannot read, or that the target refuses, holds up its partition for good: MirrorMaker fails at it
again and again, and between its failures it copies the others. The position of such a partition names the record.

Only time in which the direction copies something counts, and of a longer pause its first seconds: behind a link that is cut
every partition stands, and after it heals each gets its time anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.wire.replication import Place

STANDS_S: Final = 60.0
# MirrorMaker is away for about so long when it ends and is started again.
PAUSE_S: Final = 15.0


@dataclass(slots=True)
class _Standing:
    position: int
    since: float
    counted_s: float = 0.0


class Standstills:
    """Which partitions of one direction stand still."""

    def __init__(self) -> None:
        self._standing: dict[Place, _Standing] = {}
        self._moved_at: float | None = None

    def see(self, waiting: Mapping[Place, int], at: float, *, moved: bool) -> None:
        """
        Take in a look at the target.

        Args:
            waiting: Partitions that hold uncopied events, each with the offset of the first of these.
            at: When.
            moved: Whether anything was copied since the look before.
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

    def stopped(self, now: float) -> Mapping[Place, int]:
        """Return the partitions that stand still, each with the offset it stands at; none while nothing is copied at all."""
        if self._moved_at is None or now - self._moved_at > STANDS_S:
            return {}
        return {
            where: standing.position
            for where, standing in sorted(self._standing.items())
            if standing.counted_s >= STANDS_S
        }

    def since(self, where: Place) -> float:
        """Return since when a partition that stands still does so."""
        return self._standing[where].since
