"""The ten rules of the front door (docs/front-door.md), each for every protocol."""

import asyncio

import httpx
import pytest

from gateway.protocols.table import ROUTES
from gateway.tests.fleet import NEVER_CHECKED, FakeProducer, gateway, metric, producers
from gateway.tests.front_door import FINE_NS, START_NS, WAYS, Line, Way, lines, send
from shared.event.model import ReceivedEvent

DEADLINE_S = 4.0


def is_success(answer: httpx.Response, way: Way) -> bool:
    status, kind, begin = way.success
    return (answer.status_code, answer.headers.get("content-type")) == (status, kind) and answer.content.startswith(
        begin
    )


def is_not_now(answer: httpx.Response, way: Way) -> bool:
    said = (answer.status_code, answer.headers.get("retry-after"), answer.headers.get("content-type"))
    return said == (503, "1", way.error_type)


def written(regions: dict[str, FakeProducer]) -> list[ReceivedEvent]:
    return [event for region in regions.values() for event in region.written]


def identities(regions: dict[str, FakeProducer]) -> set[tuple[str, str]]:
    return {(str(event.event_id), event.timestamp.isoformat()) for event in written(regions)}


def test_every_protocol_is_among_those_that_are_tested() -> None:
    assert {way.name for way in WAYS} == {route.name for route in ROUTES}


async def test_rule_1_not_now_is_one_answer_for_the_whole_request_and_its_retry_is_the_same(way: Way) -> None:
    regions = producers()
    half = {"message 1", "message 3"}
    for region in regions.values():
        region.take_only(half)
    async with gateway(regions) as client:
        first = await send(client, way, *lines(5))
        assert is_not_now(first, way)
        assert {event.message for event in written(regions)} == half
        assert await metric(client, f'gateway_records_total{{outcome="unavailable",protocol="{way.name}"}}') == 3

        for region in regions.values():
            region.recover()
        assert is_success(await send(client, way, *lines(5)), way)
        assert await metric(client, f'gateway_records_total{{outcome="accepted",protocol="{way.name}"}}') == 7

    assert len(identities(regions)) == 5
    assert {event.message for event in written(regions)} == {line.message for line in lines(5)}


@pytest.mark.parametrize("fault", ["die", "lose_kafka"])
async def test_rule_2_a_retry_is_never_asked_to_wait_longer_than_two_seconds(way: Way, fault: str) -> None:
    regions = producers()
    for region in regions.values():
        getattr(region, fault)()
    async with gateway(regions) as client:
        answer = await send(client, way, *lines(1))

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) <= 2


@pytest.mark.parametrize("fault", ["stay_silent", "fail", "refuse_connections", "talk_nonsense"])
async def test_rule_3_the_answer_comes_within_four_seconds(way: Way, fault: str) -> None:
    regions = producers()
    for region in regions.values():
        region.behaviour = getattr(region, fault)
    async with gateway(regions, **NEVER_CHECKED) as client:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer = await send(client, way, *lines(1))

        assert is_not_now(answer, way)
        assert loop.time() - begun <= DEADLINE_S + 0.1


async def test_rule_3_a_silent_region_leaves_the_next_one_time_to_answer(way: Way) -> None:
    regions = producers()
    regions["region-a"].behaviour = regions["region-a"].stay_silent
    async with gateway(regions, **NEVER_CHECKED) as client:
        assert is_success(await send(client, way, *lines(3)), way)

    assert len(regions["region-b"].written) == 3


async def test_rule_4_a_full_queue_holds_a_request_until_there_is_room(way: Way) -> None:
    regions = producers("region-a")
    gate = regions["region-a"].hold()
    async with gateway(regions, queue_max_events=4, request_max_events=4, **NEVER_CHECKED) as client:
        first = asyncio.create_task(send(client, way, *lines(3)))
        await asyncio.sleep(0.5)
        second = asyncio.create_task(send(client, way, *[Line(f"later {index}") for index in range(3)]))
        await asyncio.sleep(1)
        assert not second.done()
        gate.set()

        assert is_success(await first, way)
        assert is_success(await second, way)
    assert len(identities(regions)) == 6


