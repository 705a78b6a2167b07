"""
What a tail has missed of the days that were dropped; pure.

With a day, the transaction that drops it writes the highest `seq` that each generation had in it. Rows of a generation up to a reader's
position are behind the reader, and those above were still to come. So a reader has missed rows of a day exactly where it is below such a
`seq`. Drops have numbers, and a position says up to which of them its reader has been told.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from console.marks import Position


@dataclass(frozen=True, slots=True)
class Drop:
    """
    The rows of one generation that went with a day.

    Attributes:
        number: Of the drop; lines of one drop share it.
        day: By the time of the events.
        generation: Of their consumer; negative where a consumer did not write them.
        last_seq: The highest of theirs.
    """

    number: int
    day: date
    generation: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Missed:
    """
    Days of which a reader had not read all.

    Attributes:
        first: The first of them.
        last: The last of them; those between may be there.
    """

    first: date
    last: date


def missed(position: Position, drops: Iterable[Drop]) -> Missed | None:
    """Return which days a reader has not read to their ends, of those that were dropped since it was told of any."""
    days = {
        drop.day for drop in drops if drop.number > position.dropped and drop.last_seq > position.of(drop.generation)
    }
    return Missed(min(days), max(days)) if days else None
