"""Bytes a day, from midnight to midnight in UTC. Pure."""

from math import inf
from typing import Final

DAY_S: Final = 86_400
_NEVER: Final = -1


class Day:
    """
    What one tenant took today. What is larger than a whole day's worth may be taken while nothing was.

    Args:
        limit: Bytes a day.

    Attributes:
        limit: See there; it may be changed at any time.
    """

    __slots__ = ("_number", "_used", "limit")

    def __init__(self, limit: float = inf) -> None:
        self.limit = limit
        self._number = _NEVER
        self._used = 0.0

    def wait(self, size: float, wall: float) -> float:
        """Return how many seconds it is until so many bytes may be taken; 0 if they may be now. `wall`: seconds since 1970."""
        used = self._today(wall)
        if not used or used + size <= self.limit:
            return 0.0
        return (self._number + 1) * DAY_S - wall

    def take(self, size: float, wall: float) -> None:
        """Take so many bytes, whether or not they may be taken."""
        self._used = self._today(wall) + size

    def give_back(self, size: float) -> None:
        """Undo that much of what was taken."""
        self._used = max(self._used - size, 0.0)

    def left(self, wall: float) -> int:
        """Return how many bytes may be taken."""
        return max(int(self.limit - self._today(wall)), 0)

    def _today(self, wall: float) -> float:
        # A clock that is set back makes no second day of the same one.
        if (number := int(wall // DAY_S)) > self._number:
            self._number, self._used = number, 0.0
        return self._used
