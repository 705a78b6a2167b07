"""
Tries valid events in the region they are meant for, then in the other regions, until the deadline.

Each event has an outcome of its own. When a region acknowledges a part of a request, only the events that it refused with
a retryable error go to the next region. Every attempt sends the same encoded bytes and so the same identity. The consumer
recognises an event that was written although its answer was lost as a duplicate.

A request that is held has its time in parts, one a region. What a region has not answered by then is still in flight there: it
is not sent there again, by another attempt or by a retry of the request, before that is over (`gateway.delivery.handed`).
"""

import asyncio

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from itertools import count
from typing import Final

from prometheus_client import Counter

from gateway.delivery.errors import QueueFullError, RegionError
from gateway.delivery.handed import Handed
from gateway.delivery.lane import Clock, Lane
from gateway.delivery.post import Delivery, Late
from gateway.delivery.queue import SEPARATOR_BYTES, QueueLimits
from gateway.delivery.routing import RetryPolicy, chunks, in_order
from gateway.metrics import GatewayMetrics
from shared.event.outcome import Accepted, Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.caller import CALLER
from shared.wire.handoff import with_traceparent

# Less than that is no wait: a clock may stand still for so long.
_LEAST_WAIT_S: Final = 0.001
_UNAVAILABLE: Final = HTTPStatus.SERVICE_UNAVAILABLE
_QUEUE_FULL: Final = Refused(
    _UNAVAILABLE, "the gateway holds as many events as it may; retry after a pause", retryable=True
)
_NO_REGION: Final = Refused(_UNAVAILABLE, "no region can acknowledge events now; retry after a pause", retryable=True)
_NO_TIME: Final = Refused(
    _UNAVAILABLE, "no region acknowledged the event in time; retry with the same eventId and timestamp", retryable=True
)


