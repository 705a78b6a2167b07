"""What retention and archive have to tell each other."""

from dataclasses import dataclass


class ArchiveError(Exception):
    """A day could not be put into a file, and is as it was; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Archived:
    """
    A day that is in a file, which was read back.

    Attributes:
        file: Where.
        rows: How many there are in it.
        sum_seq: The sum of their `seq`: rows only ever come to a day, so the same number and sum are the same rows.
    """

    file: str
    rows: int
    sum_seq: int
