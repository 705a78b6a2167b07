"""The quotas of all tenants at work: clocks, waiting, and counters around the pure ones (`gateway.quotas.tenant`)."""

import asyncio
import sys
import time

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final

from gateway.metrics import GatewayMetrics
from gateway.quotas.limits import Limits
from gateway.quotas.tenant import Quota, Refusal, TenantQuota
from gateway.quotas.told import error_of
from shared.event.times import FIRST_TIME, LAST_TIME, format_time
from shared.ingest.head import Head
from shared.ingest.opening import declared
from shared.ingest.quota import Ages, Meter

# What holds no body waits, and of those that hold one so many small ones.
MAX_WAITING: Final = 256
MAX_WAITING_BODIES: Final = 64
MAX_WAITING_BYTES: Final = 256 * 1024
# Log shippers give one export ten seconds in all.
LONGEST_AFTER_S: Final = 2
MAX_LABELS: Final = 200
# A body of less than 100,000 bytes, by the digits of its length.
_SMALL_DIGITS: Final = 5
OTHER: Final = "other"

Told = Callable[[str, Quota], None]
"""Gets whose request was refused, and by which quota."""

# Less is no waiting: the loop's clock may not have moved after it.
_LEAST_S: Final = 0.001
# How long a request is under way is not known.
_UNDER_WAY_S: Final = 1.0


