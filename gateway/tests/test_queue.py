"""The bounded queue in front of a region."""

import asyncio
import gc

from collections.abc import Sequence

import pytest

from prometheus_client import CollectorRegistry

from gateway.delivery.errors import QueueFullError, RegionError, RegionUnreachableError
from gateway.delivery.queue import COMPANY_EVENTS, EAGER_REQUESTS, Batcher, BatchLimits, Delivery
from gateway.metrics import GatewayMetrics
from shared.event.outcome import Accepted

LIMITS = BatchLimits(linger_s=0.001, max_events=4, concurrency=2, queue_events=12, queue_bytes=1000, max_bytes=100)


class Region:
    """Takes requests; answers them at once, or when the test opens the gate."""

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: RegionError | None = None
        self._asked = asyncio.Condition()

    async def asked(self, times: int) -> None:
        """Wait until so many requests have come."""
        async with self._asked:
            await self._asked.wait_for(lambda: len(self.requests) >= times)

    async def send(self, events: Sequence[bytes]) -> Delivery:
        self.requests.append(list(events))
        async with self._asked:
            self._asked.notify_all()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        return self.error or [Accepted(event.decode()) for event in events]


def batcher(region: Region, limits: BatchLimits = LIMITS) -> Batcher:
    metrics = GatewayMetrics(CollectorRegistry())
    return Batcher(region.send, limits, held=metrics.queue.labels("r"), batch_events=metrics.upstream_batch.labels("r"))


def names(*numbers: int) -> list[bytes]:
    return [f"e{number}".encode() for number in numbers]


async def test_posts_that_come_together_go_together() -> None:
    region = Region()
    queue = batcher(region)

    answers = await asyncio.gather(*(queue.post(names(i)) for i in range(3)))

    assert region.requests == [names(0, 1, 2)]
    assert answers == [[Accepted("e0")], [Accepted("e1")], [Accepted("e2")]]
    assert (queue.held_events, queue.held_bytes) == (0, 0)


async def test_a_full_request_does_not_linger() -> None:
    region = Region()
    queue = batcher(region, BatchLimits(60.0, 4, 2, 12, 1000))

    async with asyncio.timeout(5):
        await asyncio.gather(*(queue.post(names(i)) for i in range(4)))

    assert region.requests == [names(0, 1, 2, 3)]


async def test_enough_company_does_not_linger_and_what_was_answered_last_says_how_much_that_is() -> None:
    region = Region()
    queue = batcher(region, BatchLimits(60.0, 100, 4, 1000, 100_000))

    async with asyncio.timeout(5):
        await asyncio.gather(*(queue.post(names(i)) for i in range(COMPANY_EVENTS)))
        await asyncio.gather(queue.post(names(*range(40))))
        few = [queue.post(names(i)) for i in range(COMPANY_EVENTS)]
        await asyncio.sleep(0)
        assert len(region.requests) == 2, "of the forty that were answered last, more can be expected"
        await asyncio.gather(*few, *(queue.post(names(i)) for i in range(40 - COMPANY_EVENTS)))

    assert [len(request) for request in region.requests] == [COMPANY_EVENTS, 40, 40]


async def test_with_two_requests_under_way_company_waits_for_an_answer() -> None:
    region = Region()
    region.gate.clear()
    queue = batcher(region, BatchLimits(60.0, 100, 4, 1000, 100_000))

    async with asyncio.timeout(5):
        posts = [queue.post(names(i)) for i in range(3 * COMPANY_EVENTS)]
        await region.asked(2)
        assert queue.held_events == 3 * COMPANY_EVENTS
        assert [len(request) for request in region.requests] == [COMPANY_EVENTS, COMPANY_EVENTS]
        region.gate.set()
        await asyncio.gather(*posts)

    assert [len(request) for request in region.requests] == [COMPANY_EVENTS] * 3


async def test_requests_keep_the_order_of_posts_and_never_split_one() -> None:
    region = Region()
    queue = batcher(region)

    await asyncio.gather(*(queue.post(names(*post)) for post in [(0, 1, 2), (3, 4), (5,), (6, 7, 8), (9,)]))

    assert region.requests == [names(0, 1, 2), names(3, 4, 5), names(6, 7, 8, 9)]


async def test_a_request_is_bounded_in_bytes_too() -> None:
    region = Region()
    queue = batcher(region)

    await asyncio.gather(*(queue.post([bytes([65 + i]) * 60]) for i in range(3)))

    assert [len(request) for request in region.requests] == [1, 1, 1]


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    region = Region()
    region.gate.clear()
    queue = batcher(region)
    posts = [queue.post(names(i, i)) for i in range(6)]
    await asyncio.sleep(0)
    region.gate.set()
    await asyncio.gather(*posts)

    assert region.most_under_way == LIMITS.concurrency
    assert [event for request in region.requests for event in request] == names(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)


