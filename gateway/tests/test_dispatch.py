"""Retries, failover, and how answers and metrics show them, through the real app."""

import asyncio

from typing import Any

import httpx
import pytest

from gateway.tests.fleet import AWAY, EVENT, NEVER_CHECKED, FakeProducer, gateway, metric, producers
from shared.event.model import ReceivedEvent
from shared.event.outcome import Accepted, Outcome, Refused
from testbed.patience import eventually


def fallbacks(source: str, target: str) -> str:
    return f'gateway_routing_fallbacks_total{{from_region="{source}",to_region="{target}"}}'


async def post(client: httpx.AsyncClient, region: str | None = None, **changes: Any) -> httpx.Response:
    return await client.post("/api/logs", json=EVENT | changes, headers={"X-Region": region} if region else {})


@pytest.mark.parametrize(("asked", "served"), [("region-a", "region-a"), ("region-b", "region-b"), (None, "region-a")])
async def test_while_all_is_well_the_wanted_region_serves(asked: str | None, served: str) -> None:
    regions = producers()
    async with gateway(regions) as client:
        answer = await post(client, asked)

        assert answer.status_code == 202
        assert (answer.json()["region"], answer.json()["failover"]) == (served, False)
        assert [event.message for event in regions[served].written] == ["Hello"]
        assert await metric(client, fallbacks("region-a", "region-b")) == 0


@pytest.mark.parametrize("asked", ["region-a", None])
@pytest.mark.parametrize("fault", ["refuse_connections", "fail", "talk_nonsense", "stay_silent", "break_off"])
async def test_another_region_serves_when_the_wanted_one_does_not(asked: str | None, fault: str) -> None:
    regions = producers()
    regions["region-a"].behaviour = getattr(regions["region-a"], fault)
    async with gateway(regions, attempt_timeout_ms=50, **NEVER_CHECKED) as client:
        answer = await post(client, asked)

        assert answer.status_code == 202
        assert (answer.json()["region"], answer.json()["failover"]) == ("region-b", True)
        assert (answer.headers["x-served-region"], answer.headers["x-failover"]) == ("region-b", "true")
        assert await metric(client, fallbacks("region-a", "region-b")) == 1
        assert await metric(client, fallbacks("region-b", "region-a")) == 0


async def test_a_region_without_kafka_is_a_failed_region() -> None:
    regions = producers()
    async with gateway(regions, **NEVER_CHECKED) as client:
        regions["region-b"].outcome = lambda _: AWAY
        answers = [await post(client, "region-b") for _ in range(5)]

        assert {answer.json()["region"] for answer in answers} == {"region-a"}
        # Three failures opened the circuit. The last two posts made no request.
        assert len(regions["region-b"].requests) == 3
        assert await metric(client, 'gateway_region_up{region="region-b"}') == 0


async def test_an_event_keeps_its_bytes_through_every_attempt() -> None:
    """Half of the failed attempts wrote the event, and the consumer recognises duplicates by identity alone."""
    regions = producers()
    regions["region-a"].behaviour = regions["region-a"].break_off
    async with gateway(regions, **NEVER_CHECKED) as client:
        answer = await post(client)

        # Twice, since a broken connection gets a second attempt.
        assert len(regions["region-a"].requests) == 2
        assert {*regions["region-a"].requests, *regions["region-b"].requests} == {regions["region-b"].requests[0]}
        written = regions["region-a"].written + regions["region-b"].written
        assert {str(event.event_id) for event in written} == {answer.json()["eventId"]}


async def test_a_connection_that_broke_is_tried_again_before_another_region() -> None:
    regions = producers()
    regions["region-a"].behaviour = break_once(regions["region-a"])
    async with gateway(regions, **NEVER_CHECKED) as client:
        answer = await post(client)

        assert (answer.json()["region"], answer.json()["failover"]) == ("region-a", False)
        assert regions["region-b"].requests == []


def break_once(producer: FakeProducer) -> Any:
    async def behaviour(body: bytes) -> httpx.Response:
        producer.behaviour = producer.answer
        return await producer.break_off(body)

    return behaviour


