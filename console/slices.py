"""
How much of a range one statement looks at. Pure.

A range is walked in slices, each by a statement of its own, which grow while they are quick and shrink when they are slow. So a search
needs no index to answer in time: it tells how far it looked, and where to go on.

What is walked are microseconds of event time, or numbers of rows in the order of writing.
"""

from dataclasses import dataclass
from typing import Final

QUICK_S: Final = 0.1
SLOW_S: Final = 0.5

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
DAY_US: Final = 24 * 60 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Measure:
    """
    How slices are measured.

    Attributes:
        first: Width of the first one.
        least: Narrowest there is.
        border: Slices narrower than this end at its multiples, wider ones are cut to them; None: nothing of it.
    """

    first: int
    least: int
    border: int | None = None


BY_TIME: Final = Measure(MINUTE_US, 1, DAY_US)
BY_INDEX: Final = Measure(DAY_US, 1, DAY_US)
BY_NUMBER: Final = Measure(20_000, 1)
_WIDEST: Final = 1 << 62


class Slicer:
    """
    Decides about the width of slices, from one to the next.

    Args:
        measure: What is walked.
        width: What an earlier request has learned; the measure's own by default.
    """

    def __init__(self, measure: Measure, width: int | None = None) -> None:
        self._measure = measure
        self.width = max(width or measure.first, measure.least)

    def next(self, at: int, end: int, *, down: bool) -> int:
        """
        Return where the slice ends that begins at `at`.

        Args:
            at: Where the walk is.
            end: Where it will be over.
            down: Whether it goes to lower numbers.
        """
        border, width = self._measure.border, self.width
        if down:
            stop = at - width
            if border is not None:
                first = (at - 1) // border * border
                stop = max(stop, first) if width < border else -(-stop // border) * border
                stop = min(stop, at - 1)
            return max(stop, end)
        stop = at + width
        if border is not None:
            first = (at // border + 1) * border
            stop = min(stop, first) if width < border else stop // border * border
            stop = max(stop, at + 1)
        return min(stop, end)

    def took(self, seconds: float) -> None:
        """Learn how long the last slice took."""
        if seconds < QUICK_S:
            self.width = min(self.width * 2, _WIDEST)
        elif seconds > SLOW_S:
            self.narrow()

    def narrow(self, times: int = 2) -> bool:
        """Make the next slice so many times narrower; return whether it was possible."""
        before = self.width
        self.width = max(before // times, self._measure.least)
        return self.width < before
