"""
What was handed to a region for a request that got no 2xx, so that its retry sends only the rest. Pure, and bounded.

A request is answered with "not now" as a whole, and its client sends the whole again. Without this memory each try would write
again what a region took already or is about to take, and an overload would feed itself. It knows events by their identity, so
it serves a retry of the same bytes. Where it has forgotten, or another gateway gets the retry, consumers recognise duplicates.
"""

import asyncio

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from gateway.delivery.errors import RegionError
from gateway.delivery.post import Delivery, Late
from shared.event.outcome import Accepted, Outcome
from shared.event.sealed import SealedEvent

KEPT: Final = 50_000
KEPT_FOR_S: Final = 60.0

_Identity = tuple[str | None, str, str]


class Flight:
    """
    Events in flight to one region, which the request that brought them has given up.

    Attributes:
        region: The region.
        landed: Done when the region has answered, or failed.
    """

    __slots__ = ("landed", "region")

    def __init__(self, region: str) -> None:
        self.region = region
        self.landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Handed:
    """
    The memory of one gateway.

    Args:
        clock: Monotonic seconds.
        kept: How many acknowledged events are remembered at most, those noted last.
        kept_for_s: How long.
    """

    def __init__(self, clock: Callable[[], float], kept: int = KEPT, kept_for_s: float = KEPT_FOR_S) -> None:
        self._clock = clock
        self._kept = kept
        self._kept_for_s = kept_for_s
        self._flying: dict[_Identity, list[Flight]] = {}
        self._acknowledged: OrderedDict[_Identity, tuple[float, Accepted]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether anything is known: most of the time nothing is, and no event is looked for."""
        if self._acknowledged:
            self._forget(self._clock())
        return bool(self._flying or self._acknowledged)

    def note(self, events: Sequence[SealedEvent], outcomes: Sequence[Outcome]) -> None:
        """Remember which of a refused request's events were acknowledged."""
        now = self._clock()
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                self._acknowledged[_identity(event)] = now, outcome
        self._forget(now)

    def follow(self, events: Sequence[SealedEvent], region: str, late: Late) -> None:
        """
        Remember that events are in flight, and what becomes of them.

        Args:
            events: The events, in the order of their post.
            region: Where they were sent.
            late: Of their post.
        """
        flight = Flight(region)
        for event in events:
            self._flying.setdefault(_identity(event), []).append(flight)

        def land(delivery: Delivery) -> None:
            for event in events:
                identity = _identity(event)
                flights = self._flying[identity]
                flights.remove(flight)
                if not flights:
                    del self._flying[identity]
            if not isinstance(delivery, RegionError):
                self.note(events, delivery)
            if not flight.landed.done():
                flight.landed.set_result(None)

        late.follow(land)

    def acknowledged(self, event: SealedEvent) -> Accepted | None:
        """Return the outcome of an event that was acknowledged for a refused request."""
        known = self._acknowledged.get(_identity(event))
        return None if known is None else known[1]

    def flights(self, events: Sequence[SealedEvent]) -> set[Flight]:
        """Return the flights that these events are on."""
        return {flight for event in events for flight in self._flying.get(_identity(event), ())}

    def _forget(self, now: float) -> None:
        known = self._acknowledged
        while known:
            identity = next(iter(known))
            if len(known) <= self._kept and now - known[identity][0] <= self._kept_for_s:
                return
            del known[identity]


def _identity(event: SealedEvent) -> _Identity:
    return event.tenant, event.event_id, event.timestamp
