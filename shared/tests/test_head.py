"""HEAD is GET without a body, on the wire as well."""

import httpx
import pytest

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter

from shared.process import problems
from shared.process.head import HeadAsGet
from shared.process.probes import Readiness, probe_router


@pytest.fixture(params=[(), ("kafka is away",)])
def app(request: pytest.FixtureRequest) -> FastAPI:
    app = FastAPI()
    problems.install(app)
    registry = CollectorRegistry()
    Counter("asked", "Kept.", registry=registry)
    app.include_router(probe_router(lambda _: Readiness(reasons=request.param), lambda _: registry))
    app.add_middleware(HeadAsGet)

    @app.post("/api/logs")
    async def _post() -> None: ...

    return app


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/docs", "/openapi.json", "/api/logs", "/nowhere"])
async def test_head_is_get_without_its_body(app: FastAPI, path: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://logs") as client:
        got, head = await client.get(path), await client.head(path)

    assert head.status_code == got.status_code
    assert head.headers == got.headers
    assert head.content == b""
    assert got.content
