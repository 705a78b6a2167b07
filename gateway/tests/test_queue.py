"""The bounded queue in front of a region."""

import asyncio
import gc

from collections.abc import Sequence
from functools import partial

import looptime
import pytest

from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gateway.delivery.errors import QueueFullError, RegionError, RegionUnreachableError
from gateway.delivery.nagle import NAGLE_WAIT_S, PIPELINED_REQUESTS, READY_EVENTS
from gateway.delivery.post import Delivery
from gateway.delivery.queue import QueueLimits, RequestQueue
from gateway.metrics import GatewayMetrics
from shared.event.outcome import Accepted
from shared.wire.wanted import Stretch

LIMITS = QueueLimits(linger_s=0.001, max_events=4, concurrency=2, queue_events=12, queue_bytes=1000, max_bytes=100)


class Region:
    """Takes requests and answers them at once, or when the test opens the gate."""

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []
        self.wanted: list[list[Stretch]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: RegionError | None = None
        self._asked = asyncio.Condition()

    async def asked(self, times: int) -> None:
        """Wait until so many requests have come."""
        async with self._asked:
            await self._asked.wait_for(lambda: len(self.requests) >= times)

    async def send(self, events: Sequence[bytes], wanted: Sequence[Stretch] = ()) -> Delivery:
        self.wanted.append(list(wanted))
        self.requests.append(list(events))
        async with self._asked:
            self._asked.notify_all()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await self.gate.wait()
        self.in_flight -= 1
        return self.error or [Accepted(event.decode()) for event in events]


def queue_of(region: Region, limits: QueueLimits = LIMITS) -> RequestQueue:
    metrics = GatewayMetrics(CollectorRegistry())
    return RequestQueue(
        region.send, limits, held=metrics.queue.labels("r"), request_events=metrics.upstream_batch.labels("r")
    )


def names(*numbers: int) -> list[bytes]:
    return [f"e{number}".encode() for number in numbers]


async def test_posts_that_come_together_go_together() -> None:
    region = Region()
    queue = queue_of(region)

    answers = await asyncio.gather(*(queue.post(names(i)) for i in range(3)))

    assert region.requests == [names(0, 1, 2)]
    assert answers == [[Accepted("e0")], [Accepted("e1")], [Accepted("e2")]]
    assert (queue.held_events, queue.held_bytes) == (0, 0)


async def test_a_full_request_does_not_linger() -> None:
    region = Region()
    queue = queue_of(region, QueueLimits(60.0, 4, 2, 12, 1000))

    async with asyncio.timeout(5):
        await asyncio.gather(*(queue.post(names(i)) for i in range(4)))

    assert region.requests == [names(0, 1, 2, 3)]


async def test_enough_events_do_not_linger_and_what_was_answered_last_says_how_many_that_is() -> None:
    region = Region()
    queue = queue_of(region, QueueLimits(60.0, 100, 4, 1000, 100_000))

    async with asyncio.timeout(5):
        await asyncio.gather(*(queue.post(names(i)) for i in range(READY_EVENTS)))
        await asyncio.gather(queue.post(names(*range(40))))
        few = [queue.post(names(i)) for i in range(READY_EVENTS)]
        await asyncio.sleep(0)
        assert len(region.requests) == 2, "of the forty that were answered last, more can be expected"
        await asyncio.gather(*few, *(queue.post(names(i)) for i in range(40 - READY_EVENTS)))

    assert [len(request) for request in region.requests] == [READY_EVENTS, 40, 40]


async def test_with_two_requests_in_flight_posts_wait_for_an_answer() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(60.0, 100, 4, 1000, 100_000))

    async with asyncio.timeout(5):
        posts = [queue.post(names(i)) for i in range(3 * READY_EVENTS)]
        await region.asked(2)
        assert queue.held_events == 3 * READY_EVENTS
        assert [len(request) for request in region.requests] == [READY_EVENTS, READY_EVENTS]
        region.gate.set()
        await asyncio.gather(*posts)

    assert [len(request) for request in region.requests] == [READY_EVENTS] * 3


