"""
Whose turn it is: one line a caller, served in turn, by bytes (deficit round robin). Pure.

A caller's own posts keep their order. Who waits in the longest line costs the others one turn of at most `QUANTUM_BYTES`, or
of one post where that is larger. With a single caller this is one line, first in, first out.
"""

from collections import deque
from typing import Final, Generic, Protocol, TypeVar

QUANTUM_BYTES: Final = 64 * 1024


class Waiting(Protocol):
    """
    What waits in a line.

    Attributes:
        caller: In whose.
        size: In bytes.
    """

    caller: str
    size: int


T = TypeVar("T", bound=Waiting)


class _Line(Generic[T]):
    __slots__ = ("deficit", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[T] = deque()
        self.deficit = 0


class Lines(Generic[T]):
    """All callers' lines; one exists as long as something waits in it."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line[T]] = {}
        self._turns: deque[str] = deque()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._turns)

    def __contains__(self, caller: str) -> bool:
        """Whether anything of this caller's waits."""
        return caller in self._lines

    def append(self, item: T) -> None:
        """Let something wait at the end of its caller's line."""
        line = self._lines.get(item.caller)
        if line is None:
            line = self._lines[item.caller] = _Line()
            self._turns.append(item.caller)
        line.waiting.append(item)

    def first(self) -> T:
        """Return what is served next; the same one until it is taken."""
        if len(self._turns) == 1:
            return self._lines[self._turns[0]].waiting[0]
        while True:
            line = self._lines[self._turns[0]]
            if line.deficit >= line.waiting[0].size:
                return line.waiting[0]
            line.deficit += QUANTUM_BYTES
            if line.deficit < line.waiting[0].size:
                self._turns.rotate(-1)

    def take(self, item: T) -> None:
        """Take what `first` has returned out of its line."""
        line = self._lines[item.caller]
        line.waiting.popleft()
        line.deficit -= item.size
        if not line.waiting:
            self._forget(item.caller)
        elif len(self._turns) == 1:
            line.deficit = 0
        elif line.deficit < line.waiting[0].size:
            self._turns.rotate(-1)

    def take_newest(self, caller: str) -> T:
        """Take the end of a caller's line out of it."""
        line = self._lines[caller]
        item = line.waiting.pop()
        if not line.waiting:
            self._forget(caller)
        return item

    def _forget(self, caller: str) -> None:
        del self._lines[caller]
        self._turns.remove(caller)
