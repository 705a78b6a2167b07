"""A region's client, circuit and queue in one object, without network."""

import asyncio

from collections.abc import Callable, Sequence

import pytest

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from gateway.delivery.circuit import Circuit, CircuitState
from gateway.delivery.errors import (
    ConnectionLostError,
    RegionError,
    RegionTimeoutError,
    RegionUnavailableError,
    RegionUnreachableError,
)
from gateway.delivery.lane import Lane
from gateway.delivery.post import Delivery
from gateway.delivery.queue import QueueLimits
from gateway.metrics import GatewayMetrics
from shared.event.outcome import Accepted, Outcome, Refused
from shared.wire.wanted import Stretch

AWAY = Refused(503, "kafka is away", retryable=True)
TOO_LARGE = Refused(413, "too large", retryable=False)
UNREACHABLE = RegionUnreachableError("refused")


class Client:
    """A region's producer that behaves as a test says."""

    def __init__(self) -> None:
        self.region = "region-a"
        self.check_timeout_s = 1.0
        self.requests: list[Sequence[bytes]] = []
        self.answer: RegionError | Callable[[int], Sequence[Outcome]] = lambda number: [Accepted("region-a")] * number
        self.check_ends_in: RegionError | None = None
        self.check_takes_s = 0.0
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, events: Sequence[bytes], wanted: Sequence[Stretch] = ()) -> Sequence[Outcome]:
        self.requests.append(events)
        await self.gate.wait()
        if isinstance(self.answer, RegionError):
            raise self.answer
        return self.answer(len(events))

    async def check(self) -> None:
        await asyncio.sleep(self.check_takes_s)
        if self.check_ends_in:
            raise self.check_ends_in


class Bench:
    def __init__(self, *, failures: int = 2, concurrency: int = 1) -> None:
        self.client = Client()
        self.registry = CollectorRegistry()
        self.lane = Lane(
            self.client,
            Circuit(failures=failures, open_s=4.0, trial_s=5.0),
            QueueLimits(0.001, 1, concurrency, 100, 10_000),
            GatewayMetrics(self.registry),
            clock=asyncio.get_running_loop().time,
        )

    async def post(self, *, within_s: float = 60.0, last_resort: bool = False) -> Delivery | None:
        deadline = asyncio.get_running_loop().time() + within_s
        return await self.lane.post([b"event"], deadline=deadline, last_resort=last_resort)

    async def posts(self, number: int) -> list[asyncio.Task[Delivery | None]]:
        """Begin posts, and let each run until it waits."""
        posts = [asyncio.create_task(self.post()) for _ in range(number)]
        for _ in range(3):
            await asyncio.sleep(0)
        return posts

    @property
    def up(self) -> float | None:
        return self.registry.get_sample_value("gateway_region_up", {"region": "region-a"})


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_before_the_first_check_one_attempt_is_let_through(bench: Bench) -> None:
    assert bench.lane.state is CircuitState.HALF_OPEN
    assert list(await asyncio.gather(bench.post(), bench.post())) == [[Accepted("region-a")], None]


async def test_an_open_circuit_lets_a_last_resort_through_and_nothing_else(bench: Bench) -> None:
    bench.client.check_ends_in = UNREACHABLE
    await bench.lane.check()

    assert await bench.post() is None
    assert await bench.post(last_resort=True) == [Accepted("region-a")]
    assert bench.lane.state is CircuitState.CLOSED


async def test_a_post_without_time_left_takes_no_trial_from_others(bench: Bench) -> None:
    with pytest.raises(TimeoutError):
        await bench.post(within_s=0.0)

    assert await bench.post() == [Accepted("region-a")]


async def test_the_deadline_ends_a_post_wherever_it_is(bench: Bench) -> None:
    bench.client.gate.clear()
    await bench.lane.check()
    posts = [asyncio.create_task(bench.post(within_s=0.5)) for _ in range(3)]
    now = asyncio.get_running_loop().time
    began = now()

    assert {type(error) for error in await asyncio.gather(*posts, return_exceptions=True)} == {TimeoutError}
    assert now() - began == pytest.approx(0.5)
    bench.client.gate.set()
    assert await bench.post() == [Accepted("region-a")]
    assert len(bench.client.requests) == 2, "what had not been sent by then never is"


@pytest.mark.parametrize(("error", "requests"), [(ConnectionLostError("reset"), 2), (UNREACHABLE, 1)])
async def test_only_after_a_broken_connection_is_a_second_attempt_worth_it(error: RegionError, requests: int) -> None:
    bench = Bench(failures=5)
    await bench.lane.check()
    bench.client.answer = error

    assert await bench.post() is error
    assert len(bench.client.requests) == requests


