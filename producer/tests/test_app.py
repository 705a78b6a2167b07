"""The producer over HTTP."""

import asyncio
import json
import subprocess
import sys

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from asgi_lifespan import LifespanManager

from producer.app import create_app, create_internal_app
from producer.settings import ProducerSettings
from producer.tests.fakes import MAX_VALUE_BYTES, FakeKafka
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_record
from shared.event.outcome import Accepted, Refused
from shared.wire import handoff
from testbed.doors import Doors
from testbed.patience import eventually

BODY = {"serviceName": "checkout", "level": "INFO", "message": "Hello", "correlationId": "trace-1"}


INTERNAL = "http://internal"
RECORDS = INTERNAL + handoff.PATH


@asynccontextmanager
async def a_producer(settings: ProducerSettings, kafka: FakeKafka) -> AsyncIterator[httpx.AsyncClient]:
    """A client of both listeners; a path alone is the public one's."""
    async with LifespanManager(Doors(create_app(settings, kafka.connect), create_internal_app())) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://producer") as client:
            yield client


@pytest.fixture
async def client(kafka: FakeKafka, settings: ProducerSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with a_producer(settings, kafka) as client:
        yield client


@pytest.fixture
async def ready(client: httpx.AsyncClient) -> httpx.AsyncClient:
    for _ in range(200):
        if (await client.get("/ready")).is_success:
            return client
    pytest.fail("never ready")


async def test_an_event_is_accepted_once_kafka_has_it(ready: httpx.AsyncClient, kafka: FakeKafka) -> None:
    answer = await ready.post("/api/logs", json=BODY, headers={"X-Region": "region-a"})

    [(key, value)] = kafka.written
    record = decode_record(value)
    assert answer.status_code == 202
    assert answer.json()["region"] == "region-a"
    assert answer.json()["eventId"] == str(record.event_id)
    assert record.origin_region == "region-a"
    assert key == b"trace-1"


@pytest.mark.parametrize("path", ["/api/logs", "/api/logs/batch"])
async def test_a_secured_fleets_clients_are_sent_to_the_gateway(
    kafka: FakeKafka, settings: ProducerSettings, path: str
) -> None:
    async with a_producer(settings.model_copy(update={"security": "on"}), kafka) as client:
        answer = await client.post(path, json=BODY)

    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert "send them to the gateway" in answer.json()["detail"]
    assert not kafka.written


async def test_another_region_is_refused(ready: httpx.AsyncClient, kafka: FakeKafka) -> None:
    answer = await ready.post("/api/logs", json=BODY, headers={"X-Region": "region-b"})

    assert answer.status_code == 400
    assert "region-a" in answer.json()["detail"]
    assert kafka.written == []


async def test_no_acknowledgement_is_503_with_retry_after(ready: httpx.AsyncClient, kafka: FakeKafka) -> None:
    kafka.acknowledges = False

    answer = await ready.post("/api/logs", json=BODY)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "may or may not have been written" in answer.json()["detail"]


@pytest.mark.usefixtures("kafka_away")
async def test_it_starts_and_answers_while_kafka_is_away(kafka: FakeKafka, settings: ProducerSettings) -> None:
    async with (
        LifespanManager(create_app(settings, kafka.connect)) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(app=manager.app), base_url="http://producer") as client,
    ):
        await eventually(lambda: kafka.tries > 1, "tried to connect, and again")
        health, ready, post = [
            await client.get("/health"),
            await client.get("/ready"),
            await client.post("/api/logs", json=BODY),
        ]

    assert health.status_code == 200
    assert ready.status_code == 503
    assert ready.json()["reasons"] == ["kafka: connection refused"]
    assert post.status_code == 503
    assert "Retry-After" in post.headers


async def test_a_gateways_events_get_one_outcome_each(
    ready: httpx.AsyncClient, kafka: FakeKafka, event: Callable[..., ReceivedEvent]
) -> None:
    events = [event(1), event(2, message="x" * (MAX_VALUE_BYTES + 1)), event(3, correlation_id="trace-3")]

    answer = await ready.post(RECORDS, content=handoff.encode_events(events))

    outcomes = handoff.decode_outcomes(answer.content, "region-a", 3)
    assert answer.status_code == 200
    assert outcomes[0] == outcomes[2] == Accepted("region-a")
    assert isinstance(outcomes[1], Refused)
    assert (outcomes[1].status, outcomes[1].retryable) == (413, False)
    assert [decode_record(value).event_id for _, value in kafka.written] == [events[0].event_id, events[2].event_id]


TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_each_event_of_a_handoff_keeps_its_own_traceparent(
    ready: httpx.AsyncClient, kafka: FakeKafka, event: Callable[..., ReceivedEvent]
) -> None:
    plain, traced = event(1), event(2)
    lines = [plain.encode(), handoff.with_traceparent(traced.encode(), TRACEPARENT)]

    answer = await ready.post(RECORDS, content=handoff.join_encoded(lines))

    assert handoff.decode_outcomes(answer.content, "region-a", 2) == [Accepted("region-a")] * 2
    assert kafka.traceparents == [None, TRACEPARENT]
    # It is the record's header, and no part of its value.
    assert [value for _, value in kafka.written] == [e.to_record("region-a").encode() for e in (plain, traced)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("region-b=1", [None, b"region-b"]),
        ("region-b=0-9", [None, None]),
        ("nonsense", [None, None]),
        (None, [None, None]),
    ],
)
async def test_a_record_carries_the_region_that_it_was_meant_for_and_nothing_unreadable(
    ready: httpx.AsyncClient,
    kafka: FakeKafka,
    event: Callable[..., ReceivedEvent],
    header: str | None,
    expected: list[bytes | None],
) -> None:
    headers = {} if header is None else {"Wanted-Regions": header}

    answer = await ready.post(RECORDS, content=handoff.encode_events([event(1), event(2)]), headers=headers)

    assert handoff.decode_outcomes(answer.content, "region-a", 2) == [Accepted("region-a")] * 2
    assert kafka.wanted == expected
    assert [value for _, value in kafka.written] == [event(n).to_record("region-a").encode() for n in (1, 2)]


async def test_a_client_inside_the_region_is_traced_as_well(ready: httpx.AsyncClient, kafka: FakeKafka) -> None:
    event = {"serviceName": "checkout", "level": "INFO", "message": "Hello", "correlationId": "trace-1"}

    await ready.post("/api/logs/batch", json=[event, event], headers={"traceparent": TRACEPARENT.decode()})
    await ready.post("/api/logs", json=event)

    assert kafka.traceparents == [TRACEPARENT, TRACEPARENT, None]


async def test_a_handoff_with_one_bad_line_sends_nothing(
    ready: httpx.AsyncClient, kafka: FakeKafka, event: Callable[..., ReceivedEvent]
) -> None:
    answer = await ready.post(RECORDS, content=handoff.encode_events([event(1)]) + b"\n{}")

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert kafka.written == []


