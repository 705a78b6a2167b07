"""The wired console: probes, search, errors that are sentences, limits."""

import asyncio

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from asgi_lifespan import LifespanManager

from console.app import create_app, create_internal_app
from console.settings import ConsoleSettings
from console.tests.fakes import FakeStore, a_row
from shared.event.times import epoch_us
from testbed.doors import Doors
from testbed.patience import eventually

NOW = datetime(2026, 11, 26, 12, 15, tzinfo=UTC)


@asynccontextmanager
async def console(store: FakeStore, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A console in front of these rows, as a client that is connected to it; the host `internal` is the internal listener's."""
    app = create_app(ConsoleSettings(**changes), store=store, wall_us=lambda: epoch_us(NOW))
    async with LifespanManager(Doors(app, create_internal_app(app))) as manager:
        transport = httpx.ASGITransport(manager.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as client:
            yield client


def some_rows(count: int) -> list[Any]:
    return [a_row(seq, NOW - timedelta(seconds=seq), service_name=f"s{seq % 3}") for seq in range(1, count + 1)]


async def test_a_search_finds_the_newest_first() -> None:
    async with console(FakeStore(some_rows(5))) as client:
        answer = await client.get("/api/logs", params={"limit": 3})
        rest = await client.get("/api/logs", params={"limit": 3, "cursor": answer.json()["next"]})

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert [item["seq"] for item in found["items"]] == [1, 2, 3]
    assert (found["complete"], found["prev"]) == (False, None)
    assert found["searchedTo"] == "2026-11-26T12:15:00.000000Z"
    assert found["items"][0] == {
        "eventId": "00000000-0000-0000-0000-000000000001", "timestamp": "2026-11-26T12:14:59.000000Z", "serviceName": "s1",
        "level": "INFO", "message": "line 1", "correlationId": "trace-1", "attributes": {"k": "v"}, "region": "region-a",
        "receivedAt": "2026-11-26T12:14:59.000000Z", "storedAt": "2026-11-26T12:14:59.000000Z", "storedBy": "region-a/consumer-a/1",
        "seq": 1, "late": False,
    }  # fmt: skip
    assert [item["seq"] for item in rest.json()["items"]] == [4, 5]
    assert rest.json()["complete"]
    assert rest.json()["next"] is None
    assert rest.json()["prev"] is not None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("servce=a", "'servce' is no parameter here; there are from, to, service"),
        ("limit=0", "limit must be a number from 1 to 1000, and is '0'"),
        ("limit=1&limit=2", "limit is there twice"),
        ("level=loud", "level='loud' must be one of TRACE"),
        ("level=INFO&levels=INFO", "cannot both be there"),
        ("from=now&to=-5m", "from must be before to; from='now', to='-5m'"),
        ("from=yesterday", "from='yesterday' must be RFC 3339 with a time zone"),
        ("order=up", "order must be one of asc, desc, and is 'up'"),
        ("cursor=c1.x", "cursor is not whole"),
        ("text=%00", "no event has such a character"),
        ("text=%ff", "is not UTF-8"),
        ("text=" + "x" * 5000, "'text' may have 4096 characters, and has 5000"),
        ("attr.n=1e999", "must be a finite number"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_sentence(query: str, said: str) -> None:
    async with console(FakeStore()) as client:
        answer = await client.get(f"/api/logs?{query}")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


async def test_without_postgresql_it_says_so_and_is_not_ready() -> None:
    store = FakeStore(away="PostgreSQL does not answer")
    async with console(store) as client:
        answer = await client.get("/api/logs")
        ready = await client.get("/ready")
        alive = await client.get("/health")
        store.away = None

        async def is_ready() -> bool:
            return (await client.get("/ready")).status_code == 200

        await eventually(is_ready, "PostgreSQL is seen again")

    assert (answer.status_code, answer.json()["detail"]) == (503, "PostgreSQL does not answer")
    assert answer.headers["retry-after"] == "1"
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["postgres: PostgreSQL does not answer"])
    assert alive.status_code == 200


async def test_one_caller_has_a_few_searches_at_once_and_others_have_their_own() -> None:
    store = FakeStore(some_rows(3), held=asyncio.Event())
    async with console(store, searches_a_caller=2) as client:
        first = [asyncio.create_task(client.get("/api/logs")) for _ in range(2)]
        await eventually(lambda: len(store.looked_at) == 2, "both are under way")
        refused = await client.get("/api/logs")
        assert store.held is not None
        store.held.set()
        answers = [await task for task in first]
        metrics = (await client.get("/metrics")).text

    assert [answer.status_code for answer in answers] == [200, 200]
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "your other searches are under way, 2 may be at once" in refused.json()["detail"]
    assert 'console_refusals_total{reason="caller"} 1.0' in metrics
    assert 'console_requests_total{route="/api/logs",status="429"} 1.0' in metrics