async def test_no_second_attempt_is_made_where_the_first_one_opened_the_circuit() -> None:
    bench = Bench(failures=1)
    await bench.lane.check()
    bench.client.answer = ConnectionLostError("reset")

    assert await bench.post() is bench.client.answer
    assert len(bench.client.requests) == 1


async def test_the_first_check_decides(bench: Bench) -> None:
    other = Bench()
    other.client.check_ends_in = UNREACHABLE
    with capture_logs() as logged:
        await asyncio.gather(bench.lane.check(), other.lane.check())

    assert [bench.lane.state, other.lane.state] == [CircuitState.CLOSED, CircuitState.OPEN]
    assert [bench.up, other.up] == [1, 0]
    assert [(line["state"], line["before"], line["error"]) for line in logged] == [
        ("closed", None, None),
        ("open", None, "refused"),
    ]
    assert other.lane.is_open
    assert other.lane.last_error is UNREACHABLE


async def test_what_went_well_twice_is_told_once(bench: Bench) -> None:
    with capture_logs() as logged:
        for _ in range(3):
            await bench.lane.check()
            await bench.post()

    assert len(logged) == 1


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (UNREACHABLE, CircuitState.OPEN),
        (RegionUnavailableError("500"), CircuitState.OPEN),
        (lambda _: [AWAY], CircuitState.OPEN),
        # The producer refused the event for its content, which is no evidence about the region.
        (lambda _: [TOO_LARGE], CircuitState.CLOSED),
        (lambda _: [Accepted("region-a")], CircuitState.CLOSED),
    ],
)
async def test_how_requests_went_decides_too(
    bench: Bench, answer: RegionError | Callable[[int], Sequence[Outcome]], state: CircuitState
) -> None:
    await bench.lane.check()
    bench.client.answer = answer

    deliveries = [await bench.post() for _ in range(2)]

    assert deliveries == [answer if isinstance(answer, RegionError) else answer(1)] * 2
    assert bench.lane.state is state


async def test_one_acknowledgement_among_refusals_is_a_success() -> None:
    bench = Bench(failures=1)
    await bench.lane.check()
    bench.client.answer = lambda _: [AWAY, Accepted("region-a"), AWAY]

    await bench.lane.send([b"1", b"2", b"3"])

    assert bench.lane.state is CircuitState.CLOSED


async def test_what_waits_fails_when_the_circuit_opens_and_what_is_in_flight_does_not() -> None:
    bench = Bench(concurrency=2)
    await bench.lane.check()
    bench.client.gate.clear()
    posts = await bench.posts(5)
    bench.client.check_ends_in = UNREACHABLE

    await bench.lane.check()
    assert [post.done() for post in posts] == [False] * 5, "one check that fails opens nothing"
    await bench.lane.check()
    await asyncio.wait(posts[2:])

    assert [post.done() for post in posts] == [False, False, True, True, True]
    assert {post.result() for post in posts[2:]} == {UNREACHABLE}
    bench.client.gate.set()
    assert await asyncio.gather(*posts[:2]) == [[Accepted("region-a")]] * 2
    assert len(bench.client.requests) == 2


async def test_a_request_that_opens_the_circuit_lets_go_of_what_waits_behind_it() -> None:
    bench = Bench(failures=1)
    await bench.lane.check()
    bench.client.answer = UNREACHABLE

    deliveries = await asyncio.gather(*await bench.posts(5))

    assert deliveries == [UNREACHABLE] * 5
    assert len(bench.client.requests) == 1


@pytest.mark.parametrize(("takes_s", "state"), [(1.0, CircuitState.OPEN), (3.0, CircuitState.HALF_OPEN)])
async def test_a_timeout_noticed_much_too_late_says_nothing_about_the_region(
    bench: Bench, takes_s: float, state: CircuitState
) -> None:
    bench.client.check_takes_s = takes_s
    bench.client.check_ends_in = RegionTimeoutError("no answer")

    await bench.lane.check()

    assert bench.lane.state is state


async def test_watching_checks_until_it_is_cancelled(bench: Bench) -> None:
    bench.client.check_ends_in = UNREACHABLE
    watcher = asyncio.create_task(bench.lane.watch(1.0))
    states = []
    for seconds in (0.5, 1.0, 1.0):
        await asyncio.sleep(seconds)
        states.append(bench.lane.state)
        if bench.lane.is_open:
            bench.client.check_ends_in = None
    watcher.cancel()
    await asyncio.wait([watcher])

    assert states == [CircuitState.HALF_OPEN, CircuitState.OPEN, CircuitState.CLOSED]


async def test_closing_answers_all_that_waits(bench: Bench) -> None:
    await bench.lane.check()
    posts = await bench.posts(5)

    await bench.lane.close()

    assert len(bench.client.requests) == 5
    assert await asyncio.gather(*posts) == [[Accepted("region-a")]] * 5
