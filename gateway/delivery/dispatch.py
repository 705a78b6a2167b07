"""
Tries valid events in the region they are meant for, then in the other regions, until the deadline.

Each event has an outcome of its own. When a region acknowledges a part of a request, only the events that it refused with
a retryable error go to the next region. Every attempt sends the same encoded bytes and so the same identity. The consumer
recognises an event that was written although its answer was lost as a duplicate.
"""

import asyncio

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from itertools import count
from typing import Final

from prometheus_client import Counter

from gateway.delivery.errors import QueueFullError, RegionError
from gateway.delivery.lane import Clock, Lane
from gateway.delivery.queue import SEPARATOR_BYTES, Delivery, QueueLimits
from gateway.delivery.routing import RetryPolicy, chunks, in_order
from gateway.metrics import GatewayMetrics
from shared.event.outcome import Accepted, Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.caller import CALLER
from shared.wire.handoff import with_traceparent

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
            answers = await self._deliver(encoded[chunk], lanes, deadline, patient=patient, held=held)
            outcomes += answers
            if all(isinstance(answer, Refused) and answer.retryable for answer in answers):
                # The chunks after this one would fail, too, or would overtake its events.
                outcomes += [answers[-1]] * (len(encoded) - len(outcomes))
                break
        self._counters.count(outcomes, lanes[0].region)
        return outcomes

    async def _deliver(
        self, events: Sequence[bytes], lanes: Sequence[Lane], deadline: float, *, patient: bool, held: bool
    ) -> Sequence[Outcome]:
        work = _Work(events, lanes[0].region, CALLER.get())
        for rounds in count(1):
            try:
                await self._try_each_region(work, lanes, deadline, held=held)
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

    async def _try_each_region(self, work: "_Work", lanes: Sequence[Lane], deadline: float, *, held: bool) -> None:
        for last_resort in (False, True):
            was_admitted = False
            for lane in lanes:
                # Who is held has no time for another try: a region that is silent leaves half of it to the next one.
                others = held and lane is not lanes[-1]
                until = deadline - (deadline - self._clock()) / 2 if others else deadline
                try:
                    delivery = await lane.post(
                        work.pending_events,
                        deadline=until,
                        last_resort=last_resort,
                        caller=work.caller,
                        wanted=None if lane.region == work.wanted else work.wanted,
                    )
                except TimeoutError:
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
        events: The encoded events.
        wanted: The region they are meant for.
        caller: Whose they are.
    """

    def __init__(self, events: Sequence[bytes], wanted: str, caller: str) -> None:
        self.outcomes: list[Outcome] = [_NO_REGION] * len(events)
        self.pending = list(range(len(events)))
        self.wanted = wanted
        self._events = events
        self.caller = caller

    @property
    def pending_events(self) -> Sequence[bytes]:
        """The events still to be tried."""
        everything = len(self.pending) == len(self._events)
        return self._events if everything else [self._events[i] for i in self.pending]

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