async def test_requests_keep_the_order_of_posts_and_never_split_one() -> None:
    region = Region()
    queue = queue_of(region)

    await asyncio.gather(*(queue.post(names(*post)) for post in [(0, 1, 2), (3, 4), (5,), (6, 7, 8), (9,)]))

    assert region.requests == [names(0, 1, 2), names(3, 4, 5), names(6, 7, 8, 9)]


async def test_a_request_says_which_of_its_events_were_meant_for_another_region() -> None:
    region = Region()
    queue = queue_of(region, QueueLimits(60.0, 6, 2, 12, 1000))

    async with asyncio.timeout(5):
        await asyncio.gather(
            queue.post(names(0)), queue.post(names(1, 2), wanted="a"), queue.post(names(3), wanted="a"), queue.post(names(4)),
            queue.post(names(5), wanted="c"),
        )  # fmt: skip
        await queue.post(names(*range(6)))

    assert region.wanted == [[(1, 3, "a"), (5, 1, "c")], []]


async def test_a_request_is_bounded_in_bytes_too() -> None:
    region = Region()
    queue = queue_of(region)

    await asyncio.gather(*(queue.post([bytes([65 + i]) * 60]) for i in range(3)))

    assert [len(request) for request in region.requests] == [1, 1, 1]


async def test_a_post_larger_than_a_request_goes_beside_others() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(0.0, 4, 2, 12, 1000, max_bytes=100))

    small = queue.post(names(0))
    await region.asked(1)
    large = queue.post([b"x" * 300])
    async with asyncio.timeout(5):
        await region.asked(2)

    assert region.requests == [names(0), [b"x" * 300]]
    region.gate.set()
    await asyncio.gather(small, large)


async def test_no_more_requests_are_in_flight_than_allowed() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region)
    posts = [queue.post(names(i, i)) for i in range(6)]
    await asyncio.sleep(0)
    region.gate.set()
    await asyncio.gather(*posts)

    assert region.most_in_flight == LIMITS.concurrency
    assert [event for request in region.requests for event in request] == names(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)


async def test_what_waited_for_a_free_request_goes_at_once() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(60.0, 1, 1, 12, 1000))
    posts = [queue.post(names(i)) for i in range(3)]
    await asyncio.sleep(0)
    region.gate.set()

    async with asyncio.timeout(5):
        await asyncio.gather(*posts)


async def test_beyond_the_bound_in_events_a_post_is_refused_whole() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region)
    posts = [queue.post(names(1, 2, 3)) for _ in range(3)]
    posts.append(queue.post(names(1)))

    with pytest.raises(QueueFullError):
        queue.post(names(1, 2, 3))

    posts.append(queue.post(names(1, 2)))
    assert queue.held_events == LIMITS.queue_events
    region.gate.set()
    await asyncio.gather(*posts)
    assert queue.held_events == 0


async def test_beyond_the_bound_in_bytes_a_post_is_refused() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(0.001, 100, 1, 100, 200))
    first = queue.post([b"x" * 150])

    with pytest.raises(QueueFullError):
        queue.post([b"x" * 50])

    second = queue.post([b"x" * 48])
    assert queue.held_bytes == 200
    region.gate.set()
    await asyncio.gather(first, second)


async def test_a_client_that_leaves_before_the_request_takes_its_events_along() -> None:
    region = Region()
    queue = queue_of(region)
    posts = [queue.post(names(i)) for i in range(3)]
    posts[1].cancel()

    answers = await asyncio.gather(posts[0], posts[2])

    assert region.requests == [names(0, 2)]
    assert list(answers) == [[Accepted("e0")], [Accepted("e2")]]
    assert queue.held_events == 0