class TenantMeter:
    """
    See `shared.ingest.quota.Meter`.

    Args:
        name: The tenant's.
        limits: What it may send.
        metrics: Where refusals are counted.
        label: The tenant's, in metrics.
        clock: Monotonic seconds.
        wall: Seconds since 1970.
        told: Told of each refusal.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        metrics: GatewayMetrics,
        label: str,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        told: Told,
    ) -> None:
        self.quota = TenantQuota(limits)
        self.is_aged = self.quota.is_aged
        self.label = label
        self._name = name
        self._clock = clock
        self._wall = wall
        self._told = told
        self._refused = {quota: metrics.quota_refused.labels(label, quota.value) for quota in Quota}
        self._waited = metrics.quota_waited.labels(label)
        self._outside = metrics.outside_ages.labels(label)
        self._places: deque[asyncio.Future[None]] = deque()
        self._bodies = 0
        # Since a refusal. Then each request is looked at before its body comes.
        self._is_short = False

    def change(self, limits: Limits) -> None:
        """Have other limits from now on."""
        self.quota.change(limits)
        self.is_aged = self.quota.is_aged

    def enter(self, head: Head) -> None:
        """See there. While the tenant has enough, a small body is only looked at once it is there."""
        quota = self.quota
        if quota.under_way < quota.most and not self._is_short and not head.content_length[_SMALL_DIGITS:]:
            quota.under_way += 1
            return
        if (refusal := self._begin(declared(head, sys.maxsize))) is not None:
            raise self._refuse(refusal, inf)

    async def enter_patiently(self, head: Head, until: float) -> None:
        """See there. It is also held where that is in vain: its client may try again at once, or never."""
        size = declared(head, sys.maxsize)
        began = now = _loop_time()
        try:
            while (refusal := self._begin(size)) is not None:
                left_s = until - now
                if left_s < _LEAST_S:
                    raise self._refuse(refusal, LONGEST_AFTER_S)
                if refusal.quota is not Quota.REQUESTS:
                    await asyncio.sleep(min(refusal.wait_s + _LEAST_S, left_s))
                elif len(self._places) < MAX_WAITING:
                    await self._place(left_s)
                else:
                    raise self._refuse(refusal, LONGEST_AFTER_S)
                now = _loop_time()
        finally:
            if now > began:
                self._waited.inc(now - began)

    def leave(self) -> None:
        """See there."""
        self.quota.under_way -= 1
        if self._places:
            self._wake()

    def look(self, size: int, *, held: bool = False) -> None:
        """See there."""
        if (refusal := self.quota.look(1, size, self._clock(), self._today())) is not None:
            raise self._refuse(refusal, LONGEST_AFTER_S if held else inf)

    def take(self, events: int, size: int, most_s: float = inf) -> None:
        """See there."""
        now = self._clock()
        if self.quota.take_if_enough(events, size, now):
            return
        taken = self.quota.take(events, size, now, self._today())
        if isinstance(taken, Refusal):
            raise self._refuse(taken, most_s)

    async def take_patiently(self, events: int, size: int, until: float) -> None:
        """See there."""
        left_s = max(until - _loop_time(), 0.0)
        if size > MAX_WAITING_BYTES or self._bodies >= MAX_WAITING_BODIES:
            left_s = 0.0
        taken = self.quota.take(events, size, self._clock(), self._today(), left_s)
        if isinstance(taken, Refusal):
            if left_s:
                await self._hold(left_s)
            self.take(events, size, LONGEST_AFTER_S)
        elif taken:
            try:
                await self._hold(taken)
            except asyncio.CancelledError:  # its client has gone
                self.quota.give_back(events, size)
                raise

    def reserve(self, events: int, size: int) -> float:
        """See there."""
        wait_s = self.quota.take(events, size, self._clock(), self._today(), inf)
        assert not isinstance(wait_s, Refusal)  # noqa: S101 - nothing is longer than for ever
        if wait_s:
            self._waited.inc(wait_s)
        return wait_s

    def charge(self, events: int, size: int) -> None:
        """See there."""
        self.quota.charge(events, size, self._clock(), self._today())

    def give_back(self, events: int, size: int) -> None:
        """See there."""
        self.quota.give_back(events, size)

    def ages(self) -> Ages:
        """See there."""
        return _ages(self.quota.limits, self._wall())

    def note_outside(self, number: int) -> None:
        """See there."""
        self._outside.inc(number)

    def _begin(self, size: int) -> Refusal | None:
        quota = self.quota
        if not quota.has_place:
            return Refusal(Quota.REQUESTS, _UNDER_WAY_S)
        if (refusal := quota.look(1, size, self._clock(), self._today())) is None:
            self._is_short = False
            quota.under_way += 1
        return refusal

    async def _hold(self, seconds: float) -> None:
        """Keep a request, with its body, for so long."""
        self._waited.inc(seconds)
        self._bodies += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._bodies -= 1

    async def _place(self, seconds: float) -> None:
        """Wait until a request is answered, at most so long."""
        turn = asyncio.get_running_loop().create_future()
        self._places.append(turn)
        try:
            await asyncio.wait([turn], timeout=seconds)
        finally:
            if turn.done():
                # It may not use the place, and the next one may.
                asyncio.get_running_loop().call_soon(self._wake)
            else:
                self._places.remove(turn)

    def _wake(self) -> None:
        if self._places and self.quota.has_place:
            self._places.popleft().set_result(None)

    def _today(self) -> float:
        return self._wall() if self.quota.counts_days else 0.0

    def _refuse(self, refusal: Refusal, most_s: float) -> Exception:
        self._is_short = True
        self._refused[refusal.quota].inc()
        self._told(self._name, refusal.quota)
        policies = self.quota.policies(self._clock(), self._today())
        return error_of(self._name, refusal, policies, most_s)


class TenantMeters:
    """
    See `shared.ingest.quota.Meters`.

    Args:
        tenant_of: Returns the tenant whose request is being served.
        metrics: Where refusals are counted.
        clock: Monotonic seconds.
        wall: Seconds since 1970.
        told: Told of each refusal.
    """

    def __init__(
        self,
        tenant_of: Callable[[], str],
        metrics: GatewayMetrics,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        *,
        told: Told = lambda _, __: None,
    ) -> None:
        self._told = told
        self._tenant_of = tenant_of
        self._metrics = metrics
        self._clock = clock
        self._wall = wall
        self._meters: dict[str, TenantMeter] = {}
        self._labels: set[str] = set()
        metrics.tenant_totals.of = self._taken

    def find(self) -> Meter | None:
        """See there."""
        return self._meters.get(self._tenant_of())

    def use(self, tenants: Mapping[str, Limits]) -> None:
        """Let these limits hold from now on. What a tenant took stays taken."""
        for name, limits in tenants.items():
            if (meter := self._meters.get(name)) is not None:
                meter.change(limits)
            else:
                label = self._label(name)
                self._meters[name] = TenantMeter(
                    name, limits, self._metrics, label, clock=self._clock, wall=self._wall, told=self._told
                )
        for gone in self._meters.keys() - tenants.keys():
            del self._meters[gone]

    def _label(self, name: str) -> str:
        if name not in self._labels and len(self._labels) >= MAX_LABELS:
            return OTHER
        self._labels.add(name)
        return name

    def _taken(self) -> Mapping[str, tuple[int, int]]:
        totals: dict[str, tuple[int, int]] = {}
        for meter in self._meters.values():
            events, size = totals.get(meter.label, (0, 0))
            totals[meter.label] = events + meter.quota.events, size + meter.quota.size
        return totals


def _ages(limits: Limits, wall: float) -> Ages:
    now = datetime.fromtimestamp(wall, UTC)
    oldest, newest = FIRST_TIME, LAST_TIME
    told = []
    if limits.max_age_s is not None:
        oldest = max(oldest, now - timedelta(seconds=min(limits.max_age_s, (now - FIRST_TIME).total_seconds())))
        told.append(f"older than {format_time(oldest)}")
    if limits.max_future_s is not None:
        newest = min(newest, now + timedelta(seconds=min(limits.max_future_s, (LAST_TIME - now).total_seconds())))
        told.append(f"later than {format_time(newest)}")
    return Ages(
        format_time(oldest), format_time(newest), f"must not be {' or '.join(told)}: the tenant's quota says so"
    )


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
