"""
Which offset may be committed when events finish in another order than they were read. Pure.

The committable offset of a partition is the lowest one that is not finished yet. Events in the reorder buffer are not
finished, so they hold it back, however many later ones are.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class OffsetLedger:
    """
    One partition's records between being read and being finished.

    Offsets are read in ascending order, gaps allowed (compaction, transaction markers), and finish in any order.
    """

    _in_flight: deque[int] = field(default_factory=deque, init=False)
    _finished: set[int] = field(default_factory=set, init=False)
    _next_unread: int | None = field(default=None, init=False)

    def read(self, offset: int) -> None:
        """
        Note that the record at `offset` was read.

        Raises:
            ValueError: It is not above all those read before.
        """
        if self._next_unread is not None and offset < self._next_unread:
            raise ValueError(f"offset {offset} was read after {self._next_unread - 1}")
        self._in_flight.append(offset)
        self._next_unread = offset + 1

    def finish(self, offset: int) -> None:
        """Note that the record at `offset` is stored, recognised as stored, or set aside; a second time changes nothing."""
        if not self._in_flight or offset < self._in_flight[0]:
            return
        self._finished.add(offset)
        while self._in_flight and self._in_flight[0] in self._finished:
            self._finished.remove(self._in_flight.popleft())

    @property
    def committable(self) -> int | None:
        """The offset a successor must begin at, None when nothing was read."""
        return self._in_flight[0] if self._in_flight else self._next_unread

    def __len__(self) -> int:
        return len(self._in_flight)
