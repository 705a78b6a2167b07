"""
About which events Redis is asked whether they are duplicates. Pure.

PostgreSQL decides about every event that gets that far. The bloom filter and Redis only save it work, each in the direction
in which it cannot err:

* an event of the own region is expected to be new: Redis is asked only when the bloom filter says "maybe";
* one that came through the mirror is expected to be stored already, by its own region's consumer, where both write to one
  store: Redis is asked first. A store of this region alone has no other writer, so there it is asked about as an event of the
  own region.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from consumer.envelope import Envelope


class MaybeSeen(Protocol):
    """A filter whose "no" means definitely new, and whose "yes" means maybe seen."""

    def __contains__(self, key: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Questions:
    """
    What to ask of Redis about a batch.

    Attributes:
        ask: Indices of the envelopes to ask about.
        new: How many are definitely new to this instance.
        maybe: How many may have been seen.
    """

    ask: Sequence[int]
    new: int
    maybe: int


def questions(envelopes: Sequence[Envelope], seen: MaybeSeen, *, is_shared: bool = True) -> Questions:
    """
    Decide about which envelopes Redis has to be asked; all others go straight to PostgreSQL.

    Args:
        envelopes: Those of a batch.
        seen: What this consumer has stored.
        is_shared: Whether consumers of other regions write to the same store.
    """
    ask: list[int] = []
    new = maybe = 0
    for index, envelope in enumerate(envelopes):
        if envelope.identity in seen:
            maybe += 1
            ask.append(index)
        else:
            new += 1
            if is_shared and envelope.mirrored:
                ask.append(index)
    return Questions(ask, new, maybe)
