"""
Many posts, one request: what is bound for a region is collected for some milliseconds and handed over together.

A post is one event, or one chunk of a client's batch; it is never split and never overtakes an earlier one on its way
into a request. All answers of a request come at once, so the cost of the hop is shared by everything in it. What is held,
waiting or under way, is bounded in events and in bytes.

While requests are under way an answer is waited for, for a while: what came meanwhile goes together then. That is Nagle's
algorithm, and it makes large requests of many small posts, at the price of one request's time and no more. And nobody waits
for more company than the last request had.

No task and no timer per post: one future each, one timer per quiet queue, one task per request.
"""

import asyncio

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from prometheus_client import Gauge, Histogram

from gateway.delivery.errors import QueueFullError, RegionError
from shared.event.outcome import Outcome
from shared.wire.handoff import MAX_BODY_BYTES

Delivery = Sequence[Outcome] | RegionError
"""One outcome an event; or, as a value, the failure of the whole request: nobody may be listening any more."""

Send = Callable[[Sequence[bytes]], Awaitable[Delivery]]

SEPARATOR_BYTES: Final = 1
# Kafka acknowledges within some milliseconds; what takes longer should not make the next ones wait.
PATIENCE_S: Final = 0.03
# So many are under way whatever waits: while one is answered for by Kafka the other can be on its way to it.
EAGER_REQUESTS: Final = 2
# So many events are company enough, or as many as were answered last: where clients send the next post when they have the
# answer to the last one, all of them are back then, and nobody else is to be waited for.
COMPANY_EVENTS: Final = 16


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """
    How much is collected and held for one region.

    Attributes:
        linger_s: How long a post waits for company.
        max_events: Events in one request.
        concurrency: Requests under way.
        queue_events: Events held, waiting or under way.
        queue_bytes: Bytes held, likewise.
        max_bytes: Bytes in one request.
    """

    linger_s: float
    max_events: int
    concurrency: int
    queue_events: int
    queue_bytes: int
    max_bytes: int = MAX_BODY_BYTES


@dataclass(eq=False, slots=True)
class _Post:
    events: Sequence[bytes]
    size: int
    delivery: asyncio.Future[Delivery]


class Batcher:
    """
    The bounded queue in front of one region.

    Args:
        send: Makes one request. It returns failures of the region as values and raises nothing else.
        limits: See there.
        held: Follows the number of events held.
        batch_events: Observes the number of events of each request.
    """

    def __init__(self, send: Send, limits: BatchLimits, *, held: Gauge, batch_events: Histogram) -> None:
        self._send = send
        self._limits = limits
        self._held_gauge = held
        self._batch_events = batch_events
        self._waiting: deque[_Post] = deque()
        self._waiting_events = 0
        self._held_events = 0
        self._held_bytes = 0
        self._company = COMPANY_EVENTS
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def held_events(self) -> int:
        """Events waiting or under way."""
        return self._held_events

    @property
    def held_bytes(self) -> int:
        """Bytes of events waiting or under way, one more each for what separates them."""
        return self._held_bytes

    def post(self, events: Sequence[bytes]) -> asyncio.Future[Delivery]:
        """
        Queue events that belong together.

        Args:
            events: Encoded; within `max_events` and `max_bytes`.

        Returns:
            Their delivery. Cancelled, the events are left out of the request if they are not in one yet.

        Raises:
            QueueFullError: There is no room for all of them; none is queued.
        """
        size = sum(map(len, events)) + len(events) * SEPARATOR_BYTES
        limits = self._limits
        if (
            self._held_events + len(events) > limits.queue_events
            or self._held_bytes + size > limits.queue_bytes
            or len(events) > limits.max_events
        ):
            raise QueueFullError
        loop = asyncio.get_running_loop()
        post = _Post(events, size, loop.create_future())
        self._hold(len(events), size)
        self._waiting.append(post)
        self._waiting_events += len(events)
        if self._waiting_events >= limits.max_events:
            self._start_requests(at_least=limits.max_events)
        elif self._waiting_events >= self._company and len(self._under_way) < EAGER_REQUESTS:
            self._start_requests()
        if self._waiting and self._timer is None:
            self._timer = loop.call_later(limits.linger_s, self._end_linger)
        return post.delivery

    def fail_waiting(self, error: RegionError) -> None:
        """Let go of everything that is not under way: the region was found dead, other regions can have it."""
        while self._waiting:
            self._deliver(self._take_next(), error)

    async def aclose(self) -> None:
        """Send what waits, and wait for all answers."""
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting or self._under_way:
            self._start_requests()
            if self._under_way:
                await asyncio.wait(self._under_way)

    def _end_linger(self) -> None:
        self._timer = None
        if len(self._under_way) >= EAGER_REQUESTS:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._end_patience)
        else:
            self._start_requests()

    def _end_patience(self) -> None:
        self._timer = None
        self._start_requests()

    def _start_requests(self, at_least: int = 1) -> None:
        while self._waiting_events >= at_least and len(self._under_way) < self._limits.concurrency:
            batch = self._collect()
            if batch:
                self._under_way.add(asyncio.create_task(self._request(batch)))

    def _collect(self) -> list[_Post]:
        batch: list[_Post] = []
        events = size = 0
        while self._waiting:
            first = self._waiting[0]
            full = events + len(first.events) > self._limits.max_events or size + first.size > self._limits.max_bytes
            if batch and full:
                break
            post = self._take_next()
            if post.delivery.done():
                # The client has gone, or its time is up; nobody would read the answer.
                self._hold(-len(post.events), -post.size)
                continue
            batch.append(post)
            events += len(post.events)
            size += post.size
        return batch

    async def _request(self, batch: list[_Post]) -> None:
        delivery: Delivery = RegionError("the request was given up")
        try:
            events = list(chain.from_iterable(post.events for post in batch))
            self._batch_events.observe(len(events))
            delivery = await self._send(events)
        finally:
            # Also when the request is cancelled or fails beyond what `send` promises: no post may wait forever.
            start = 0
            for post in batch:
                end = start + len(post.events)
                self._deliver(post, delivery if isinstance(delivery, RegionError) else delivery[start:end])
                start = end
            if (task := asyncio.current_task()) is not None:
                self._under_way.discard(task)
            self._company = max(COMPANY_EVENTS, start)
            # What waited while all requests were under way has lingered long enough.
            self._start_requests()

    def _take_next(self) -> _Post:
        post = self._waiting.popleft()
        self._waiting_events -= len(post.events)
        return post

    def _deliver(self, post: _Post, delivery: Delivery) -> None:
        self._hold(-len(post.events), -post.size)
        if not post.delivery.done():
            post.delivery.set_result(delivery)

    def _hold(self, events: int, size: int) -> None:
        self._held_events += events
        self._held_bytes += size
        self._held_gauge.set(self._held_events)