async def test_with_one_region_left_it_is_tried_again_after_a_pause() -> None:
    regions = producers("region-a")
    outcomes: list[Outcome] = [AWAY, AWAY, Accepted("region-a")]
    regions["region-a"].outcome = lambda _: outcomes.pop(0)
    async with gateway(regions, **NEVER_CHECKED) as client:
        answer = await post(client)

        assert answer.status_code == 202
        assert answer.json()["failover"] is False
        assert outcomes == []


async def test_a_region_that_recovers_during_an_attempt_elsewhere_is_tried_in_the_same_round() -> None:
    regions = producers()
    regions["region-b"].ready = 503

    async def fail_when_the_other_is_well(body: bytes) -> httpx.Response:
        regions["region-b"].ready = 200
        await eventually(lambda: is_in_state(client, "region-b", "closed"), "region-b is well")
        return await regions["region-a"].fail(body)

    regions["region-a"].behaviour = fail_when_the_other_is_well
    async with gateway(regions, health_interval_ms=5) as client:
        await eventually(lambda: is_in_state(client, "region-b", "open"), "region-b is given up")
        answer = await post(client)

        assert (answer.status_code, answer.json()["region"]) == (202, "region-b")
        assert len(regions["region-a"].requests) == 1


async def test_when_no_region_acknowledges_the_client_is_told_to_come_back() -> None:
    regions = producers()
    async with gateway(regions, **NEVER_CHECKED) as client:
        for producer in regions.values():
            producer.die()
        answer = await post(client)

        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert "did not acknowledge" in answer.json()["detail"]
        requests = [len(producer.requests) for producer in regions.values()]
        assert requests == [3, 3]

        # Both circuits are open now: no attempt, no delay.
        again = await post(client)
        assert again.status_code == 503
        assert "no region can acknowledge" in again.json()["detail"]
        assert [len(producer.requests) for producer in regions.values()] == requests


async def test_checks_alone_cannot_close_the_gateway_to_everybody() -> None:
    """An overloaded gateway finds every region too slow. If it then refused every event, it would never recover."""
    regions = producers()
    async with gateway(regions, health_interval_ms=5) as client:
        for producer in regions.values():
            producer.ready = 503
        await eventually(lambda: all_open(client), "both circuits are open")
        answer = await post(client, "region-b")

        assert answer.status_code == 202
        assert answer.json()["region"] == "region-b"


async def all_open(client: httpx.AsyncClient) -> bool:
    return [await metric(client, f'gateway_region_up{{region="{r}"}}') for r in ("region-a", "region-b")] == [0, 0]


async def test_the_deadline_holds_whatever_the_regions_do() -> None:
    regions = producers()
    for producer in regions.values():
        producer.behaviour = producer.stay_silent
    async with gateway(regions, deadline_ms=100, attempt_timeout_ms=1000, **NEVER_CHECKED) as client:
        started = asyncio.get_running_loop().time()
        answer = await post(client)
        elapsed = asyncio.get_running_loop().time() - started

        assert answer.status_code == 503
        assert "in time" in answer.json()["detail"]
        assert elapsed == pytest.approx(0.1)


async def test_a_refusal_for_good_is_not_tried_elsewhere() -> None:
    regions = producers()
    regions["region-a"].outcome = lambda _: Refused(413, "too large for Kafka", retryable=False)
    async with gateway(regions) as client:
        answer = await post(client)

        assert answer.status_code == 413
        assert answer.json()["detail"] == "too large for Kafka"
        assert regions["region-b"].requests == []


async def test_of_a_batch_only_what_was_refused_for_now_moves_on() -> None:
    regions = producers()

    def by_message(event: ReceivedEvent) -> Outcome:
        return {"again": AWAY, "never": Refused(413, "too large", retryable=False)}.get(
            event.message, Accepted("region-a")
        )

    regions["region-a"].outcome = by_message
    batch = [EVENT | {"message": message} for message in ["1", "again", "2", "never", "again", "3"]]
    async with gateway(regions) as client:
        answer = await client.post("/api/logs/batch", json=batch, headers={"X-Region": "region-a"})
        items = answer.json()["items"]

        assert answer.status_code == 207
        assert [item["status"] for item in items] == [202, 202, 202, 413, 202, 202]
        assert [item.get("region") for item in items] == [
            "region-a",
            "region-b",
            "region-a",
            None,
            "region-b",
            "region-a",
        ]
        assert [event.message for event in regions["region-a"].written] == ["1", "2", "3"]
        assert [event.message for event in regions["region-b"].written] == ["again", "again"]
        assert [str(event.event_id) for event in regions["region-b"].written] == [
            items[1]["eventId"],
            items[4]["eventId"],
        ]
        assert await metric(client, fallbacks("region-a", "region-b")) == 2


