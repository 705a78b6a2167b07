"""
Which offset may be committed when events are completed in another order than they were read. Pure.

The committable offset of a partition is the lowest one that is not completed. Events in the reorder buffer are not completed,
so they hold it back, however many later ones are.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(slots=True)
class OffsetLedger:
    """
    One partition's records between being read and being completed.

    Offsets are read in ascending order, gaps allowed (compaction, transaction markers), and completed in any order.

    Attributes:
        committable: The offset a successor must begin at, None when nothing was read.
        mark: Offset and fingerprint of a record below `committable`, None if none is known: the newest of those that ended a
            call of `read`. To take one of every record would cost more than to read a few of them again.
    """

    committable: int | None = field(default=None, init=False)
    mark: tuple[int, int] | None = field(default=None, init=False)
    _in_flight: deque[int] = field(default_factory=deque, init=False)
    _completed: set[int] = field(default_factory=set, init=False)
    _next_unread: int | None = field(default=None, init=False)
    _marks: deque[tuple[int, int]] = field(default_factory=deque, init=False)

    def read(self, offsets: Sequence[int], last_record: int | None = None) -> None:
        """
        Note that the records at these offsets were read.

        Args:
            offsets: Theirs.
            last_record: Fingerprint of the last of them, for `mark`.

        Raises:
            ValueError: They do not rise, or not all of them are above all those read before.
        """
        if not offsets:
            return
        if self._next_unread is not None and offsets[0] < self._next_unread:
            raise ValueError(f"offset {offsets[0]} was read after {self._next_unread - 1}")
        if any(offset >= following for offset, following in pairwise(offsets)):
            raise ValueError("offsets that do not rise were read")
        if not self._in_flight:
            self.committable = offsets[0]
        self._in_flight.extend(offsets)
        self._next_unread = offsets[-1] + 1
        if last_record is not None:
            self._marks.append((offsets[-1], last_record))

    def complete(self, offsets: Iterable[int]) -> None:
        """
        Note that these records are done with: set aside, or in a batch that carries what is committable with it.

        A second time changes nothing.
        """
        in_flight, completed, marks = self._in_flight, self._completed, self._marks
        if not in_flight:
            return
        lowest = in_flight[0]
        completed.update([offset for offset in offsets if offset >= lowest])
        while in_flight and in_flight[0] in completed:
            completed.remove(in_flight.popleft())
        self.committable = committable = in_flight[0] if in_flight else self._next_unread
        while marks and committable is not None and marks[0][0] < committable:
            self.mark = marks.popleft()

    def __len__(self) -> int:
        return len(self._in_flight)
