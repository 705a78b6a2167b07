"""One step of a reader: a page of rows, those of them that are to be delivered, and the position behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Final

from console.drops import Missed, missed
from console.marks import Marks, Position, Reading, generation_of, newest, was_set_back
from console.row import Row, encode, shown
from console.tail import cursor
from console.tail.ports import Snapshot

SET_BACK: Final = "the database was set back to an earlier state, or is another one; what came before may not be in it"
DROPPED: Final = "days were dropped before this tail had read all of their events: of those from {first} to {last} some did not come; all others do"
DROPPED_ONE: Final = (
    "a day was dropped before this tail had read all of its events: of {first} some did not come; all others do"
)


class Event:
    """A row that is to be delivered, and what it is on the wire; made once for all tails, and only if one wants it."""

    def __init__(self, row: Row, reading: Reading) -> None:
        self.row = row
        self._reading = reading
        self.size = len(row.message) + len(row.attributes)

    @cached_property
    def _id(self) -> bytes:
        return cursor.write(self._reading.at(self.row.seq)).encode()

    @cached_property
    def _cut(self) -> bytes:
        return b"event: log\nid: %b\ndata: %b\n\n" % (self._id, encode(shown(self.row)))

    @cached_property
    def _whole(self) -> bytes:
        return b"event: log\nid: %b\ndata: %b\n\n" % (self._id, encode(shown(self.row, full=True)))

    def frame(self, *, full: bool) -> bytes:
        """Return it as a server-sent event."""
        return self._whole if full else self._cut


@dataclass(frozen=True, slots=True)
class Reset:
    """
    What a reader is to be told of its position.

    Attributes:
        why: Rows before it, or at it, are not certain.
        missed: The days of which it did not get all, where no other rows are in doubt.
    """

    why: str
    missed: Missed | None = None

    @property
    def data(self) -> Mapping[str, str]:
        """The data of its event."""
        if self.missed is None:
            return {"why": self.why}
        return {
            "why": self.why,
            "from": _begin(self.missed.first),
            "to": _begin(self.missed.last + timedelta(days=1)),
        }


def _begin(day: date) -> str:
    return f"{day}T00:00:00Z"


def _told(position: Position, marks: Marks) -> Position:
    return replace(position, dropped=marks.dropped)


def _lost(found: Missed) -> Reset:
    why = DROPPED_ONE if found.first == found.last else DROPPED
    return Reset(why.format(first=found.first, last=found.last), found)


@dataclass(frozen=True, slots=True)
class Step:
    """
    What a reader found.

    Attributes:
        events: To be delivered, in the order of `seq`.
        end: The position behind them.
        marks: As far as it could go.
        looked_at: Rows that were read.
        is_full: Whether more may follow at once.
        reset: Why nothing before is certain, if so.
    """

    events: Sequence[Event]
    end: Position
    marks: Marks
    looked_at: int = 0
    is_full: bool = False
    reset: Reset | None = None


async def take_step(now: Snapshot, position: Position | None, limit: Marks | None = None) -> Step:
    """
    Read on from a position.

    Args:
        now: Where to read.
        position: None: behind all that there is.
        limit: As far as to go; by default to the marks of the snapshot. Earlier ones are as good: what they cover was there already.
    """
    there = await now.marks()
    # Of days that were dropped the snapshot knows that has the rows, or lacks them.
    marks = there if limit is None else replace(limit, dropped=there.dropped)
    if position is None:
        return Step((), newest(marks), marks)
    if was_set_back(position, marks):
        return Step((), newest(marks), marks, reset=Reset(SET_BACK))
    if position.dropped < marks.dropped:
        found = missed(position, await now.drops(position.dropped))
        if found is not None:
            # Alone, since a client that has got it, and no more, comes back with its position.
            return Step((), _told(position, marks), marks, is_full=True, reset=_lost(found))
        position = _told(position, marks)
    reading = Reading(position, marks)
    if reading.low >= reading.high:
        return Step((), reading.at(reading.high), marks)
    page = await now.rows(reading.low, reading.high)
    events = [Event(row, reading) for row in page.rows if reading.delivers(generation_of(row.stored_by), row.seq)]
    end = reading.at(page.reached if page.is_full else reading.high)
    return Step(events, end, marks, len(page.rows), page.is_full)