async def test_a_large_batch_keeps_its_order_over_all_its_requests() -> None:
    """Also when a region dies in the middle of the batch."""
    regions = producers()
    batch = [EVENT | {"message": str(number)} for number in range(95)]

    async def die_after_three(body: bytes) -> httpx.Response:
        if len(regions["region-a"].requests) > 3:
            return await regions["region-a"].fail(body)
        return await regions["region-a"].answer(body)

    regions["region-a"].behaviour = die_after_three
    async with gateway(regions, request_max_events=10, **NEVER_CHECKED) as client:
        answer = await client.post("/api/logs/batch", json=batch)

        assert answer.status_code == 202
        written = [event.message for region in ("region-a", "region-b") for event in regions[region].written]
        assert written == [str(number) for number in range(95)]
        assert len(regions["region-a"].written) == 30
        assert await metric(client, fallbacks("region-a", "region-b")) == 65


async def test_concurrent_posts_share_requests() -> None:
    regions = producers()
    async with gateway(regions, linger_ms=20) as client:
        answers = await asyncio.gather(*(post(client, message=str(number)) for number in range(50)))

        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["eventId"] for answer in answers}) == 50
        assert len(regions["region-a"].requests) < 10
        assert len(regions["region-a"].written) == 50


async def test_a_full_queue_pushes_back_and_nothing_is_sent_elsewhere() -> None:
    regions = producers()
    gate = regions["region-a"].hold()
    async with gateway(regions, request_max_events=2, queue_max_events=4, upstream_concurrency=1) as client:
        posts = [asyncio.create_task(post(client, message=str(number))) for number in range(6)]
        await eventually(lambda: are_done(posts, 2), "two refusals")
        gate.set()
        answers = await asyncio.gather(*posts)

        assert sorted(answer.status_code for answer in answers) == [202, 202, 202, 202, 503, 503]
        assert {a.headers.get("retry-after") for a in answers if a.status_code == 503} == {"1"}
        assert regions["region-b"].requests == []
        assert await metric(client, 'gateway_queue_events{region="region-a"}') == 0


async def test_a_batch_larger_than_the_queue_waits_for_room() -> None:
    """Its first events were accepted, so the rest waits: a client can do little with an answer in two halves."""
    regions = producers()
    batch = [EVENT | {"message": str(number)} for number in range(40)]
    async with gateway(regions, request_max_events=4, queue_max_events=4, upstream_concurrency=1) as client:
        answers = await asyncio.gather(*(client.post("/api/logs/batch", json=batch) for _ in range(2)))

        assert sorted(answer.status_code for answer in answers) in ([202, 202], [202, 503])


async def test_a_region_that_comes_back_serves_again() -> None:
    regions = producers()
    async with gateway(regions, health_interval_ms=5, health_timeout_ms=50) as client:
        regions["region-a"].die()
        during = await post(client, "region-a")
        await eventually(lambda: is_up(client, "region-a", up=False), "the circuit of region-a opens")
        regions["region-a"].recover()
        await eventually(lambda: is_up(client, "region-a", up=True), "the circuit of region-a lets attempts through")
        after = await post(client, "region-a")

        assert (during.json()["region"], during.json()["failover"]) == ("region-b", True)
        assert (after.json()["region"], after.json()["failover"]) == ("region-a", False)


async def is_up(client: httpx.AsyncClient, region: str, *, up: bool) -> bool:
    return await metric(client, f'gateway_region_up{{region="{region}"}}') == float(up)


async def test_a_dead_region_costs_nothing_once_its_circuit_is_open() -> None:
    regions = producers()
    async with gateway(regions, health_interval_ms=5, health_timeout_ms=50) as client:
        regions["region-a"].die()
        await eventually(lambda: is_up(client, "region-a", up=False), "the checks find region-a dead")
        answers = [await post(client, "region-a") for _ in range(20)]

        assert {answer.json()["region"] for answer in answers} == {"region-b"}
        assert regions["region-a"].requests == []
        assert await metric(client, fallbacks("region-a", "region-b")) == 20


