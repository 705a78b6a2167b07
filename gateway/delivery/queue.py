"""
Many posts, one request: the queue collects the posts to a region for some milliseconds and sends them together.

A post is one event, or one chunk of a client's batch. The queue never splits a post and never lets it overtake an earlier
one of the same caller; callers have their turns (`gateway.delivery.fair`). All outcomes of a request come in one answer, so
its posts share the cost of the hop. The queue bounds what it holds, waiting or in flight, in events and in bytes. When it is
full, the caller that holds most gives way, with its newest posts, to one that holds less. What is in flight cannot give way,
so a part of the queue always waits. `gateway.delivery.nagle` decides when a request goes.

A post has a future, but neither a task nor a timer of its own. The queue has one timer, and each request has one task.
"""

import asyncio

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Final

from prometheus_client import Gauge, Histogram

from gateway.delivery.errors import QueueFullError, RegionError
from gateway.delivery.fair import Lines
from gateway.delivery.nagle import AFTER_AN_ANSWER, Nagle
from gateway.delivery.post import Delivery, Late, Post
from shared.wire.wanted import Stretch, stretches

Send = Callable[[Sequence[bytes], Sequence[Stretch]], Awaitable[Delivery]]
"""Makes one request with events, of which some may be meant for other regions."""

SEPARATOR_BYTES: Final = 1
# So much of the queue may be in flight, but one post always.
_IN_FLIGHT: Final = 0.75
# The queue does not move its timer by less, since event loops count in milliseconds.
_TIMER_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """
    How much the gateway collects and holds for one region. All but `linger_s` are upper limits.

    Attributes:
        linger_s: Seconds that a post waits so that others can share its request.
        max_events: Events in one request.
        concurrency: Requests in flight.
        queue_events: Events held, waiting or in flight.
        queue_bytes: Bytes held, waiting or in flight.
        max_bytes: Bytes in one request; one event always fits. A small post waits for the whole request that it shares, and
            for its turn beside others. Beside 8 clients with events of 2 KB, 384 KiB halves the 99th percentile of small posts
            against requests of 1,000 events, and as many events arrive (`bench/run.sh bounds`).
    """

    linger_s: float
    max_events: int
    concurrency: int
    queue_events: int
    queue_bytes: int
    max_bytes: int = 384 * 1024


class _Share:
    """What is held for one caller."""

    __slots__ = ("events", "size")

    def __init__(self) -> None:
        self.events = 0
        self.size = 0

    def of(self, limits: QueueLimits, events: int = 0, size: int = 0) -> float:
        """Return which part of the queue this is, with so much more."""
        return max((self.events + events) / limits.queue_events, (self.size + size) / limits.queue_bytes)


