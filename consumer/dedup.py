"""
Whom to ask whether an event is a duplicate. Pure.

PostgreSQL has the last word on every event that gets that far. The bloom filter and Redis only save it work, each in the
direction in which it cannot err:

* an event of the own region is expected to be new: Redis is asked only when the bloom filter says "maybe";
* one that came through the mirror is expected to be stored already, by its own region's consumer, where both write to one
  store: Redis is asked first. A store that is this region's alone has it from no other consumer, so it is asked about as
  an event of the own region.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from consumer.envelope import Envelope


class MaybeSeen(Protocol):
    """A filter whose "no" is certain and whose "yes" is not."""

    def __contains__(self, key: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Questions:
    """
    What to ask of Redis about a batch.

    Attributes:
        ask: Indices of the envelopes to ask about.
        new: How many the bloom filter is certain are new to this instance.
        maybe: How many it is not certain about.
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