class Dispatcher:
    """
    The gateway's `EventSink`.

    Args:
        lanes: One a region, the preferred region first.
        limits: The limits of the lanes' queues.
        policy: Pauses between rounds.
        deadline_s: Limit in seconds for all attempts of one client request.
        metrics: Counts the events by outcome.
        clock: Monotonic seconds.
        random: Uniform in [0, 1).
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        limits: QueueLimits,
        policy: RetryPolicy,
        deadline_s: float,
        metrics: GatewayMetrics,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        by_region = {lane.region: lane for lane in lanes}
        self.regions: Sequence[str] = tuple(by_region)
        self._lanes: Mapping[str | None, Sequence[Lane]] = {
            asked: [by_region[region] for region in in_order(self.regions, asked)] for asked in (None, *self.regions)
        }
        # In chunks of half of a small queue, so that none needs all of it.
        self._max_events = min(limits.max_events, max(1, limits.queue_events // 2))
        self._max_bytes = min(limits.max_bytes, limits.queue_bytes // 2)
        self._policy = policy
        self._deadline_s = deadline_s
        self._clock = clock
        self._random = random
        self._counters = _EventCounters(metrics, self.regions)
        self._handed = Handed(clock)

    async def accept(
        self,
        events: Sequence[SealedEvent],
        region: str | None,
        traceparent: bytes | None = None,
        *,
        hold_s: float | None = None,
    ) -> Sequence[Outcome]:
        """See `shared.event.outcome.EventSink`."""
        deadline = self._clock() + (self._deadline_s if hold_s is None else hold_s)
        held = hold_s is not None
        lanes = self._lanes[region]
        encoded = [event.encoded for event in events]
        if traceparent is not None:
            encoded = [with_traceparent(event, traceparent) for event in encoded]
        sizes = [len(line) + SEPARATOR_BYTES for line in encoded]
        outcomes: list[Outcome] = []
        # One chunk at a time: two chunks in flight could swap events that share a correlation id.
        for chunk in chunks(sizes, max_events=self._max_events, max_bytes=self._max_bytes):
            # A full queue refuses the first chunk at once. Later chunks wait: a part of the batch has its outcomes already.
            patient = held or bool(outcomes)
            work = _Work(events[chunk], encoded[chunk], lanes[0].region, CALLER.get())
            answers = await self._deliver(work, lanes, deadline, patient=patient, held=held)
            outcomes += answers
            if all(isinstance(answer, Refused) and answer.retryable for answer in answers):
                # The chunks after this one would fail, too, or would overtake its events.
                outcomes += [answers[-1]] * (len(encoded) - len(outcomes))
                break
        self._counters.count(outcomes, lanes[0].region)
        if held and any(isinstance(outcome, Refused) and outcome.retryable for outcome in outcomes):
            self._handed.note(events, outcomes)
        return outcomes

    async def _deliver(
        self, work: "_Work", lanes: Sequence[Lane], deadline: float, *, patient: bool, held: bool
    ) -> Sequence[Outcome]:
        for rounds in count(1):
            try:
                open_lanes = await self._take_up(work, lanes, deadline) if held and self._handed else lanes
                if work.pending:
                    await self._try_each_region(work, open_lanes, deadline, held=held)
            except QueueFullError:
                work.refuse_pending(_QUEUE_FULL)
                if not patient:
                    break
            except TimeoutError:
                work.refuse_pending(_NO_TIME)
                break
            if not work.pending or (not held and all(lane.is_open for lane in lanes)):
                break
            pause = self._policy.pause_s(rounds, remaining_s=deadline - self._clock(), random=self._random)
            if pause is None:
                break
            await asyncio.sleep(pause)
        return work.outcomes

    async def _take_up(self, work: "_Work", lanes: Sequence[Lane], deadline: float) -> Sequence[Lane]:
        """
        Settle what earlier attempts have made of the events, and wait for what is still in flight.

        Returns:
            The regions to which none of the events that are left is in flight.

        Raises:
            TimeoutError: They are in flight to all of them, and the deadline has passed.
        """
        begin = self._clock()
        work.take_up(self._handed)
        flights = self._handed.flights(work.pending_sealed)
        while flights:
            busy = {flight.region for flight in flights}
            others = [lane for lane in lanes if lane.region not in busy]
            left = (begin + (deadline - begin) / 2 if others else deadline) - self._clock()
            if left < _LEAST_WAIT_S:
                if others:
                    return others
                raise TimeoutError
            landings = [flight.landed for flight in flights]
            await asyncio.wait(landings, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            work.take_up(self._handed)
            flights = {flight for flight in flights if not flight.landed.done()} if work.pending else set()
        return lanes

    async def _try_each_region(self, work: "_Work", lanes: Sequence[Lane], deadline: float, *, held: bool) -> None:
        for last_resort in (False, True):
            was_admitted = False
            for lane in lanes:
                # Who is held has no time for another try: a region that is silent leaves half of it to the next one.
                others = held and lane is not lanes[-1]
                until = deadline - (deadline - self._clock()) / 2 if others else deadline
                late = Late() if held else None
                try:
                    delivery = await lane.post(
                        work.pending_events,
                        deadline=until,
                        last_resort=last_resort,
                        caller=work.caller,
                        wanted=None if lane.region == work.wanted else work.wanted,
                        late=late,
                    )
                except TimeoutError:
                    if late is not None and late.is_sent:
                        self._handed.follow(work.pending_sealed, lane.region, late)
                    if not others:
                        raise
                    was_admitted = True
                    continue
                if delivery is None:
                    continue
                was_admitted = True
                work.settle(delivery, lane.region)
                if not work.pending:
                    return
            if was_admitted:
                return


class _Work:
    """
    Events that are tried together, and the outcome of each so far.

    Args:
        sealed: The events.
        events: The same, encoded.
        wanted: The region they are meant for.
        caller: Whose they are.
    """

    def __init__(self, sealed: Sequence[SealedEvent], events: Sequence[bytes], wanted: str, caller: str) -> None:
        self.outcomes: list[Outcome] = [_NO_REGION] * len(events)
        self.pending = list(range(len(events)))
        self.wanted = wanted
        self._sealed = sealed
        self._events = events
        self.caller = caller

    @property
    def pending_events(self) -> Sequence[bytes]:
        """The events still to be tried."""
        everything = len(self.pending) == len(self._events)
        return self._events if everything else [self._events[i] for i in self.pending]

    @property
    def pending_sealed(self) -> Sequence[SealedEvent]:
        """The same, as they came."""
        return [self._sealed[i] for i in self.pending]

    def take_up(self, handed: Handed) -> None:
        """Record the outcomes of events that were acknowledged for an earlier try of the same request."""
        pending: list[int] = []
        for i in self.pending:
            known = handed.acknowledged(self._sealed[i])
            if known is None:
                pending.append(i)
            else:
                self.outcomes[i] = replace(known, failover=known.region != self.wanted)
        self.pending = pending

    def settle(self, delivery: Delivery, region: str) -> None:
        """Record the outcomes that `region` gave the pending events. Those with a retryable refusal stay pending."""
        if isinstance(delivery, RegionError):
            self.refuse_pending(Refused(_UNAVAILABLE, f"{region} did not acknowledge: {delivery.what}", retryable=True))
            return
        retryable: list[int] = []
        for i, outcome in zip(self.pending, delivery, strict=True):
            if isinstance(outcome, Accepted):
                self.outcomes[i] = outcome if region == self.wanted else replace(outcome, failover=True)
                continue
            self.outcomes[i] = outcome
            if outcome.retryable:
                retryable.append(i)
        self.pending = retryable

    def refuse_pending(self, refusal: Refused) -> None:
        """Record why the pending events are not acknowledged so far."""
        for i in self.pending:
            self.outcomes[i] = refusal


class _EventCounters:
    """Looks up each label combination once, since a lookup costs more than the work on an event."""

    def __init__(self, metrics: GatewayMetrics, regions: Sequence[str]) -> None:
        self._accepted = {region: metrics.events.labels(region, "accepted") for region in regions}
        self._refused = {region: metrics.events.labels(region, "refused") for region in regions}
        self._unavailable = {region: metrics.events.labels(region, "unavailable") for region in regions}
        self._fallbacks: Mapping[tuple[str, str], Counter] = {
            (wanted, other): metrics.fallbacks.labels(wanted, other)
            for wanted in regions
            for other in regions
            if other != wanted
        }

    def count(self, outcomes: Sequence[Outcome], wanted: str) -> None:
        """Count each event once, by its final outcome."""
        totals: dict[tuple[Counter, Counter | None], int] = {}
        for outcome in outcomes:
            key: tuple[Counter, Counter | None]
            if isinstance(outcome, Accepted):
                key = (self._accepted[outcome.region], self._fallbacks.get((wanted, outcome.region)))
            else:
                key = ((self._unavailable if outcome.retryable else self._refused)[wanted], None)
            totals[key] = totals.get(key, 0) + 1
        for (events, fallbacks), number in totals.items():
            events.inc(number)
            if fallbacks is not None:
                fallbacks.inc(number)