async def test_a_client_that_leaves_during_the_request_does_not_disturb_the_others() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region)
    posts = [queue.post(names(i)) for i in range(4)]
    await asyncio.sleep(0)
    assert region.requests == [names(0, 1, 2, 3)]
    posts[0].cancel()
    region.gate.set()

    answers = await asyncio.gather(*posts[1:])

    assert answers == [[Accepted("e1")], [Accepted("e2")], [Accepted("e3")]]
    assert (queue.held_events, queue.held_bytes) == (0, 0)


async def test_a_failure_of_the_region_reaches_every_post_as_a_value() -> None:
    region = Region()
    region.error = RegionUnreachableError("refused")
    queue = queue_of(region)

    answers = await asyncio.gather(*(queue.post(names(i)) for i in range(3)))

    assert answers == [region.error] * 3
    assert queue.held_events == 0


class BrokenRegion(Region):
    async def send(self, events: Sequence[bytes], _: Sequence[Stretch] = ()) -> Delivery:
        raise RuntimeError(f"a bug with {len(events)} events")


async def test_a_bug_in_sending_leaves_no_post_waiting() -> None:
    queue = queue_of(BrokenRegion())
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context["exception"])))

    answer = await queue.post(names(1))

    assert isinstance(answer, RegionError)
    assert queue.held_events == 0
    await asyncio.sleep(0)
    gc.collect()
    assert reported == ["a bug with 1 events"]


async def test_a_dead_region_lets_go_of_what_waits_for_it() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(0.001, 1, 1, 12, 1000))
    in_flight, *waiting = [queue.post(names(i)) for i in range(4)]
    await asyncio.sleep(0)
    error = RegionUnreachableError("dead")

    queue.fail_waiting(error)

    assert await asyncio.gather(*waiting) == [error] * 3
    assert not in_flight.done()
    region.gate.set()
    assert await in_flight == [Accepted("e0")]


async def test_closing_sends_what_waits_and_awaits_what_is_in_flight() -> None:
    region = Region()
    queue = queue_of(region, QueueLimits(60.0, 4, 1, 12, 1000))
    posts = [queue.post(names(i, i, i)) for i in range(3)]
    gone = queue.post(names(9))
    gone.cancel()

    await queue.close()

    assert all(post.done() for post in posts)
    assert (queue.held_events, queue.held_bytes) == (0, 0)


async def test_a_post_after_the_end_is_still_sent() -> None:
    """A request whose body was late arrives when all others are answered."""
    region = Region()
    queue = queue_of(region, QueueLimits(0.006, 100, 4, 1000, 100_000))
    early = queue.post(names(1))
    await queue.close()

    async with asyncio.timeout(5):
        await asyncio.gather(early, queue.post(names(2)))

    assert region.requests == [names(1), names(2)]


async def test_closing_an_idle_queue_ends() -> None:
    queue = queue_of(Region())
    queue.post(names(1)).cancel()

    await queue.close()

    assert queue.held_events == 0


async def test_what_comes_while_requests_are_in_flight_goes_together_after_them() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(0.001, 100, 4, 1000, 100_000))
    posts = []
    async with asyncio.timeout(5):
        for number in range(PIPELINED_REQUESTS):
            posts.append(queue.post(names(number)))
            await region.asked(number + 1)
        for number in range(10, 15):
            posts.append(queue.post(names(number)))
            await asyncio.sleep(0.002)  # longer than `linger_s`
        region.gate.set()
        await asyncio.gather(*posts)

    assert region.requests == [names(0), names(1), names(10, 11, 12, 13, 14)]


async def test_a_request_that_takes_long_holds_up_no_later_one() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(0.001, 100, 4, 1000, 100_000))
    posts = []
    async with asyncio.timeout(5):
        for number in range(4):
            posts.append(queue.post(names(number)))
            await region.asked(number + 1)

    assert region.requests == [names(0), names(1), names(2), names(3)]
    region.gate.set()
    await asyncio.gather(*posts)


