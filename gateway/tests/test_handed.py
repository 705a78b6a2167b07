"""A request that is refused as a whole comes again as a whole: what a region took of it, or is about to take, is not sent again."""

import asyncio

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx

from gateway.delivery.errors import RegionTimeoutError
from gateway.delivery.handed import Handed
from gateway.delivery.post import Late
from gateway.tests.fleet import AWAY, NEVER_CHECKED, FakeProducer, gateway, producers
from gateway.tests.front_door import Line, Way, lines, send
from shared.event.outcome import Accepted
from shared.event.sealed import SealedEvent
from shared.ingest.receipts import Slot
from testbed.patience import eventually


def handed(regions: dict[str, FakeProducer]) -> Counter[str]:
    """How often each message was written."""
    return Counter(event.message for region in regions.values() for event in region.written)


async def test_a_retry_sends_only_what_was_not_acknowledged(way: Way) -> None:
    regions = producers()
    half = {"message 1", "message 3"}
    for region in regions.values():
        region.take_only(half)
    async with gateway(regions, shipper_deadline_ms=50, circuit_failures=1000) as client:
        assert [(await send(client, way, *lines(5))).status_code for _ in range(3)] == [503] * 3
        for region in regions.values():
            region.recover()
        assert (await send(client, way, *lines(5))).is_success
        # It was answered, and a client that sends it yet again has lost the answer, or means another one.
        assert (await send(client, way, *lines(5))).is_success

    assert {message: number for message, number in handed(regions).items() if message in half} == dict.fromkeys(half, 1)
    assert handed(regions).keys() == {line.message for line in lines(5)}


async def test_what_is_in_flight_is_waited_for_and_not_sent_again(way: Way) -> None:
    regions = producers("region-a")
    gate = regions["region-a"].hold()
    async with gateway(regions, shipper_deadline_ms=40, **NEVER_CHECKED) as client:
        assert [(await send(client, way, *lines(3))).status_code for _ in range(3)] == [503] * 3
        assert len(regions["region-a"].requests) == 1

        again = asyncio.create_task(send(client, way, *lines(3)))
        gate.set()
        assert (await again).is_success

    assert handed(regions) == dict.fromkeys((line.message for line in lines(3)), 1)


async def test_what_was_acknowledged_after_its_refusal_is_not_sent_again(way: Way) -> None:
    regions = producers("region-a")
    gate = regions["region-a"].hold()
    async with gateway(regions, shipper_deadline_ms=40, **NEVER_CHECKED) as client:
        assert (await send(client, way, *lines(3))).status_code == 503
        gate.set()
        await eventually(lambda: len(regions["region-a"].written) == 3, "the region has taken all")
        assert (await send(client, way, *lines(3))).is_success

    assert handed(regions) == dict.fromkeys((line.message for line in lines(3)), 1)


async def test_slow_regions_get_each_event_once_however_often_it_is_tried(way: Way) -> None:
    regions = producers()
    gates = [region.hold() for region in regions.values()]
    async with gateway(regions, shipper_deadline_ms=40, **NEVER_CHECKED) as client:
        assert [(await send(client, way, *lines(2))).status_code for _ in range(4)] == [503] * 4
        for gate in gates:
            gate.set()
        assert (await send(client, way, *lines(2))).is_success

    assert [len(region.requests) for region in regions.values()] == [1, 1]


async def test_a_slow_region_beside_a_dead_one_gets_each_event_once(way: Way) -> None:
    regions = producers()
    gate = regions["region-a"].hold()
    regions["region-b"].die()
    async with gateway(regions, shipper_deadline_ms=200, **NEVER_CHECKED) as client:
        assert (await send(client, way, *lines(2))).status_code == 503
        assert len(regions["region-a"].requests) == 1
        gate.set()
        assert (await send(client, way, *lines(2))).is_success

    assert handed(regions) == dict.fromkeys((line.message for line in lines(2)), 1)


