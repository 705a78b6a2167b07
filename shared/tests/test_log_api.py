"""The public HTTP contract, with a sink that answers what the test wants."""

import json

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog

from fastapi import FastAPI

from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.outcome import Accepted, Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.asgi import Ingest, OpenGate
from shared.ingest.logs_api import MAX_BATCH_BYTES, PROTOCOLS
from shared.process import problems
from shared.wire.problem import UnavailableError

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
EVENT = {"serviceName": "checkout", "level": "INFO", "message": "Hello", "correlationId": "trace-1"}
AGAIN = Refused(503, "region-a is away", retryable=True)
NEVER = Refused(413, "too large for Kafka", retryable=False)


ANSWERS: Mapping[str, Outcome] = {"again": AGAIN, "never": NEVER, "elsewhere": Accepted("region-b", failover=True)}


def _by_message(event: ReceivedEvent) -> Outcome:
    return ANSWERS.get(event.message, Accepted("region-a"))


class FakeSink:
    """Answers by the event's message; remembers what it was given."""

    def __init__(self) -> None:
        self.regions: Sequence[str] = ("region-a", "region-b")
        self.taken: list[ReceivedEvent] = []
        self.asked: list[str | None] = []
        self.traced: list[bytes | None] = []
        self.answer: Callable[[ReceivedEvent], Outcome] = _by_message

    async def accept(
        self,
        events: Sequence[SealedEvent],
        region: str | None,
        traceparent: bytes | None = None,
        *,
        hold_s: float | None = None,
    ) -> Sequence[Outcome]:
        opened = [decode_received(event.encoded) for event in events]
        self.taken += opened
        self.traced.append(traceparent)
        self.asked.append(region)
        return [self.answer(event) for event in opened]


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
async def client(sink: FakeSink) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(Ingest, protocols=PROTOCOLS, sink_of=lambda _: sink, gate=OpenGate(), now=lambda: NOW)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://logs") as opened:
        yield opened


def events(*messages: str) -> list[dict[str, Any]]:
    return [EVENT | {"message": message} for message in messages]


async def test_an_accepted_event_is_answered_with_its_identity(client: httpx.AsyncClient, sink: FakeSink) -> None:
    answer = await client.post("/api/logs", json=EVENT, headers={"X-Region": "region-a"})

    [taken] = sink.taken
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "eventId": str(taken.event_id),
        "timestamp": "2026-11-23T12:00:00.123456Z",
        "region": "region-a",
        "failover": False,
    }
    assert (answer.headers["x-served-region"], answer.headers["x-failover"]) == ("region-a", "false")
    assert taken.event_id.version == 7
    assert sink.asked == ["region-a"]


async def test_without_the_header_no_region_is_asked_for(client: httpx.AsyncClient, sink: FakeSink) -> None:
    await client.post("/api/logs", json=EVENT)

    assert sink.asked == [None]


async def test_failover_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/logs", json=EVENT | {"message": "elsewhere"}, headers={"X-Region": "region-a"})

    assert answer.json()["failover"] is True
    assert answer.json()["region"] == "region-b"
    assert (answer.headers["x-served-region"], answer.headers["x-failover"]) == ("region-b", "true")


async def test_what_may_help_later_is_503_with_retry_after_and_what_a_retry_needs(
    client: httpx.AsyncClient, sink: FakeSink
) -> None:
    answer = await client.post("/api/logs", json=EVENT | {"message": "again"})

    [taken] = sink.taken
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "region-a is away",
        "eventId": str(taken.event_id),
        "timestamp": "2026-11-23T12:00:00.123456Z",
    }


async def test_a_retry_with_the_identity_that_a_503_told_is_the_same_event(
    client: httpx.AsyncClient, sink: FakeSink
) -> None:
    event = EVENT | {"message": "again"}
    told = (await client.post("/api/logs", json=event)).json()
    sink.answer = lambda _: Accepted("region-b")

    answer = await client.post("/api/logs", json=event | {name: told[name] for name in ("eventId", "timestamp")})

    first, second = sink.taken
    assert answer.status_code == 202
    assert (first.event_id, first.timestamp) == (second.event_id, second.timestamp)
    assert answer.json()["eventId"] == told["eventId"]


def _fail(_: ReceivedEvent) -> Outcome:
    raise RuntimeError("a bug")


def _run_out_of_room(_: ReceivedEvent) -> Outcome:
    raise UnavailableError("no room")