async def test_a_lone_post_lingers_no_longer_because_an_earlier_one_waited_for_an_answer() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(0.006, 100, 4, 1000, 100_000))
    posts = []
    for number in range(PIPELINED_REQUESTS):
        posts.append(queue.post(names(number)))
        await region.asked(number + 1)
    posts.append(queue.post(names(9)))
    await asyncio.sleep(0.01)  # so long that it waits for an answer now, and no longer for other posts
    region.gate.set()
    await asyncio.gather(*posts)
    now = asyncio.get_running_loop().time

    posted_at = now()
    await queue.post(names(10))

    assert region.requests[-1] == names(10)
    assert now() - posted_at == pytest.approx(0.006, abs=0.001)


async def test_a_post_that_comes_during_a_wait_waits_for_the_rest_of_it_although_an_earlier_one_left_at_once() -> None:
    region = Region()
    queue = queue_of(region, QueueLimits(0.006, 100, 4, 1000, 100_000))
    now = asyncio.get_running_loop().time
    began = now()
    early = queue.post(names(*range(READY_EVENTS - 1)))
    await asyncio.sleep(0.004)
    await asyncio.gather(early, queue.post(names(99)))

    await queue.post(names(100))

    assert now() - began == pytest.approx(0.006, abs=0.0001)


async def test_with_requests_in_flight_a_post_goes_after_its_longest_wait_without_an_answer() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(0.006, 100, 4, 1000, 100_000))
    now = asyncio.get_running_loop().time
    posts = []
    for number in range(PIPELINED_REQUESTS):
        posts.append(queue.post(names(number)))
        await region.asked(number + 1)

    posted_at = now()
    posts.append(queue.post(names(9)))
    await region.asked(PIPELINED_REQUESTS + 1)

    assert now() - posted_at == pytest.approx(0.006 + NAGLE_WAIT_S, abs=0.001)
    region.gate.set()
    await asyncio.gather(*posts)


# ---------------------------------------------------------------- any order of events

LINGER_S = 0.006
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.integers(1, 12)),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 3, 7, 20, 40, 60])),
    ),
    max_size=40,
)
_milliseconds = st.lists(st.sampled_from([0, 2, 9, 35, 80, 200]), min_size=1, max_size=8)


CONCURRENCY = 3


class TimedRegion:
    """Answers after times that repeat. Records each request, its time, and the number of requests in flight."""

    def __init__(self, takes_ms: Sequence[int]) -> None:
        self.takes_ms = takes_ms
        self.sent: list[tuple[float, list[bytes]]] = []
        self.in_flight = 0
        self.busy_until: list[float] = []

    async def send(self, events: Sequence[bytes], _: Sequence[Stretch] = ()) -> Delivery:
        now = asyncio.get_running_loop().time
        self.sent.append((now(), list(events)))
        self.in_flight += 1
        assert self.in_flight <= CONCURRENCY
        await asyncio.sleep(self.takes_ms[len(self.sent) % len(self.takes_ms)] / 1000)
        self.in_flight -= 1
        self.busy_until.append(now())
        return [Accepted(event.decode()) for event in events]


async def posts_and_waits(steps: Sequence[tuple[str, int]], takes_ms: Sequence[int]) -> None:
    region = TimedRegion(takes_ms)
    metrics = GatewayMetrics(CollectorRegistry())
    queue = RequestQueue(
        region.send,
        QueueLimits(LINGER_S, 20, CONCURRENCY, 10_000, 1_000_000),
        held=metrics.queue.labels("r"),
        request_events=metrics.upstream_batch.labels("r"),
    )
    now = asyncio.get_running_loop().time
    posted: list[tuple[float, list[bytes], asyncio.Future[Delivery]]] = []
    for what, number in steps:
        if what == "wait":
            await asyncio.sleep(number / 1000)
        else:
            events = names(*range(number * 1000, number * 1001))
            posted.append((now(), events, queue.post(events)))
    async with asyncio.timeout(60):
        for _, events, delivery in posted:
            assert await delivery == [Accepted(event.decode()) for event in events]
    assert queue.held_events == 0

    in_order = [event for _, events in region.sent for event in events]
    assert in_order == [event for _, events, _ in posted for event in events]
    assert all(len(events) <= 20 for _, events in region.sent)
    sent_at = [at for at, events in region.sent for _ in events]
    first = 0
    for at, events, _ in posted:
        # A post waits no longer than the longest wait, or than the last answer that came after it.
        answers = [answered for answered in region.busy_until if at <= answered <= sent_at[first]]
        assert sent_at[first] <= max([at + LINGER_S + NAGLE_WAIT_S, *answers]) + 0.0011
        first += len(events)