async def test_what_waited_for_a_free_request_goes_at_once() -> None:
    region = Region()
    region.gate.clear()
    queue = batcher(region, BatchLimits(60.0, 1, 1, 12, 1000))
    posts = [queue.post(names(i)) for i in range(3)]
    await asyncio.sleep(0)
    region.gate.set()

    async with asyncio.timeout(5):
        await asyncio.gather(*posts)


async def test_beyond_the_bound_in_events_a_post_is_refused_whole() -> None:
    region = Region()
    region.gate.clear()
    queue = batcher(region)
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
    queue = batcher(region, BatchLimits(0.001, 100, 1, 100, 200))
    first = queue.post([b"x" * 150])

    with pytest.raises(QueueFullError):
        queue.post([b"x" * 50])

    second = queue.post([b"x" * 48])
    assert queue.held_bytes == 200
    region.gate.set()
    await asyncio.gather(first, second)


async def test_a_client_that_leaves_before_the_request_takes_its_events_along() -> None:
    region = Region()
    queue = batcher(region)
    posts = [queue.post(names(i)) for i in range(3)]
    posts[1].cancel()

    answers = await asyncio.gather(posts[0], posts[2])

    assert region.requests == [names(0, 2)]
    assert list(answers) == [[Accepted("e0")], [Accepted("e2")]]
    assert queue.held_events == 0


async def test_a_client_that_leaves_during_the_request_does_not_disturb_the_others() -> None:
    region = Region()
    region.gate.clear()
    queue = batcher(region)
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
    queue = batcher(region)

    answers = await asyncio.gather(*(queue.post(names(i)) for i in range(3)))

    assert answers == [region.error] * 3
    assert queue.held_events == 0


class BrokenRegion(Region):
    async def send(self, events: Sequence[bytes]) -> Delivery:
        raise RuntimeError(f"a bug with {len(events)} events")


async def test_a_bug_in_sending_leaves_nobody_waiting() -> None:
    queue = batcher(BrokenRegion())
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
    queue = batcher(region, BatchLimits(0.001, 1, 1, 12, 1000))
    under_way, *waiting = [queue.post(names(i)) for i in range(4)]
    await asyncio.sleep(0)
    error = RegionUnreachableError("dead")

    queue.fail_waiting(error)

    assert await asyncio.gather(*waiting) == [error] * 3
    assert not under_way.done()
    region.gate.set()
    assert await under_way == [Accepted("e0")]


async def test_closing_sends_what_waits_and_awaits_what_is_under_way() -> None:
    region = Region()
    queue = batcher(region, BatchLimits(60.0, 4, 1, 12, 1000))
    posts = [queue.post(names(i, i, i)) for i in range(3)]
    gone = queue.post(names(9))
    gone.cancel()

    await queue.aclose()

    assert all(post.done() for post in posts)
    assert (queue.held_events, queue.held_bytes) == (0, 0)


async def test_closing_an_idle_queue_ends() -> None:
    queue = batcher(Region())
    queue.post(names(1)).cancel()

    await queue.aclose()

    assert queue.held_events == 0


async def test_what_comes_while_requests_are_under_way_goes_together_after_them() -> None:
    region = Region()
    region.gate.clear()
    queue = batcher(region, BatchLimits(0.001, 100, 4, 1000, 100_000))
    posts = []
    async with asyncio.timeout(5):
        for number in range(EAGER_REQUESTS):
            posts.append(queue.post(names(number)))
            await region.asked(number + 1)
        for number in range(10, 15):
            posts.append(queue.post(names(number)))
            await asyncio.sleep(0.002)  # longer than a post lingers
        region.gate.set()
        await asyncio.gather(*posts)

    assert region.requests == [names(0), names(1), names(10, 11, 12, 13, 14)]


async def test_a_request_that_takes_long_makes_nobody_wait_for_it() -> None:
    region = Region()
    region.gate.clear()
    queue = batcher(region, BatchLimits(0.001, 100, 4, 1000, 100_000))
    posts = []
    async with asyncio.timeout(5):
        for number in range(4):
            posts.append(queue.post(names(number)))
            await region.asked(number + 1)

    assert region.requests == [names(0), names(1), names(2), names(3)]
    region.gate.set()
    await asyncio.gather(*posts)
