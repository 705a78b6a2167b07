"""
A bloom filter for a stream without end: "definitely new to this instance", or "maybe seen". Pure.

It has two generations of fixed size. Ids go into the younger one. When that is full, it becomes the elder, and an empty one
takes its place. So an id is remembered for at least one and at most two generations. The false-positive rate holds at any length
of the stream. (This is the "double buffering" of Chang, Feng and Li, 2004.)
"""

from collections.abc import Iterable
from itertools import filterfalse

from rbloom import Bloom


class RotatingBloom:
    """
    Remember ids approximately, in bounded memory.

    Args:
        expected_insertions: Ids in one generation.
        false_positive_rate: Bound for the chance that a new id is answered with "maybe", both generations together.
    """

    def __init__(self, expected_insertions: int, false_positive_rate: float) -> None:
        self._capacity = expected_insertions
        # Either generation may err, so each gets half of the allowance.
        self._rate = false_positive_rate / 2
        self._young = self._empty()
        self._old = self._empty()
        self._added = 0

    def __contains__(self, key: bytes) -> bool:
        """Return False only for a key that was not added within the last generation."""
        return key in self._young or key in self._old

    def add(self, key: bytes) -> None:
        """Remember a key; one that is already remembered by the younger generation costs no room."""
        self.add_all((key,))

    def add_all(self, keys: Iterable[bytes]) -> None:
        """Remember keys, as `add` does."""
        new = list(dict.fromkeys(filterfalse(self._young.__contains__, keys)))
        while new:
            if self._added >= self._capacity:
                self._old, self._young, self._added = self._young, self._empty(), 0
            fitting, new = new[: self._capacity - self._added], new[self._capacity - self._added :]
            self._young.update(fitting)
            self._added += len(fitting)

    def _empty(self) -> Bloom:
        return Bloom(self._capacity, self._rate)