@given(_steps, _milliseconds)
@example(steps=[("post", 1), ("wait", 7), ("post", 1), ("wait", 7), ("post", 1), ("wait", 60)], takes_ms=[200])
def test_each_post_goes_in_order_within_the_longest_wait_or_with_the_next_answer(
    steps: list[tuple[str, int]], takes_ms: list[int]
) -> None:
    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, _enabled=True)) as runner:
        runner.run(posts_and_waits(steps, takes_ms))


async def test_a_flood_of_one_caller_does_not_cost_the_others_their_turn() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(0.001, 100, 1, 1000, 10**9))
    flood = [queue.post([b"a" * 1000], "a") for _ in range(1000)]
    await region.asked(1)

    # The queue is full of the flood, and others still find room: for what they post, the flood gives way.
    others = [queue.post([b"b"], "b") for _ in range(10)] + [queue.post([b"c"], "c")]
    with pytest.raises(QueueFullError):
        queue.post([b"a"], "a")
    region.gate.set()
    await asyncio.gather(*others)
    refused = [post for post in flood if post.done() and post.exception()]
    in_time = len(region.requests)
    await asyncio.gather(*flood, return_exceptions=True)

    assert in_time <= 3, "in the request after the one in flight, and what a turn takes"
    assert len(refused) == 11
    assert refused == flood[-11:], "the newest give way"
    assert all(isinstance(post.exception(), QueueFullError) for post in refused)
    assert (queue.held_events, queue.held_bytes) == (0, 0)
    assert not queue._shares


async def test_who_holds_as_much_as_the_flood_makes_no_other_give_way() -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, QueueLimits(0.001, 10, 1, 100, 10**9))
    first = [queue.post([b"a"], "a") for _ in range(100)]
    await region.asked(1)
    second = [queue.post([b"b"], "b") for _ in range(50)]
    for caller in "ab":
        with pytest.raises(QueueFullError):
            queue.post([b"x"], caller)
    region.gate.set()
    await asyncio.gather(*first, *second, return_exceptions=True)
    assert queue.held_events == 0


@pytest.mark.parametrize("limits", [QueueLimits(0.001, 100, 4, 100, 10**9), QueueLimits(0.001, 50, 4, 10**6, 200)])
async def test_a_queue_that_a_flood_could_have_in_flight_as_a_whole_gives_way_as_well(limits: QueueLimits) -> None:
    region = Region()
    region.gate.clear()
    queue = queue_of(region, limits)
    flood = []
    for _ in range(10):
        flood.append(queue.post([b"a"] * 10, "flood"))
        await asyncio.sleep(0.01)
    with pytest.raises(QueueFullError):
        queue.post([b"a"] * 10, "flood")

    other = queue.post([b"b"], "other")

    region.gate.set()
    assert await other == [Accepted("b")]
    results = await asyncio.gather(*flood, return_exceptions=True)
    assert sum(isinstance(result, QueueFullError) for result in results) == 1
    assert queue.held_events == 0


async def test_what_is_larger_than_what_may_be_in_flight_goes_alone() -> None:
    region = Region()
    queue = queue_of(region, QueueLimits(0.001, 100, 4, 10, 10**9))

    both = [queue.post(names(*range(9))), queue.post(names(9))]
    await asyncio.gather(*both)

    assert region.requests == [names(*range(9)), names(9)]
    await queue.close()
