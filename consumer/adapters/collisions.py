"""
Whether to expect that no row of a batch is in the table yet. Pure.

Then COPY puts them there itself, which costs PostgreSQL a fifth less than the way that knows what to do with a row that is
there already. A batch that went the short way and collided has to be sent again, so after a collision some batches go the
long way from the beginning: one, two, four, as long as the first that tries again collides.
"""

from typing import Final

_MOST: Final = 64


class Collisions:
    """The collisions of late."""

    def __init__(self) -> None:
        self._cautious = 0
        self._left = 0

    def expected(self) -> bool:
        """Say whether the next batch should go the long way; to be asked once for each."""
        if self._left:
            self._left -= 1
            return True
        return False

    def happened(self) -> None:
        """Note that a batch that went the short way collided."""
        self._cautious = min(max(1, 2 * self._cautious), _MOST)
        self._left = self._cautious

    def did_not_happen(self) -> None:
        """Note that one did not."""
        self._cautious = 0
