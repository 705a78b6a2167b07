"""
One tenant's quotas together: a request is taken whole or refused whole. Pure.

What may be taken later is taken now for then, where its sender waits. So those that wait have their turns in the order in
which they came, and nothing has to wake them but their own time.
"""

from enum import StrEnum
from math import inf
from typing import NamedTuple

from gateway.quotas.day import DAY_S, Day
from gateway.quotas.gcra import Gcra
from gateway.quotas.limits import Limits


class Quota(StrEnum):
    """What a tenant may have too much of."""

    REQUESTS = "requests"
    EVENTS = "events"
    BYTES = "bytes"
    DAY = "day"


class Refusal(NamedTuple):
    """Which quota is spent, and how long it is until the same may succeed."""

    quota: Quota
    wait_s: float


class Policy(NamedTuple):
    """A quota as clients are told: how much in how many seconds, and how much of it is left; 0 seconds: at the same time."""

    quota: Quota
    limit: int
    window_s: int
    left: int


class TenantQuota:
    """
    What one tenant took.

    Args:
        limits: What it may take.

    Attributes:
        limits: See there.
        most: Requests under way at the same time, at most.
        under_way: Requests, now.
        is_aged: Whether it matters how old events are.
        events: Taken so far, those included that were given back.
        size: Bytes of these.
    """

    __slots__ = ("_bytes", "_day", "_events", "events", "is_aged", "limits", "most", "size", "under_way")

    def __init__(self, limits: Limits) -> None:
        self.under_way = self.events = self.size = 0
        self._events: Gcra | None = None
        self._bytes: Gcra | None = None
        self._day: Day | None = None
        self.change(limits)

    def change(self, limits: Limits) -> None:
        """Have other limits from now on; what was taken stays taken."""
        self.limits = limits
        self.most: float = inf if limits.requests_in_flight is None else limits.requests_in_flight
        self.is_aged = limits.max_age_s is not None or limits.max_future_s is not None
        self._events = _changed(self._events, limits.events_per_second, limits.burst_s)
        self._bytes = _changed(self._bytes, limits.bytes_per_second, limits.burst_s)
        if limits.bytes_per_day is None:
            self._day = None
        elif self._day is None:
            self._day = Day(limits.bytes_per_day)
        else:
            self._day.limit = limits.bytes_per_day

    @property
    def counts_days(self) -> bool:
        """Whether the time of day matters."""
        return self._day is not None

    @property
    def has_place(self) -> bool:
        """Whether one more request may be under way."""
        return self.under_way < self.most

    def look(self, events: int, size: int, now: float, wall: float) -> Refusal | None:
        """
        Tell why so much may not be taken now.

        Args:
            events: How many.
            size: Their bytes.
            now: Monotonic seconds.
            wall: Seconds since 1970.
        """
        wait_s, short = 0.0, None
        if self._events is not None and (wait_s := self._events.wait(events, now)):
            short = Quota.EVENTS
        if self._bytes is not None and (longer := self._bytes.wait(size, now)) > wait_s:
            wait_s, short = longer, Quota.BYTES
        if self._day is not None and (longer := self._day.wait(size, wall)) > wait_s:
            wait_s, short = longer, Quota.DAY
        return None if short is None else Refusal(short, wait_s)

    def take_if_enough(self, events: int, size: int, now: float) -> bool:
        """Take so much if both rates allow it and no day is counted: what `take` does, at a third of the cost."""
        rate, other = self._events, self._bytes
        if rate is None or other is None or self._day is not None:
            return False
        due, later = rate.due, other.due
        due = (max(now, due)) + events * rate.interval
        later = (max(now, later)) + size * other.interval
        if due - now > rate.burst_s or later - now > other.burst_s:
            return False
        rate.due, other.due = due, later
        self.events += events
        self.size += size
        return True

    def take(self, events: int, size: int, now: float, wall: float, patience_s: float = 0.0) -> Refusal | float:
        """Take so much, and return after how many seconds it may go on; or why it would be more than it waits for."""
        refusal = self.look(events, size, now, wall)
        wait_s = 0.0 if refusal is None else refusal.wait_s
        if refusal is not None and wait_s > patience_s:
            return refusal
        self.charge(events, size, now + wait_s, wall + wait_s)
        return wait_s

    def charge(self, events: int, size: int, now: float, wall: float) -> None:
        """Take so much, whether or not it may be taken: what belongs to a request that was let in."""
        self.events += events
        self.size += size
        if self._events is not None:
            self._events.take(events, now)
        if self._bytes is not None:
            self._bytes.take(size, now)
        if self._day is not None:
            self._day.take(size, wall)

    def give_back(self, events: int, size: int) -> None:
        """Undo that much of what was taken: it came to nothing, and will be sent again."""
        if self._events is not None:
            self._events.give_back(events)
        if self._bytes is not None:
            self._bytes.give_back(size)
        if self._day is not None:
            self._day.give_back(size)

    def policies(self, now: float, wall: float) -> list[Policy]:
        """Return all quotas as clients are told them."""
        told = []
        if (most := self.limits.requests_in_flight) is not None:
            told.append(Policy(Quota.REQUESTS, most, 0, max(most - self.under_way, 0)))
        for quota, rate in ((Quota.EVENTS, self._events), (Quota.BYTES, self._bytes)):
            if rate is not None:
                window_s = max(round(rate.burst_s), 1)
                told.append(Policy(quota, int(rate.rate * window_s), window_s, rate.left(now)))
        if self._day is not None:
            told.append(Policy(Quota.DAY, int(self._day.limit), DAY_S, self._day.left(wall)))
        return told


def _changed(rate: Gcra | None, limit: float | None, burst_s: float) -> Gcra | None:
    if limit is None:
        return None
    if rate is None:
        return Gcra(limit, burst_s)
    rate.change(limit, burst_s)
    return rate
