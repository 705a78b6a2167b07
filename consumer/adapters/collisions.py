"""
Which way the next batch takes into the table, by how often rows collided lately. Pure.

The short way is a COPY straight into the table. It costs PostgreSQL a fifth less than the long one, which knows what to do
with a row that is there already. A batch that went the short way and collided has to be sent again. So after a collision some
batches go the long way from the beginning: one, two, four, as long as the first one that goes the short way again collides.
"""

from typing import Final, Literal

Way = Literal["short", "long"]
_MOST: Final = 64


class Collisions:
    """The collisions of late."""

    def __init__(self) -> None:
        self._cautious = 0
        self._left = 0

    def next_way(self) -> Way:
        """Return the way of the next batch; to be called once for each."""
        if self._left:
            self._left -= 1
            return "long"
        return "short"

    def collided(self) -> None:
        """Note that a batch that went the short way collided."""
        self._cautious = min(max(1, 2 * self._cautious), _MOST)
        self._left = self._cautious

    def passed(self) -> None:
        """Note that a batch that went the short way did not collide."""
        self._cautious = 0
