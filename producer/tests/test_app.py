"""The producer over HTTP."""

import asyncio
import json
import subprocess
import sys

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from asgi_lifespan import LifespanManager

from producer.app import create_app
from producer.settings import ProducerSettings
from producer.tests.fakes import MAX_VALUE_BYTES, FakeKafka
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_record
from shared.event.outcome import Accepted, Refused
from shared.wire import handoff
from testbed.patience import eventually

BODY = {"serviceName": "checkout", "level": "INFO", "message": "Hello", "correlationId": "trace-1"}


@pytest.fixture
async def client(kafka: FakeKafka, settings: ProducerSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with LifespanManager(create_app(settings, kafka.connect)) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://producer") as client:
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

    answer = await ready.post(handoff.PATH, content=handoff.encode_events(events))

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

    answer = await ready.post(handoff.PATH, content=handoff.join_encoded(lines))

    assert handoff.decode_outcomes(answer.content, "region-a", 2) == [Accepted("region-a")] * 2
    assert kafka.traceparents == [None, TRACEPARENT]
    # It is the record's header, and no part of its value.
    assert [value for _, value in kafka.written] == [e.to_record("region-a").encode() for e in (plain, traced)]


async def test_a_client_inside_the_region_is_traced_as_well(ready: httpx.AsyncClient, kafka: FakeKafka) -> None:
    event = {"serviceName": "checkout", "level": "INFO", "message": "Hello", "correlationId": "trace-1"}

    await ready.post("/api/logs/batch", json=[event, event], headers={"traceparent": TRACEPARENT.decode()})
    await ready.post("/api/logs", json=event)

    assert kafka.traceparents == [TRACEPARENT, TRACEPARENT, None]


async def test_a_handoff_with_one_bad_line_sends_nothing(
    ready: httpx.AsyncClient, kafka: FakeKafka, event: Callable[..., ReceivedEvent]
) -> None:
    answer = await ready.post(handoff.PATH, content=handoff.encode_events([event(1)]) + b"\n{}")

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert kafka.written == []


async def test_a_handoff_of_too_many_events_is_refused(ready: httpx.AsyncClient, kafka: FakeKafka) -> None:
    answer = await ready.post(handoff.PATH, content=b"{}\n" * (handoff.MAX_EVENTS + 1))

    assert answer.status_code == 400
    assert "room for" in answer.json()["detail"]
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


@pytest.mark.parametrize("path", ["/api/logs/batch", handoff.PATH])
async def test_a_producer_refuses_more_bytes_than_it_may_hold(
    path: str, kafka: FakeKafka, settings: ProducerSettings, event: Callable[..., ReceivedEvent]
) -> None:
    text = "m" * (MAX_VALUE_BYTES // 2)
    one = event(1, message=text).encode() if path == handoff.PATH else json.dumps(BODY | {"message": text}).encode()
    body = b"\n".join([one] * 100)
    limits = {"max_body_bytes_held": 2 * len(body), "max_in_flight_bytes": 10**9, "send_timeout_ms": 60_000}
    kafka.acknowledges = False
    async with LifespanManager(create_app(settings.model_copy(update=limits), kafka.connect)) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://producer") as client:
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


async def answers_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/ready")).is_success


async def bytes_held(client: httpx.AsyncClient) -> float:
    text = (await client.get("/metrics")).text
    return float(text.split('\nlog_producer_body_bytes_held{region="region-a"} ')[1].split("\n")[0])