@pytest.mark.parametrize(("broken", "status"), [(_fail, 500), (_run_out_of_room, 503)])
async def test_whatever_fails_after_an_event_has_its_identity_tells_it(
    client: httpx.AsyncClient, sink: FakeSink, broken: Callable[[ReceivedEvent], Outcome], status: int
) -> None:
    sink.answer = broken

    one = await client.post("/api/logs", json=EVENT)
    many = await client.post("/api/logs/batch", json=[EVENT, {}, EVENT])

    told = [one.json(), *many.json()["items"]]
    assert (one.status_code, many.status_code) == (status, status)
    assert [item["eventId"] for item in told] == [str(event.event_id) for event in sink.taken]
    assert {item["timestamp"] for item in told} == {"2026-11-23T12:00:00.123456Z"}


async def test_a_refusal_for_good_keeps_its_status(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/logs", json=EVENT | {"message": "never"})

    assert answer.status_code == 413
    assert answer.json()["detail"] == "too large for Kafka"
    assert str(UUID(answer.json()["eventId"])) == answer.json()["eventId"]
    assert "retry-after" not in answer.headers


async def test_every_wrong_field_is_named(client: httpx.AsyncClient, sink: FakeSink) -> None:
    answer = await client.post("/api/logs", json={"level": "LOUD", "message": 1, "correlationId": "", "x": 1})

    assert answer.status_code == 400
    assert {error["field"] for error in answer.json()["errors"]} == {
        "serviceName",
        "level",
        "message",
        "correlationId",
        "x",
    }
    assert sink.taken == []


async def test_a_fault_of_the_service_says_so_without_its_inside(client: httpx.AsyncClient, sink: FakeSink) -> None:
    def broken(_: ReceivedEvent) -> Outcome:
        raise RuntimeError("secret")

    sink.answer = broken

    answer = await client.post("/api/logs", json=EVENT)

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text


async def test_a_batch_has_one_item_an_event_in_order(client: httpx.AsyncClient, sink: FakeSink) -> None:
    batch = [*events("one", "never"), {"serviceName": "half"}, *events("again", "elsewhere")]

    answer = await client.post("/api/logs/batch", json=batch)
    result = answer.json()

    assert answer.status_code == 207
    assert (result["accepted"], result["rejected"]) == (2, 3)
    assert [item["index"] for item in result["items"]] == [0, 1, 2, 3, 4]
    assert [item["status"] for item in result["items"]] == [202, 413, 400, 503, 202]
    assert [item.get("retryable") for item in result["items"]] == [None, False, False, True, None]
    assert [item.get("region") for item in result["items"]] == ["region-a", None, None, None, "region-b"]
    assert [event.message for event in sink.taken] == ["one", "never", "again", "elsewhere"]
    assert result["items"][3]["eventId"] == str(sink.taken[2].event_id)
    assert "level: is required" in result["items"][2]["detail"]
    assert answer.headers["x-failover"] == "true"


async def test_a_batch_accepted_as_a_whole_is_202(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/logs/batch", json=events("one", "two"))

    assert answer.status_code == 202
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (2, 0)
    assert answer.headers["x-served-region"] == "region-a"


async def test_a_batch_without_a_valid_event_is_400_and_goes_nowhere(client: httpx.AsyncClient, sink: FakeSink) -> None:
    answer = await client.post("/api/logs/batch", json=[{}, 1, None])

    assert answer.status_code == 400
    assert answer.json()["rejected"] == 3
    assert [item["status"] for item in answer.json()["items"]] == [400, 400, 400]
    assert sink.asked == []


@pytest.mark.parametrize("messages", [["again", "again"], ["again", "never"]])
async def test_a_batch_of_which_nothing_is_durable_yet_is_503(client: httpx.AsyncClient, messages: list[str]) -> None:
    """Not 207: a client that looks at the class of the status only would drop the batch."""
    answer = await client.post("/api/logs/batch", json=[*events(*messages), {}])

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["accepted"] == 0
    assert len(answer.json()["items"]) == 3


@pytest.mark.parametrize(
    ("messages", "asked", "status"),
    [
        (["one", "two"], "200", 202),
        (["one", "never"], "200", 200),
        (["one", "never"], "207", 207),
        (["one", "never", "again"], "200", 503),
        (["one", "never", "again"], "207", 207),
        (["never", "again"], "200", 503),
    ],
)
async def test_a_shipper_that_knows_no_207_can_ask_for_200(
    client: httpx.AsyncClient, sink: FakeSink, messages: list[str], asked: str, status: int
) -> None:
    """But never for one that makes it forget what a retry could save."""
    answer = await client.post(f"/api/logs/batch?partial={asked}", json=events(*messages))

    body = answer.json()
    assert answer.status_code == status
    assert [item["status"] for item in body["items"]] == [{"never": 413, "again": 503}.get(m, 202) for m in messages]
    assert [item["eventId"] for item in body["items"]] == [str(event.event_id) for event in sink.taken]
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize("asked", ["partial=202", "partial=", "partial=yes", "partial=200&partial=207"])
async def test_another_status_for_a_part_cannot_be_asked_for(
    client: httpx.AsyncClient, sink: FakeSink, asked: str
) -> None:
    answer = await client.post(f"/api/logs/batch?{asked}", json=events("one"))

    assert answer.status_code == 400
    assert "partial must be 200 or 207" in answer.json()["detail"]
    assert sink.taken == []


@pytest.mark.parametrize("kind", ["application/json", "text/json", "Application/JSON; charset=UTF8"])
@pytest.mark.parametrize("path", ["/api/logs", "/api/logs/batch"])
async def test_json_is_json_whatever_it_is_called(client: httpx.AsyncClient, path: str, kind: str) -> None:
    body = json.dumps(EVENT if path == "/api/logs" else [EVENT])

    assert (await client.post(path, content=body, headers={"Content-Type": kind})).status_code == 202


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "application/json-lines",
        "application/x-json-stream",
        "application/stream+json",
        "text/x-ndjson",
        "Application/X-NDJSON;charset=utf_8",
    ],
)
async def test_lines_are_lines_whatever_they_are_called(client: httpx.AsyncClient, kind: str) -> None:
    body = "\ufeff" + json.dumps(EVENT) + "\r\n\r\n" + json.dumps(EVENT)

    answer = await client.post("/api/logs/batch", content=body.encode(), headers={"Content-Type": kind})

    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)