async def test_posts_that_wait_for_a_region_found_dead_move_on_at_once() -> None:
    regions = producers()
    silent = regions["region-a"]
    silent.behaviour = silent.stay_silent
    async with gateway(
        regions,
        request_max_events=1,
        upstream_concurrency=1,
        attempt_timeout_ms=300,
        circuit_failures=1,
        **NEVER_CHECKED,
    ) as client:
        started = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(post(client, "region-a") for _ in range(10)))
        elapsed = asyncio.get_running_loop().time() - started

        assert {answer.json()["region"] for answer in answers} == {"region-b"}
        assert len(silent.requests) == 1
        assert elapsed == pytest.approx(0.3, abs=0.1)


async def test_of_many_posts_one_tries_a_region_that_may_have_recovered() -> None:
    regions = producers()
    tried = regions["region-a"]
    async with gateway(regions, health_interval_ms=5, circuit_failures=1) as client:
        tried.behaviour = tried.fail
        await post(client, "region-a")
        gate = tried.hold()
        await eventually(lambda: is_in_state(client, "region-a", "half-open"), "region-a may have recovered")
        tried.requests.clear()
        posts = [asyncio.create_task(post(client, "region-a")) for _ in range(10)]
        await eventually(lambda: are_done(posts, 9), "nine posts are served elsewhere")
        gate.set()
        answers = await asyncio.gather(*posts)
        after = await post(client, "region-a")

    assert [body.count(b"eventId") for body in tried.requests] == [1, 1]
    assert sorted(answer.json()["region"] for answer in answers) == ["region-a", *["region-b"] * 9]
    assert (after.json()["region"], after.json()["failover"]) == ("region-a", False)


async def is_in_state(client: httpx.AsyncClient, region: str, state: str) -> bool:
    return bool((await client.get("/ready")).json()["regions"][region] == state)


async def are_done(posts: list[asyncio.Task[httpx.Response]], number: int) -> bool:
    return sum(task.done() for task in posts) == number


async def test_readiness_names_what_is_wrong_with_a_region_that_is_given_up() -> None:
    regions = producers()
    async with gateway(regions, **NEVER_CHECKED, circuit_failures=1) as client:
        regions["region-a"].behaviour = regions["region-a"].fail
        await post(client, "region-a")
        ready = await client.get("/ready")

        assert ready.status_code == 200
        assert ready.json()["degraded"] == ["region-a: producer answered 500: boom"]
        assert ready.json()["regions"] == {"region-a": "open", "region-b": "closed"}


async def test_what_a_region_says_of_its_failure_is_for_operators_and_not_for_clients() -> None:
    regions = producers()
    async with gateway(regions, **NEVER_CHECKED) as client:
        for producer in regions.values():
            producer.behaviour = producer.fail
        answer = await post(client)
        ready = await client.get("/ready")

    assert answer.status_code == 503
    assert "producer answered 500" in answer.json()["detail"]
    assert "boom" not in answer.text
    assert "boom" in ready.text


async def test_a_traceparent_goes_along_also_to_the_region_that_takes_over() -> None:
    regions = producers()
    regions["region-a"].lose_kafka()
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with gateway(regions, **NEVER_CHECKED) as client:
        headers = {"X-Region": "region-a", "traceparent": traceparent}
        traced = await client.post("/api/logs/batch", json=[EVENT, EVENT], headers=headers)
        plain = await post(client, "region-b")

    assert (traced.status_code, plain.status_code) == (202, 202)
    assert regions["region-b"].traceparents == [traceparent.encode(), traceparent.encode(), None]
    assert [event.message for event in regions["region-b"].written] == ["Hello"] * 3


async def test_a_region_that_takes_over_is_told_which_region_was_wanted_and_no_other_is() -> None:
    regions = producers()
    regions["region-a"].outcome = lambda _: AWAY
    async with gateway(regions, **NEVER_CHECKED) as client:
        await post(client, "region-b")
        answer = await client.post("/api/logs/batch", json=[EVENT] * 3, headers={"X-Region": "region-a"})

    assert answer.status_code == 202
    assert regions["region-b"].wanted == [None, "region-a=0-2"]
    assert regions["region-a"].wanted == [None]