async def test_what_was_in_flight_and_failed_is_sent_again(way: Way) -> None:
    regions = producers("region-a")
    region = regions["region-a"]
    region.behaviour = region.stay_silent
    async with gateway(
        regions, shipper_deadline_ms=40, attempt_timeout_ms=100, circuit_failures=100, **NEVER_CHECKED
    ) as client:
        assert (await send(client, way, *lines(2))).status_code == 503
        region.recover()

        async def is_taken() -> bool:
            return (await send(client, way, *lines(2))).is_success

        await eventually(is_taken, "it is sent again")

    assert handed(regions) == dict.fromkeys((line.message for line in lines(2)), 1)


async def test_a_large_request_goes_on_where_it_was_refused(way: Way) -> None:
    regions = producers("region-a")
    region = regions["region-a"]
    sent = lines(4500)
    region.outcome = lambda event: AWAY if int(event.message.split()[1]) >= 4000 else Accepted("region-a")
    async with gateway(regions, shipper_deadline_ms=100, circuit_failures=1000, **NEVER_CHECKED) as client:
        assert (await send(client, way, *sent)).status_code == 503
        region.recover()
        assert (await send(client, way, *sent)).is_success

    assert [event.message for event in region.written] == [line.message for line in sent]


async def test_overload_does_not_feed_itself(way: Way) -> None:
    """Regions that need longer than a request may be held still write each event at most once each, and all come through."""
    regions = producers()
    for region in regions.values():
        region.behaviour = one_at_a_time(region)
    async with gateway(regions, attempt_timeout_ms=60_000, request_max_events=3, **NEVER_CHECKED) as client:

        async def persist(number: int) -> int:
            for tries in range(1, 100):
                answer = await send(client, way, *[Line(f"message {number} {index}") for index in range(3)])
                if answer.is_success:
                    return tries
                await asyncio.sleep(1)
            raise AssertionError("it never came through")

        tries = await asyncio.gather(*(persist(number) for number in range(20)))

    assert max(tries) > 2
    assert len(handed(regions)) == 60
    for region in regions.values():
        assert max(Counter(event.message for event in region.written).values()) == 1


def one_at_a_time(region: FakeProducer) -> Any:
    lock = asyncio.Lock()

    async def behaviour(body: bytes) -> httpx.Response:
        async with lock:
            await asyncio.sleep(1.5)
        return await region.answer(body)

    return behaviour


def test_another_body_under_the_same_key_begins_anew() -> None:
    """Its records with ids of their own are others."""
    slot = Slot(datetime.now(UTC), b"")
    slot.resume(b"one").durable = 2000
    assert slot.resume(b"one").durable == 2000
    assert slot.resume(b"other").durable == 0


def event(number: int) -> SealedEvent:
    return SealedEvent(f"id-{number}", "2026-11-27T00:00:00.000000Z", "c", b"{}")


async def test_the_memory_is_bounded_and_forgets() -> None:
    now = [0.0]
    memory = Handed(lambda: now[0], kept=3, kept_for_s=10)
    events = [event(number) for number in range(5)]
    memory.note(events, [Accepted("region-a")] * 4 + [AWAY])
    assert [memory.acknowledged(one) is not None for one in events] == [False, True, True, True, False]
    now[0] = 11.0
    assert not memory
    assert memory.acknowledged(events[1]) is None


async def test_a_delivery_that_comes_before_it_is_followed_counts() -> None:
    memory = Handed(lambda: 0.0)
    late = Late()
    late.arrive([Accepted("region-a"), AWAY])
    memory.follow([event(1), event(2)], "region-a", late)
    assert memory.flights([event(1), event(2)]) == set()
    assert memory.acknowledged(event(1)) == Accepted("region-a")
    assert memory.acknowledged(event(2)) is None


async def test_a_flight_that_fails_leaves_nothing_behind() -> None:
    memory = Handed(lambda: 0.0)
    late = Late()
    memory.follow([event(1), event(1)], "region-a", late)
    [flight] = memory.flights([event(1)])
    late.arrive(RegionTimeoutError("no answer"))
    assert flight.landed.done()
    assert not memory
