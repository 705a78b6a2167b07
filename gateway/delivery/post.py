"""Events that wait for a region together, and what becomes of them."""

import asyncio

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.delivery.errors import RegionError
from shared.event.outcome import Outcome

Delivery = Sequence[Outcome] | RegionError
"""
One outcome an event, or the failure of the whole request.

The failure is a value and no exception, because by then the callers may have given up all its posts.
"""


class Late:
    """
    What a caller that gives a post up still has of it.

    Attributes:
        is_sent: Whether the post is in a request by now, so that the region may write its events.
    """

    __slots__ = ("_delivery", "_then", "is_sent")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin an attempt."""
        self.is_sent = False
        self._delivery: Delivery | None = None
        self._then: Callable[[Delivery], None] | None = None

    def follow(self, then: Callable[[Delivery], None]) -> None:
        """Call `then` with the delivery of a post that was given up, once it is known."""
        self._then = then
        if self._delivery is not None:
            then(self._delivery)

    def arrive(self, delivery: Delivery) -> None:
        """Note the delivery."""
        self._delivery = delivery
        if self._then is not None:
            self._then(delivery)


@dataclass(eq=False, slots=True)
class Post:
    """Events that belong together, in a queue or in flight."""

    events: Sequence[bytes]
    size: int
    delivery: asyncio.Future[Delivery]
    caller: str
    wanted: str | None
    late: Late | None