async def test_rule_4_a_request_waits_for_a_place_before_it_is_refused(way: Way) -> None:
    regions = producers("region-a")
    gate = regions["region-a"].hold()
    async with gateway(regions, max_shipper_requests=1, **NEVER_CHECKED) as client:
        posts = [asyncio.create_task(send(client, way, Line(f"message {index}"))) for index in range(5)]
        await asyncio.sleep(1)
        assert not any(post.done() for post in posts)
        gate.set()

        assert all([is_success(await post, way) for post in posts])
    assert len(identities(regions)) == 5


async def test_rule_4_a_request_is_held_while_no_region_is_there(way: Way) -> None:
    regions = producers()
    for region in regions.values():
        region.die()
    async with gateway(regions, circuit_failures=1, health_interval_ms=100) as client:
        post = asyncio.create_task(send(client, way, *lines(2)))
        await asyncio.sleep(1)
        assert not post.done()
        for region in regions.values():
            region.recover()

        assert is_success(await post, way)


async def test_rule_4_what_cannot_be_held_any_longer_is_refused(way: Way) -> None:
    regions = producers("region-a")
    regions["region-a"].hold()
    async with gateway(regions, max_shipper_requests=1, **NEVER_CHECKED) as client:
        answers = await asyncio.gather(*(send(client, way, Line(f"message {index}")) for index in range(3)))

        assert all(is_not_now(answer, way) for answer in answers)


