"""`GET /api/replication/history` in front of a Prometheus from memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from console.past import QUERIES
from console.past_api import past_router
from shared.event.times import epoch_us
from shared.process import problems

NOW = datetime(2026, 11, 26, 14, 15, tzinfo=UTC)


@asynccontextmanager
async def console(prometheus: Callable[[httpx.Request], httpx.Response]) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.include_router(past_router("http://prometheus", lambda: epoch_us(NOW), httpx.MockTransport(prometheus)))
    async with (
        LifespanManager(app) as manager,
        httpx.AsyncClient(transport=httpx.ASGITransport(manager.app), base_url="http://console.test") as client,
    ):
        yield client


async def test_a_reader_chooses_the_span_and_nothing_else() -> None:
    asked: list[dict[str, str]] = []

    def prometheus(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        return httpx.Response(200, json={"status": "success", "data": {"result": []}})

    async with console(prometheus) as client:
        answer = await client.get("/api/replication/history?from=-1h")
        assert answer.status_code == 200
        assert answer.json()["from"] == "2026-11-26T13:15:00.000000Z"
        assert (await client.get("/api/replication/history?query=up")).status_code == 400
        assert (await client.get("/api/replication/history?from=now&to=-1h")).status_code == 400
    assert sorted(one["query"] for one in asked) == sorted(QUERIES)
    assert {one["step"] for one in asked} == {"13"}


def away(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused")


@pytest.mark.parametrize(
    "prometheus",
    [away, lambda _: httpx.Response(502, text="<html>"), lambda _: httpx.Response(400, json={"status": "error"})],
)
async def test_without_prometheus_the_answer_is_503_with_a_sentence(prometheus: Any) -> None:
    async with console(prometheus) as client:
        answer = await client.get("/api/replication/history")
    assert answer.status_code == 503
    assert "Prometheus at http://prometheus does not answer" in answer.json()["detail"]
