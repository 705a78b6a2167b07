"""
The form of an audit log: each line names the one before it by its digest. Pure.

A line changed, removed, added or swapped breaks the chain, and `follow` names the line where it breaks. Two things no
chain can tell by itself: lines cut off at the end, and a file written anew from some line on. Both change the head, so
that a head kept elsewhere (`expected`) finds them.
"""

import hashlib
import json

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

BEGINNING: Final = "0" * 64
"""What the first line of all names as the one before it."""

PREV: Final = "prev"


@dataclass(frozen=True, slots=True)
class Whole:
    """
    An unbroken chain.

    Attributes:
        lines: How many lines it has.
        head: The last line's digest, which the next line names.
    """

    lines: int
    head: str


@dataclass(frozen=True, slots=True)
class Broken:
    """
    Where a chain breaks.

    Attributes:
        line: The line, from 1; one past the last where the head is another than expected.
        reason: What is wrong with it, as a sentence.
    """

    line: int
    reason: str


def chained(act: Mapping[str, object], prev: str) -> bytes:
    """
    Write an act as a line without its line feed, in the order of its fields.

    Raises:
        ValueError: The act has a field `prev`, or a number JSON does not know.
    """
    if PREV in act:
        raise ValueError(f"an act has no field {PREV!r} of its own")
    return json.dumps({PREV: prev, **act}, separators=(",", ":"), allow_nan=False).encode()


def digest(line: bytes) -> str:
    """Return the SHA-256 of a line without its line feed, as the next line names it."""
    return hashlib.sha256(line).hexdigest()


def follow(lines: Iterable[bytes], prev: str = BEGINNING, expected: str | None = None) -> Whole | Broken:
    """
    Follow a chain from its first line to its last.

    Args:
        lines: The lines without line feeds, oldest first; those of rotated files before those of the current one.
        prev: What the first line has to name: the head of what was before it.
        expected: The head, where it is known from elsewhere.
    """
    count = 0
    for count, line in enumerate(lines, 1):
        names = named(line)
        if names is None:
            return Broken(count, f"it is no JSON object with a text {PREV!r}")
        if names != prev:
            return Broken(count, "it does not name the line before it: one of the two was changed, removed or moved")
        prev = digest(line)
    if expected is not None and prev != expected:
        return Broken(count + 1, "the last line is not the expected one: lines were cut off, added or written anew")
    return Whole(count, prev)


def named(line: bytes) -> str | None:
    """Return what a line names as the one before it; None if it is no line of a chain."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return None
    names = parsed.get(PREV) if isinstance(parsed, dict) else None
    return names if isinstance(names, str) else None