async def test_rule_5_a_bug_is_answered_too(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = next(route.protocol for route in ROUTES if route.path == way.path)
    monkeypatch.setattr(type(protocol), "answer", lambda *_: 1 / 0)
    async with gateway(producers()) as client:
        assert is_not_now(await send(client, way, *lines(1)), way)


@pytest.mark.parametrize(
    "message", ["", "\0", "a\0b", "x" * 300_000, "\\u0000", "\u2028", "\x1b[31m", '{"a":1}', " ", "\ufffe"]
)
async def test_rule_6_a_record_in_a_readable_envelope_is_never_refused(way: Way, message: str) -> None:
    regions = producers()
    async with gateway(regions) as client:
        answer = await send(client, way, Line("before"), Line(message), Line("after"))

    assert answer.status_code == way.success[0]
    assert len(written(regions)) == 3
    assert [written(regions)[0].message, written(regions)[2].message] == ["before", "after"]


@pytest.mark.parametrize("time_ns", [0, 1, 2**63, 2**64 - 1, 7_289_654_400_000_000_000])
async def test_rule_6_nor_is_one_for_its_time(way: Way, time_ns: int) -> None:
    regions = producers()
    async with gateway(regions) as client:
        answer = await send(client, way, Line("odd", time_ns))

    assert answer.status_code == way.success[0]
    assert [event.message for event in written(regions)] == ["odd"]


async def test_rule_6_a_body_that_cannot_be_read_is_refused_for_good(way: Way) -> None:
    regions = producers()
    async with gateway(regions) as client:
        for body in way.unreadable:
            answer = await client.request(way.method, way.path, headers=way.headers, content=body)
            assert (answer.status_code, answer.headers["content-type"]) == (400, way.error_type), body

    assert not written(regions)


async def test_rule_7_errors_have_the_protocols_own_form(way: Way) -> None:
    async with gateway(producers()) as client:
        request = way.request(*lines(1))
        answers = {
            405: await client.request(**request | {"method": "DELETE"}),
            413: await client.request(**request | {"content": b" " * (16 * 1024 * 1024 + 1)}),
            415: await client.request(**request | {"headers": {**way.headers, "Content-Encoding": "br"}}),
            400: await client.request(**request | {"headers": {**way.headers, "X-Region": "nowhere"}}),
        }

    for status, answer in answers.items():
        assert (answer.status_code, answer.headers["content-type"]) == (status, way.error_type)
        assert answer.content
    assert way.method in answers[405].headers["allow"]


async def test_rule_8_success_has_exactly_the_type_that_clients_compare_with(way: Way) -> None:
    async with gateway(producers()) as client:
        answer = await send(client, way, *lines(2))

    status, kind, begin = way.success
    assert (answer.status_code, answer.headers.get("content-type")) == (status, kind)
    assert answer.content.startswith(begin)


@pytest.mark.parametrize("time_ns", [FINE_NS, START_NS])
async def test_rule_9_a_retry_is_the_same_whichever_gateway_takes_it(way: Way, time_ns: int) -> None:
    regions = producers()
    for _ in range(2):
        async with gateway(regions) as client:
            assert is_success(await send(client, way, *lines(4, time_ns=time_ns)), way)

    assert len(written(regions)) == 8
    assert len(identities(regions)) == 4


@pytest.mark.parametrize("time_ns", [0, FINE_NS, START_NS])
async def test_rule_9_two_equal_lines_of_a_request_are_two(way: Way, time_ns: int) -> None:
    regions = producers()
    async with gateway(regions) as client:
        assert is_success(await send(client, way, *[Line("again", time_ns)] * 50), way)

    assert len(identities(regions)) == 50


async def test_rule_9_what_is_sent_again_in_other_batches_is_the_same_if_its_time_is_fine(way: Way) -> None:
    regions = producers()
    sent = [Line(f"message {index}", FINE_NS + index * 1000) for index in range(6)]
    async with gateway(regions) as client:
        for batch in (sent, sent[:2], sent[2:]):
            assert is_success(await send(client, way, *batch), way)

    assert len(identities(regions)) == 6


async def test_rule_9_equal_lines_of_two_batches_are_not_one_where_clocks_are_coarse(way: Way) -> None:
    """As a client does whose clock ticks once a millisecond: the same millisecond on both sides of a batch's end."""
    regions = producers()
    again = Line("again", START_NS)
    async with gateway(regions) as client:
        for batch in ([Line("first"), again], [again, Line("last")]):
            assert is_success(await send(client, way, *batch), way)

    assert len(identities(regions)) == 4


async def test_rule_9_a_record_without_time_is_the_same_until_it_is_acknowledged_and_new_then(way: Way) -> None:
    regions = producers()
    for region in regions.values():
        region.behaviour = region.break_off  # written, and the answer is lost
    async with gateway(regions) as client:
        assert is_not_now(await send(client, way, Line("beat", 0)), way)
        assert len(written(regions)) >= 2
        assert len(identities(regions)) == 1
        for region in regions.values():
            region.recover()
        assert is_success(await send(client, way, Line("beat", 0)), way)
        assert len(identities(regions)) == 1

        assert is_success(await send(client, way, Line("beat", 0)), way)
        assert len(identities(regions)) == 2
        assert await metric(client, f'gateway_records_without_time_total{{protocol="{way.name}"}}') == 2
        assert await metric(client, f'gateway_repeated_requests_total{{protocol="{way.name}"}}') == 1


async def test_rule_9_two_requests_at_once_of_the_same_records_without_time_are_two(way: Way) -> None:
    regions = producers()
    async with gateway(regions) as client:
        answers = await asyncio.gather(*(send(client, way, Line("beat", 0)) for _ in range(3)))

    assert all(is_success(answer, way) for answer in answers)
    assert len(identities(regions)) == 3


async def test_rule_9_a_key_makes_a_request_the_same_whatever_its_bytes_and_times(way: Way) -> None:
    regions = producers()
    async with gateway(regions) as client:
        for _ in range(2):
            assert is_success(await send(client, way, Line("beat", START_NS), idempotency_key="one"), way)
        assert is_success(await send(client, way, Line("beat", START_NS), idempotency_key="two"), way)

    assert len(identities(regions)) == 2


async def test_rule_9_no_tenant_can_make_anothers_record_one_that_was_there(way: Way) -> None:
    regions = producers()
    async with gateway(regions) as client:
        for tenant in ("a", "b"):
            assert is_success(await send(client, way, *lines(2), x_scope_orgid=tenant), way)

    assert len(identities(regions)) == 4
    assert [event.attributes["tenant"] for event in written(regions)] == ["a", "a", "b", "b"]


async def test_rule_10_success_is_told_only_when_all_is_durable(way: Way) -> None:
    regions = producers()
    gates = [region.hold() for region in regions.values()]
    async with gateway(regions, **NEVER_CHECKED) as client:
        post = asyncio.create_task(send(client, way, *lines(3)))
        await asyncio.sleep(1)
        assert not post.done()
        for gate in gates:
            gate.set()

        assert is_success(await post, way)
    assert len(identities(regions)) == 3


async def test_more_records_than_a_batch_may_have_are_split_and_stored_in_order(way: Way) -> None:
    regions = producers()
    sent = [Line(f"message {index}", FINE_NS + index) for index in range(15_000)]
    async with gateway(regions) as client:
        assert is_success(await send(client, way, *sent), way)

    assert [event.message for event in regions["region-a"].written] == [line.message for line in sent]
