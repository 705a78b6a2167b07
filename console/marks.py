"""
Which rows a tail may deliver, and how far it is; pure.

`seq` is drawn when a row is inserted, and the row is seen when its transaction commits. Transactions commit in any order, so a row may
appear behind one with a higher `seq`. Within one generation of one consumer they do not: it has one transaction at a time. With its
rows each transaction commits the generation's mark: all rows of that generation up to the mark are there for a reader that sees it.

Three kinds of generations have no mark. One that is over is complete, and the reader sees all of its rows. One that the reader has not
seen yet draws its numbers after the reader's snapshot, hence above all marks in it. One of a release that wrote no marks is held back
while it owns partitions, until a successor has taken them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

# That of the migration that began with marks: what is at or below it was written before.
BEGINNING: Final = 0


@dataclass(frozen=True, slots=True)
class Marks:
    """
    What one snapshot of the database says of its writers.

    Attributes:
        store_id: Identity of the database.
        last_seq: The marks, by generation.
        unmarked: Generations that own partitions and have no mark.
        dropped: The number of the last drop of a day; see `console.drops`.
    """

    store_id: str
    last_seq: Mapping[int, int]
    unmarked: frozenset[int] = frozenset()
    dropped: int = 0

    @property
    def high(self) -> int:
        """The highest mark; it never falls, since each claim sets one on top of all others."""
        return max(self.last_seq.values(), default=0)


@dataclass(frozen=True, slots=True)
class Position:
    """
    How far a reader is.

    Attributes:
        store_id: Of the database that it reads.
        floor: Of all generations that are not named in `below`, rows with a higher `seq` are still to come, and no others.
        below: The same of those that are not as far.
        dropped: The number of the last drop that its reader has been told of, where it had missed something.
    """

    store_id: str
    floor: int
    below: Mapping[int, int] = field(default_factory=dict)
    dropped: int = 0

    def of(self, generation: int | None) -> int:
        """Return the highest `seq` of a generation that is behind the reader."""
        return self.floor if generation is None else self.below.get(generation, self.floor)

    def not_above(self, seq: int) -> "Position":
        """Return where a reader was that was as far, and had stopped at a `seq`."""
        floor = min(self.floor, seq)
        return Position(self.store_id, floor, _below(floor, self.below), self.dropped)


@lru_cache(maxsize=1024)
def generation_of(stored_by: str) -> int | None:
    """Return the generation of a row's writer, the third part of `stored_by`; None if a consumer did not write it."""
    parts = stored_by.split("/", 3)
    return int(parts[2]) if len(parts) > 2 and parts[2].isdecimal() else None  # noqa: PLR2004


def newest(marks: Marks) -> Position:
    """Return the position behind all that a snapshot has; what its transactions in flight bring is still to come."""
    high = marks.high
    ends = {**marks.last_seq, **dict.fromkeys(marks.unmarked, marks.last_seq.get(BEGINNING, 0))}
    return Position(marks.store_id, high, _below(high, ends), marks.dropped)


def was_set_back(position: Position, marks: Marks) -> bool:
    """Tell whether the database is another one than the position is of, or an earlier state of it."""
    return marks.store_id != position.store_id or marks.high < position.floor or marks.dropped < position.dropped


class Reading:
    """
    One step of a reader: from its position up to the marks of a snapshot, within that snapshot.

    Args:
        position: Where it is; of this database.
        marks: Of the snapshot.

    Attributes:
        low: Rows are to be read with a higher `seq`, in its order,
        high: and none with a higher one than this. Nothing is to be read where it is not above `low`.
    """

    def __init__(self, position: Position, marks: Marks) -> None:
        self._position = position
        self._marks = marks
        self.high = marks.high
        self._ends = {g: self._end(g) for g in {*marks.last_seq, *marks.unmarked, *position.below}}
        # No generation is further than the floor, and one of them has the highest mark.
        self.low = min((position.of(g) for g, end in self._ends.items() if end > position.of(g)), default=self.high)

    def delivers(self, generation: int | None, seq: int) -> bool:
        """Tell whether a row that was read is to be delivered."""
        end = self.high if generation is None else self._ends.get(generation, self.high)
        return self._position.of(generation) < seq <= end

    def at(self, seq: int) -> Position:
        """Return the position of a reader that has read, and delivered what is to be delivered, up to a `seq`."""
        position = self._position
        floor = max(position.floor, min(self.high, seq))
        ends = {g: max(position.of(g), min(end, seq)) for g, end in self._ends.items()}
        return Position(position.store_id, floor, _below(floor, ends), position.dropped)

    def _end(self, generation: int) -> int:
        if generation in self._marks.unmarked:
            return self._position.of(generation)
        return self._marks.last_seq.get(generation, self.high)


def _below(floor: int, ends: Mapping[int, int]) -> Mapping[int, int]:
    return {generation: end for generation, end in sorted(ends.items()) if end < floor}
