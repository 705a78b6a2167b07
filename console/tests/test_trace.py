"""`GET /api/logs/{eventId}/trace` over HTTP: rows in memory, and consumers that answer as a test says."""

import asyncio
import json

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest

from asgi_lifespan import LifespanManager

from console.app import create_app, create_internal_app
from console.settings import ConsoleSettings
from console.tests.fakes import FakeStore, a_row
from console.tests.test_app import NOW
from shared.event.times import epoch_us, format_time
from shared.wire.finding import PATH, Copy, Found, Question
from testbed.doors import Doors
from testbed.patience import eventually

ROW = a_row(7, NOW)
TRACE = f"/api/logs/{ROW.event_id}/trace"
AT = {"timestamp": format_time(NOW)}
CONSUMERS = "region-a=http://a.test:8182,region-b=http://b.test:8184"


def found(region: str, topic: str = "logs") -> Found:
    copy = Copy(topic=topic, partition=1, offset=5, at_ms=epoch_us(NOW) // 1000, received_us=epoch_us(NOW))
    return Found(region=region, copies=(copy,))


class Consumers(httpx.AsyncBaseTransport):
    """
    The regions' consumers.

    Attributes:
        answers: What each says, by host and port; a function may fail, or take its time.
        questions: That were asked.
        asked: Where.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Any]] = {
            "a.test:8182": lambda: found("region-a"),
            "b.test:8184": lambda: found("region-b", "region-a.logs"),
        }
        self.questions: list[Question] = []
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", PATH)
        self.questions.append(Question.decode(await request.aread()))
        self.asked.append(address := request.url.netloc.decode())
        said = self.answers[address]()
        if asyncio.iscoroutine(said):
            said = await said
        return said if isinstance(said, httpx.Response) else httpx.Response(200, content=said.encode())


@asynccontextmanager
async def console(store: FakeStore, consumers: Consumers, names: str = CONSUMERS) -> AsyncIterator[httpx.AsyncClient]:
    settings = ConsoleSettings(consumers=names)
    app = create_app(settings, store=store, wall_us=lambda: epoch_us(NOW), transport=consumers)
    async with LifespanManager(Doors(app, create_internal_app(app))) as manager:
        transport = httpx.ASGITransport(manager.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as client:
            yield client


def silence() -> Any:
    return asyncio.Event().wait()


def refuse() -> Any:
    raise httpx.ConnectError("refused")


async def test_the_life_of_an_event_is_told_from_its_row_and_both_regions() -> None:
    consumers = Consumers()
    async with console(FakeStore([ROW]), consumers) as client:
        answer = await client.get(TRACE, params=AT)
        without_time = await client.get(TRACE)

    life = answer.json()
    assert answer.status_code == without_time.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert {name: life[name] for name in ("eventId", "timestamp", "correlationId", "kinds", "exposed", "unseen")} == {
        "eventId": str(ROW.event_id), "timestamp": format_time(NOW), "correlationId": "trace-1", "kinds": ["stored"],
        "exposed": {"region-a": False, "region-b": False}, "unseen": [],
    }  # fmt: skip
    assert life["verdict"] == "stored once"
    assert [step["what"] for step in life["steps"]] == ["happened", "received", "kafka", "kafka", "stored", "waiting"]
    assert life["steps"][3]["copyOf"] == "region-a logs/1@5"
    question = consumers.questions[0]
    assert (question.event_id, question.time_us) == (ROW.event_id, epoch_us(NOW))
    assert (question.correlation_id, question.since_ms, question.stored) == (
        "trace-1", epoch_us(NOW) // 1000 - 5000, True
    )  # fmt: skip
    assert without_time.json() | {"tookMs": 0} == life | {"tookMs": 0}


async def test_an_event_without_a_row_is_looked_for_in_kafka_alone() -> None:
    consumers = Consumers()
    consumers.answers = {
        "a.test:8182": lambda: Found(region="region-a"),
        "b.test:8184": lambda: Found(region="region-b"),
    }
    async with console(FakeStore(), consumers) as client:
        answer = await client.get(TRACE, params=AT | {"correlationId": "trace-9"})
        without_time = await client.get(TRACE)

    assert answer.json()["kinds"] == ["absent"]
    assert answer.json()["correlationId"] == "trace-9"
    question = consumers.questions[0]
    assert (question.correlation_id, question.since_ms, question.stored) == (
        "trace-9", epoch_us(NOW) // 1000 - 60_000, False
    )  # fmt: skip
    assert without_time.status_code == 400
    assert "?timestamp=" in without_time.json()["detail"]


async def test_an_event_that_is_stored_while_the_regions_are_asked_is_stored() -> None:
    """Else its record would be read, with neither a row nor a dead letter."""
    store, consumers = FakeStore(), Consumers()

    def store_it() -> Found:
        store.rows.append(ROW)
        return found("region-a")

    consumers.answers["a.test:8182"] = store_it
    async with console(store, consumers) as client:
        answer = await client.get(TRACE, params=AT)

    assert answer.json()["kinds"] == ["stored"]
    assert answer.json()["correlationId"] == "trace-1"


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (refuse, "its consumer cannot be reached: refused"),
        (silence, "its consumer does not answer in time"),
        (lambda: httpx.Response(503, json={"detail": "Kafka did not answer in time"}), "its consumer cannot say: Kafka did not answer in time"),
        (lambda: httpx.Response(503, text="<html>"), "its consumer cannot say: status 503"),
        (lambda: httpx.Response(404, json={"detail": "Not Found"}), "its consumer cannot say: it is of an earlier release"),
        (lambda: httpx.Response(200, text="[]"), "its consumer's answer cannot be read"),
        (lambda: found("region-a"), "the consumer that was asked is one of region-a"),
    ],
)  # fmt: skip
async def test_a_region_that_does_not_say_is_unseen_with_the_reason(says: Callable[[], Any], why: str) -> None:
    consumers = Consumers()
    consumers.answers["b.test:8184"] = says
    async with console(FakeStore([ROW]), consumers) as client:
        answer = await client.get(TRACE, params=AT)

    life = answer.json()
    assert life["verdict"] == "stored once; region-b was not seen, its copies are unknown"
    assert [part["region"] for part in life["unseen"]] == ["region-b"]
    assert life["unseen"][0]["why"].startswith(why)
    assert life["exposed"] == {"region-a": None, "region-b": None}


async def test_a_consumers_public_address_leads_to_its_internal_one() -> None:
    consumers = Consumers()
    consumers.answers["b.test:8084"] = lambda: httpx.Response(404, headers={"Internal-Port": "8184"})
    async with console(FakeStore([ROW]), consumers, CONSUMERS.replace("8184", "8084")) as client:
        answer = await client.get(TRACE, params=AT)

    assert answer.json()["unseen"] == []


async def test_of_several_consumers_of_a_region_one_that_answers_suffices() -> None:
    consumers = Consumers()
    consumers.answers |= {"dead.test:8182": refuse, "silent.test:8182": silence}
    names = "region-a=http://dead.test:8182,region-a=http://silent.test:8182," + CONSUMERS
    async with console(FakeStore([ROW]), consumers, names) as client:
        answer = await client.get(TRACE, params=AT)

    assert answer.json()["unseen"] == []


async def test_what_cannot_be_asked_is_refused_with_a_sentence() -> None:
    async with console(FakeStore([ROW]), Consumers()) as client:
        wrong = [
            await client.get("/api/logs/nothing/trace"),
            await client.get(TRACE, params={"time": "now"}),
            await client.get(TRACE, params={"timestamp": "yesterday"}),
            await client.get(TRACE, params=AT | {"correlationId": "x" * 257}),
        ]
    async with console(FakeStore([ROW]), Consumers(), names="") as client:
        alone = await client.get(TRACE, params=AT)

    assert [answer.status_code for answer in wrong] == [400] * 4
    assert all(answer.json()["detail"] for answer in wrong)
    assert (alone.status_code, "CONSOLE_CONSUMERS" in alone.json()["detail"]) == (503, True)


async def test_several_events_of_one_id_are_told_apart_by_their_times() -> None:
    rows = [ROW, a_row(8, NOW.replace(hour=13), event_id=ROW.event_id)]
    async with console(FakeStore(rows), Consumers()) as client:
        answer = await client.get(TRACE)

    assert answer.status_code == 300
    assert len(answer.json()["items"]) == 2


async def test_only_so_many_traces_are_under_way() -> None:
    consumers = Consumers()
    go = asyncio.Event()

    async def wait() -> Found:
        await go.wait()
        return found("region-a")

    consumers.answers["a.test:8182"] = wait
    async with console(FakeStore([ROW]), consumers) as client:
        traces = [asyncio.create_task(client.get(TRACE, params=AT)) for _ in range(2)]
        await eventually(lambda: len(consumers.asked) == 4, "two are under way")
        refused = await client.get(TRACE, params=AT)
        go.set()
        answers = await asyncio.gather(*traces)

    assert (refused.status_code, "Retry-After" in refused.headers) == (429, True)
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_postgresql_away_is_told() -> None:
    async with console(FakeStore(away="PostgreSQL is away"), Consumers()) as client:
        answer = await client.get(TRACE, params=AT)

    assert (answer.status_code, answer.json()["detail"]) == (503, "PostgreSQL is away")


def test_a_question_is_small_whatever_the_key() -> None:
    question = Question(event_id=UUID(int=1), time_us=1, correlation_id="\U0001f600" * 256, since_ms=1)

    assert len(question.encode()) < 4096
    assert len(json.dumps(json.loads(question.encode()))) < 4096
