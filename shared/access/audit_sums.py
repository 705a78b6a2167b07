"""
Which acts get a line of their own in an audit log, and which are summed up. Pure: time is an argument.

Strangers make acts, as by trying keys. A line for each would fill the disk, and would push out what matters. So an act of each kind and
subject has a few lines a minute, and a sum stands for the rest of that minute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 60.0
LINES: Final[Mapping[str, int]] = {
    "key refused": 20,
    "quota refused": 5,
    "connection refused": 10,
    "read": 120,
    "export": 60,
    "tail": 60,
}
"""So many lines a minute for each subject; an act of another kind is the fleet's owner's, and always has one."""

# Beyond so many subjects of a kind, all others are one.
_SUBJECTS: Final = 200
OTHERS: Final = "others"


@dataclass(frozen=True, slots=True)
class Sum:
    """
    What has no lines of its own.

    Attributes:
        act: Which kind.
        subject: The key or the tenant, or the reason.
        acts: How many.
        since: When the window began, in seconds since 1970.
    """

    act: str
    subject: str
    acts: int
    since: float


class Sums:
    """Counts acts by kind and subject, in windows of a minute."""

    def __init__(self) -> None:
        self._since = 0.0
        self._counts: dict[str, dict[str, int]] = {}

    def admits(self, act: str, subject: str) -> bool:
        """Note an act, and tell whether it has a line of its own."""
        most = LINES.get(act)
        if most is None:
            return True
        counts = self._counts.setdefault(act, {})
        if subject not in counts and len(counts) >= _SUBJECTS:
            subject = OTHERS
        counts[subject] = number = counts.get(subject, 0) + 1
        return number <= most

    def due(self, now: float, *, at_end: bool = False) -> list[Sum]:
        """Return the sums of a window that is over, or that ends now, and begin the next one."""
        # A wall clock that was put back begins one as well.
        if not at_end and 0 <= now - self._since < WINDOW_S:
            return []
        since, self._since = self._since, now
        counted, self._counts = self._counts, {}
        return [
            Sum(act, subject, number - LINES[act], since)
            for act, counts in counted.items()
            for subject, number in counts.items()
            if number > LINES[act]
        ]
