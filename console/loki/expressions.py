"""What a regular expression says, parsed. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LAST: Final = 0x10FFFF
"""The last character."""

Ranges = tuple[tuple[int, int], ...]
NEWLINE: Final[Ranges] = ((0x0A, 0x0A),)
WORD: Final[Ranges] = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set, or one that is not in it."""

    ranges: Ranges
    negated: bool = False

    @property
    def letter(self) -> str | None:
        """The character, if there is only one."""
        [(first, last), *more] = self.ranges
        return chr(first) if not more and first == last and not self.negated else None


@dataclass(frozen=True, slots=True)
class Border:
    """A place between characters: `begin`, `end`, `word` or `within`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """Something several times; `most` is None where there is no limit."""

    of: "Node"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class InOrder:
    """One after the other."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of them."""

    branches: tuple["Node", ...]


Node = Chars | Border | Repeat | InOrder | Choice


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the same characters in as few ranges as there can be."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)