class RequestQueue:
    """
    The bounded queue in front of one region.

    Args:
        send: Makes one request. It returns failures of the region as values and does not raise.
        limits: How much the queue collects and holds.
        held: Shows the number of events held.
        request_events: Observes the number of events of each request.
    """

    def __init__(self, send: Send, limits: QueueLimits, *, held: Gauge, request_events: Histogram) -> None:
        self._send = send
        self._limits = limits
        self._may_fly_events = int(limits.queue_events * _IN_FLIGHT)
        self._may_fly_bytes = int(limits.queue_bytes * _IN_FLIGHT)
        self._nagle = Nagle(limits.linger_s, limits.max_events, limits.concurrency)
        self._held_gauge = held
        self._request_events = request_events
        self._waiting: Lines[Post] = Lines()
        self._shares: dict[str, _Share] = {}
        self._waiting_events = 0
        self._waiting_bytes = 0
        self._held_events = 0
        self._held_bytes = 0
        self._last_size = 0
        self._wait_began = -inf
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = inf
        self._in_flight: set[asyncio.Task[None]] = set()

    @property
    def held_events(self) -> int:
        """Events waiting or in flight."""
        return self._held_events

    @property
    def held_bytes(self) -> int:
        """Bytes of events waiting or in flight, each with its separator."""
        return self._held_bytes

    def post(
        self, events: Sequence[bytes], caller: str = "", wanted: str | None = None, late: Late | None = None
    ) -> asyncio.Future[Delivery]:
        """
        Queue events that belong together.

        Args:
            events: The encoded events, within `max_events` and `max_bytes`.
            caller: The client that sent them.
            wanted: The region that they are meant for, if it is another one.
            late: Told what becomes of them after their delivery was cancelled.

        Returns:
            Their delivery. If it is cancelled before they are in a request, the queue leaves them out. It fails with
            `QueueFullError` if they have to give way.

        Raises:
            QueueFullError: The queue has no room for all of them. It has queued none.
        """
        size = sum(map(len, events)) + len(events) * SEPARATOR_BYTES
        if len(events) > self._limits.max_events:
            raise QueueFullError
        if not self._has_room(len(events), size):
            self._make_room(caller, len(events), size)
        loop = asyncio.get_running_loop()
        now = loop.time()
        post = Post(events, size, loop.create_future(), caller, wanted, late)
        if late is not None:
            late.begin()
        self._hold(caller, len(events), size)
        if self._timer is None or self._nagle.is_over(len(self._in_flight), now - self._wait_began):
            self._wait_began = now
        self._waiting.append(post)
        self._waiting_events += len(events)
        self._waiting_bytes += size
        self._start_requests(now)
        return post.delivery

    def fail_waiting(self, error: RegionError) -> None:
        """Fail every post that is not in flight: the region's circuit opened, and another region may acknowledge it."""
        while self._waiting_events:
            post = self._waiting.first()
            self._waiting.take(post)
            self._leaves(post)
            self._deliver(post, error)

    async def close(self) -> None:
        """Send the posts that wait, and wait for all answers."""
        while self._waiting_events or self._in_flight:
            self._start_requests(answered=True)
            if self._in_flight:
                await asyncio.wait(self._in_flight)
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = None, inf

    def _start_requests(self, now: float = inf, *, answered: bool = False) -> None:
        """Start the requests that go now, and set the timer for the next one."""
        while self._waiting_events:
            waited_s = AFTER_AN_ANSWER if answered else now - self._wait_began
            wait_s = self._nagle.when(self._waiting_events, len(self._in_flight), self._last_size, waited_s)
            if wait_s > 0:
                if now + wait_s < self._rings_at - _TIMER_S:
                    self._set_timer(now + wait_s)
                return
            posts = self._collect()
            if posts:
                self._in_flight.add(asyncio.create_task(self._request(posts)))
            elif self._in_flight:
                return  # until an answer comes

    def _set_timer(self, rings_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = rings_at
        self._timer = asyncio.get_running_loop().call_at(rings_at, self._ring)

    def _ring(self) -> None:
        # The posts that the timer was set for may have left. Then it is set again for those that wait now, if any.
        self._timer, self._rings_at = None, inf
        self._start_requests(asyncio.get_running_loop().time())

    def _collect(self) -> list[Post]:
        posts: list[Post] = []
        events = size = 0
        limits = self._limits
        room_events = self._may_fly_events - self._held_events + self._waiting_events
        room_bytes = self._may_fly_bytes - self._held_bytes + self._waiting_bytes
        while self._waiting_events:
            post = self._waiting.first()
            with_it, size_with_it = events + len(post.events), size + post.size
            if posts and (with_it > limits.max_events or size_with_it > limits.max_bytes):
                break
            if (posts or self._in_flight) and (with_it > room_events or size_with_it > room_bytes):
                break
            self._waiting.take(post)
            self._leaves(post)
            if post.delivery.done():
                # The client has gone or the deadline has passed, so no caller awaits this delivery.
                self._hold(post.caller, -len(post.events), -post.size)
                continue
            if post.late is not None:
                post.late.is_sent = True
            posts.append(post)
            events += len(post.events)
            size += post.size
        return posts

    async def _request(self, posts: list[Post]) -> None:
        delivery: Delivery = RegionError("the request was given up")
        try:
            events = list(chain.from_iterable(post.events for post in posts))
            self._request_events.observe(len(events))
            delivery = await self._send(events, stretches((len(post.events), post.wanted) for post in posts))
        finally:
            # Also after a cancellation, or an error that `send` should not raise: no post may wait forever.
            start = 0
            for post in posts:
                end = start + len(post.events)
                self._deliver(post, delivery if isinstance(delivery, RegionError) else delivery[start:end])
                start = end
            if (task := asyncio.current_task()) is not None:
                self._in_flight.discard(task)
            self._last_size = start
            self._start_requests(answered=True)

    def _leaves(self, post: Post) -> None:
        self._waiting_events -= len(post.events)
        self._waiting_bytes -= post.size

    def _has_room(self, events: int, size: int) -> bool:
        limits = self._limits
        return self._held_events + events <= limits.queue_events and self._held_bytes + size <= limits.queue_bytes

    def _make_room(self, caller: str, events: int, size: int) -> None:
        """Let the newest posts of who holds most give way, as long as that is more than the caller would hold."""
        limits = self._limits
        own = self._shares.get(caller, _Share()).of(limits, events, size)
        while not self._has_room(events, size):
            others = (name for name in self._shares if name in self._waiting and name != caller)
            most = max(others, key=lambda name: self._shares[name].of(limits), default=None)
            if most is None or self._shares[most].of(limits) <= own:
                raise QueueFullError
            post = self._waiting.take_newest(most)
            self._leaves(post)
            self._hold(post.caller, -len(post.events), -post.size)
            if not post.delivery.done():
                post.delivery.set_exception(QueueFullError())

    def _deliver(self, post: Post, delivery: Delivery) -> None:
        self._hold(post.caller, -len(post.events), -post.size)
        if not post.delivery.done():
            post.delivery.set_result(delivery)
        # Also then: its caller may have given it up in this moment, and never see the result.
        if post.late is not None:
            post.late.arrive(delivery)

    def _hold(self, caller: str, events: int, size: int) -> None:
        share = self._shares.get(caller)
        if share is None:
            share = self._shares[caller] = _Share()
        share.events += events
        share.size += size
        if not share.events:
            del self._shares[caller]
        self._held_events += events
        self._held_bytes += size
        self._held_gauge.set(self._held_events)
