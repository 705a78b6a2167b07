"""How many dead letters are written at once, and what becomes of one that is too large. PURE."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

from consumer.envelope import DeadLetter, DeadLetterReason, Row

# What is durable is not written again when the next portion fails. Otherwise a heap of letters that takes longer than the limit
# of one call would be begun again for ever, and fill the broker's disk.
PORTION_BYTES: Final = 1024 * 1024
PORTION_LETTERS: Final = 500


def portions(letters: Iterable[DeadLetter]) -> Iterator[Sequence[DeadLetter]]:
    """Return the letters in groups that are written at once; one that is larger than a portion goes alone."""
    portion: list[DeadLetter] = []
    size = 0
    for letter in letters:
        if portion and (size + size_of(letter) > PORTION_BYTES or len(portion) == PORTION_LETTERS):
            yield portion
            portion, size = [], 0
        portion.append(letter)
        size += size_of(letter)
    if portion:
        yield portion


def bare(letter: DeadLetter) -> DeadLetter:
    """Return the letter without its large parts; their sizes and hashes are said instead."""
    value, key = letter.value or b"", letter.key or b""
    said = f"left out here: a value of {len(value)} bytes, sha256 {sha256(value).hexdigest()}"
    if len(key) > PORTION_BYTES // 4:
        said += f", and a key of {len(key)} bytes, sha256 {sha256(key).hexdigest()}"
        key = b""
    return replace(letter, value=None, key=key or None, detail=f"{said}; {letter.detail}")


def size_of(letter: DeadLetter) -> int:
    """Return about how many bytes a letter has."""
    return len(letter.value or b"") + len(letter.key or b"") + len(letter.detail)


def letter_of(row: Row, reason: DeadLetterReason, detail: str) -> DeadLetter:
    """Return what is set aside of a row that cannot be stored."""
    envelope = row.envelope
    return DeadLetter(
        envelope.partition, envelope.offset, envelope.key, envelope.value, reason, detail, envelope.traceparent
    )