async def test_the_handoff_is_not_in_the_public_contract(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert "/api/logs" in paths
    assert handoff.PATH not in paths


async def test_metrics_name_region_and_outcome(ready: httpx.AsyncClient) -> None:
    await ready.post("/api/logs", json=BODY)

    text = (await ready.get("/metrics")).text

    assert 'log_producer_send_total{outcome="acknowledged",region="region-a"} 1.0' in text
    assert 'log_producer_send_duration_seconds_count{region="region-a"} 1.0' in text
    assert 'log_producer_client_rebuilds_total{region="region-a"} 0.0' in text


async def test_shutdown_flushes_and_closes(kafka: FakeKafka, settings: ProducerSettings) -> None:
    async with LifespanManager(create_app(settings, kafka.connect)):
        await eventually(lambda: kafka.clients, "connected")

    assert [client.closed for client in kafka.clients] == [True]


def test_wrong_settings_are_clear_lines_and_exit_status_2() -> None:
    root = Path(__file__).parents[2]
    environment = {"PRODUCER_REGION": "Region A", "PRODUCER_PORT": "none"}

    done = subprocess.run(
        [sys.executable, "-m", "producer"], cwd=root, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.splitlines()[1].startswith("  PRODUCER_PORT: ")
    assert done.stderr.splitlines()[2].startswith("  PRODUCER_REGION: ")
    assert done.stdout == ""


@pytest.mark.parametrize("path", ["/api/logs/batch", RECORDS])
async def test_a_producer_refuses_more_bytes_than_it_may_hold(
    path: str, kafka: FakeKafka, settings: ProducerSettings, event: Callable[..., ReceivedEvent]
) -> None:
    text = "m" * (MAX_VALUE_BYTES // 2)
    one = event(1, message=text).encode() if path == RECORDS else json.dumps(BODY | {"message": text}).encode()
    body = b"\n".join([one] * 100)
    limits = {"max_body_bytes_held": 2 * len(body), "max_in_flight_bytes": 10**9, "send_timeout_ms": 60_000}
    kafka.acknowledges = False
    async with a_producer(settings.model_copy(update=limits), kafka) as client:
        await eventually(lambda: answers_ready(client), "the producer is ready")
        headers = {"content-type": "application/x-ndjson"}
        posts = [asyncio.create_task(client.post(path, content=body, headers=headers)) for _ in range(4)]
        await eventually(lambda: sum(post.done() for post in posts) == 2, "two are refused")
        held = await bytes_held(client)
        kafka.acknowledges = True
        kafka.release()
        answers = await asyncio.gather(*posts)
        left = await bytes_held(client)

    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 2
    assert all("holds as many bytes" in answer.text and answer.headers["retry-after"] == "1" for answer in refused)
    assert all(answer.is_success for answer in answers if answer not in refused)
    assert [held, left] == [2 * len(body), 0]


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/api/logs", "max_requests"), ("/api/logs/batch", "max_batch_requests"), (RECORDS, "max_handoffs")],
)
async def test_a_producer_refuses_more_than_it_may_hold(
    path: str, limit: str, kafka: FakeKafka, settings: ProducerSettings, event: Callable[..., ReceivedEvent]
) -> None:
    body = event(1).encode() if path == RECORDS else json.dumps(BODY if path == "/api/logs" else [BODY]).encode()
    limits = {limit: 2, "send_timeout_ms": 60_000}
    headers = {"content-type": "application/json"}
    kafka.acknowledges = False
    async with a_producer(settings.model_copy(update=limits), kafka) as client:
        await eventually(lambda: answers_ready(client), "the producer is ready")
        held = [asyncio.create_task(client.post(path, content=body, headers=headers)) for _ in range(2)]
        await eventually(lambda: len(kafka.clients[0].waiting) == 2, "two wait for Kafka")
        refused = await client.post(path, content=body, headers=headers)
        kafka.acknowledges = True
        kafka.release()
        taken = [*await asyncio.gather(*held), await client.post(path, content=body, headers=headers)]

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"] == "the producer handles as many requests as it may; retry after a pause"
    assert all(answer.is_success for answer in taken)


async def test_a_handoff_of_too_many_events_is_refused(
    kafka: FakeKafka, settings: ProducerSettings, event: Callable[..., ReceivedEvent]
) -> None:
    events = handoff.encode_events(event(n) for n in range(3))
    async with a_producer(settings.model_copy(update={"handoff_max_events": 3}), kafka) as client:
        await eventually(lambda: answers_ready(client), "the producer is ready")
        # Empty lines are no events, and would cost as much.
        refused = [await client.post(RECORDS, content=body) for body in (events + b"\n" + event(4).encode(), b"\n" * 3)]
        taken = await client.post(RECORDS, content=events)

    assert [answer.status_code for answer in refused] == [413, 413]
    assert "at most 3 events, this one has 4; lower GATEWAY_REQUEST_MAX_EVENTS" in refused[0].json()["detail"]
    assert taken.status_code == 200
    assert len(kafka.written) == 3


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_handoff_without_a_gateway_is_404_on_the_public_listener(
    method: str, ready: httpx.AsyncClient, kafka: FakeKafka, event: Callable[..., ReceivedEvent]
) -> None:
    answer = await ready.request(method, handoff.PATH, content=event(1).encode())

    assert answer.status_code == 404
    assert answer.headers["Internal-Port"] == "8181"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert kafka.written == []


async def test_clients_post_on_the_public_listener_alone(ready: httpx.AsyncClient, kafka: FakeKafka) -> None:
    assert (await ready.post(INTERNAL + "/api/logs", json=BODY)).status_code == 404
    assert (await ready.get(INTERNAL + "/docs")).status_code == 404
    assert kafka.written == []


@pytest.mark.parametrize("security", ["open", "on"])
async def test_what_a_producer_tells_of_itself_on_which_listener(
    security: str, kafka: FakeKafka, settings: ProducerSettings
) -> None:
    kafka.reachable = False
    async with a_producer(settings.model_copy(update={"security": security}), kafka) as client:
        await eventually(lambda: kafka.tries > 1, "tried to connect")
        outside, inside = [
            {path: await client.get(place + path) for path in ("/health", "/ready", "/metrics")}
            for place in ("", INTERNAL)
        ]

    assert {path: answer.status_code for path, answer in inside.items()} == {
        "/health": 200,
        "/ready": 503,
        "/metrics": 200,
    }
    assert inside["/ready"].json()["reasons"] == ["kafka: connection refused"]
    assert outside["/health"].status_code == 200
    assert outside["/ready"].status_code == 503
    if security == "open":
        assert outside["/ready"].content == inside["/ready"].content
        assert outside["/metrics"].status_code == 200
    else:
        assert outside["/ready"].json() == {"status": "not ready"}
        assert outside["/metrics"].status_code == 404


async def answers_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/ready")).is_success


async def bytes_held(client: httpx.AsyncClient) -> float:
    text = (await client.get("/metrics")).text
    return float(text.split('\nlog_producer_body_bytes_held{region="region-a"} ')[1].split("\n")[0])