async def test_a_batch_may_be_lines(client: httpx.AsyncClient, sink: FakeSink) -> None:
    lines = "\n".join(json.dumps(event) for event in events("one", "two")) + "\n"

    answer = await client.post("/api/logs/batch", content=lines, headers={"Content-Type": "application/x-ndjson"})

    assert answer.status_code == 202
    assert [event.message for event in sink.taken] == ["one", "two"]


async def test_ids_given_to_a_batch_are_all_different_and_ascend(client: httpx.AsyncClient, sink: FakeSink) -> None:
    await client.post("/api/logs/batch", json=events(*["x"] * 100))

    ids = [event.event_id for event in sink.taken]
    assert ids == sorted(set(ids))


async def test_unknown_regions_are_answered_with_the_known_ones(client: httpx.AsyncClient, sink: FakeSink) -> None:
    answer = await client.post("/api/logs", json=EVENT, headers={"X-Region": "http://evil"})

    assert answer.status_code == 400
    assert answer.json()["regions"] == ["region-a", "region-b"]
    assert "evil" not in answer.text
    assert sink.taken == []


async def test_the_largest_batch_passes_and_one_byte_more_does_not(client: httpx.AsyncClient) -> None:
    batch = json.dumps(events("one")).encode()
    padding = b" " * (MAX_BATCH_BYTES - len(batch))
    headers = {"Content-Type": "application/json"}

    assert (await client.post("/api/logs/batch", content=batch + padding, headers=headers)).status_code == 202
    assert (await client.post("/api/logs/batch", content=batch + padding + b" ", headers=headers)).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/logs", 405), ("PUT", "/api/logs/batch", 405), ("POST", "/nope", 404)]
)
async def test_the_frameworks_own_errors_are_problems_too(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("header", "passed_on"),
    [({"traceparent": TRACEPARENT}, TRACEPARENT.encode()), ({"traceparent": "x"}, None), ({}, None)],
)
@pytest.mark.parametrize("path", ["/api/logs", "/api/logs/batch"])
async def test_a_traceparent_goes_with_the_events(
    client: httpx.AsyncClient, sink: FakeSink, path: str, header: dict[str, str], passed_on: bytes | None
) -> None:
    answer = await client.post(path, json=EVENT if path == "/api/logs" else [EVENT, EVENT], headers=header)

    assert answer.status_code == 202
    assert sink.traced == [passed_on]


@pytest.mark.parametrize("path", ["/api/logs", "/api/logs/batch"])
async def test_an_event_that_is_refused_for_good_is_logged_so_that_it_can_be_found(
    client: httpx.AsyncClient, path: str
) -> None:
    event = EVENT | {"message": "never"}
    with structlog.testing.capture_logs() as lines:
        answer = await client.post(
            path, json=event if path == "/api/logs" else [EVENT, event], headers={"traceparent": TRACEPARENT}
        )

    assert answer.status_code in (413, 207)
    [line] = lines
    assert str(UUID(line["eventId"])) == line.pop("eventId")
    assert line == {
        "event": "event refused",
        "log_level": "warning",
        "correlationId": "trace-1",
        "status": 413,
        "detail": "too large for Kafka",
        "traceparent": TRACEPARENT,
    }


async def test_an_event_that_may_be_retried_is_no_log_line(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        await client.post("/api/logs", json=EVENT | {"message": "again"})

    assert lines == []
