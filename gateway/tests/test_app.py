"""The wired app: probes, metrics, documentation, admission."""

import asyncio
import re
import tomllib

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from gateway.app import VERSION
from gateway.tests.fleet import EVENT, gateway, metric, producers
from shared.event.levels import BY_NAME
from shared.event.model import LogEvent
from testbed.keys import Keys, bearer
from testbed.patience import eventually

REPOSITORY = Path(__file__).parents[2]


async def test_it_knows_its_regions_before_the_first_request() -> None:
    regions = producers()
    regions["region-a"].die()
    async with gateway(regions) as client:
        answer = await client.post("/api/logs", json=EVENT)

        assert answer.json()["region"] == "region-b"
        assert regions["region-a"].requests == []


async def test_it_is_ready_as_long_as_one_region_can_acknowledge() -> None:
    regions = producers()
    async with gateway(regions, health_interval_ms=5, health_timeout_ms=50) as client:
        well = await client.get("/ready")
        regions["region-a"].lose_kafka()
        await eventually(lambda: has_status(client, "degraded", count=1), "region-a is found without Kafka")
        degraded = await client.get("/ready")
        regions["region-b"].die()
        await eventually(lambda: has_status(client, "reasons", count=3), "region-b is found dead")
        down = await client.get("/ready")
        alive = await client.get("/health")
        regions["region-b"].recover()
        await eventually(lambda: has_status(client, "reasons", count=0), "region-b is found well again")

    assert (well.status_code, well.json()["regions"]) == (200, {"region-a": "closed", "region-b": "closed"})
    assert degraded.status_code == 200
    assert degraded.json()["degraded"] == ["region-a: producer answered 503: "]
    assert down.status_code == 503
    assert down.json()["reasons"] == [
        "no region can acknowledge events",
        "region-a: producer answered 503: ",
        "region-b: no connection: refused",
    ]
    assert alive.status_code == 200


async def has_status(client: httpx.AsyncClient, field: str, *, count: int) -> bool:
    return len((await client.get("/ready")).json()[field]) == count


async def test_a_change_of_state_is_one_log_line() -> None:
    regions = producers()
    with structlog.testing.capture_logs() as lines:
        async with gateway(regions, health_interval_ms=5, health_timeout_ms=50) as client:
            regions["region-a"].die()
            await eventually(lambda: has_status(client, "degraded", count=1), "region-a is found dead")
            await asyncio.gather(*(client.post("/api/logs", json=EVENT) for _ in range(20)))
            regions["region-a"].recover()
            await eventually(lambda: has_status(client, "degraded", count=0), "region-a is found well")

    changes = [(line["region"], line["before"], line["state"]) for line in lines]
    assert sorted(changes[:2]) == [("region-a", None, "closed"), ("region-b", None, "closed")]
    assert changes[2:] == [("region-a", "closed", "open"), ("region-a", "open", "closed")]


async def test_requests_are_counted_by_status_and_timed() -> None:
    async with gateway(producers()) as client:
        await client.post("/api/logs", json=EVENT)
        await client.post("/api/logs", json={})
        await client.post("/api/logs/batch", json=[EVENT, {}])
        await client.put("/api/logs")
        await client.get("/ready")
        await client.get("/nowhere")

        counted = {
            status: await metric(client, f'gateway_requests_total{{status="{status}"}}')
            for status in (200, 202, 207, 400, 404, 405)
        }
        assert counted == {200: 0, 202: 1, 207: 1, 400: 1, 404: 0, 405: 1}
        assert await metric(client, "gateway_request_duration_seconds_count") == 4
        assert await metric(client, 'gateway_events_total{outcome="accepted",region="region-a"}') == 2


@pytest.mark.parametrize("path", ["/api/logs", "/api/logs/batch"])
async def test_beyond_its_limit_of_requests_it_pushes_back(path: str) -> None:
    regions = producers()
    gate = regions["region-a"].hold()
    async with gateway(regions, max_requests=2, max_batch_requests=2) as client:
        posts = [asyncio.create_task(client.post(path, json=[EVENT] if "batch" in path else EVENT)) for _ in range(5)]
        await eventually(lambda: are_done(posts, 3), "three refusals")
        gate.set()
        answers = await asyncio.gather(*posts)
        later = await client.post("/api/logs", json=EVENT)

    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 3
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in refused)
    assert later.status_code == 202


@pytest.mark.parametrize("path", ["/api/logs", "/api/logs/batch"])
async def test_who_only_sends_its_body_takes_no_place_from_others(path: str) -> None:
    async def sleeping() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    headers = {"content-type": "application/json"}
    async with gateway(producers(), max_requests=2, max_batch_requests=2) as client:
        asleep = [asyncio.create_task(client.post(path, content=sleeping(), headers=headers)) for _ in range(5)]
        await asyncio.sleep(1)
        answer = await client.post(path, json=[EVENT] if "batch" in path else EVENT)
        for task in asleep:
            task.cancel()

    assert answer.status_code == 202


async def test_bodies_are_held_within_their_limit_until_they_are_answered() -> None:
    regions = producers()
    gate = regions["region-a"].hold()
    limit = 16 * 1024 * 1024
    batch = [EVENT | {"message": "m" * 200_000}] * 38  # 7.6 MB
    async with gateway(regions, max_body_bytes_held=limit, queue_max_bytes=4 * limit) as client:
        posts = [asyncio.create_task(client.post("/api/logs/batch", json=batch)) for _ in range(5)]
        await eventually(lambda: are_done(posts, 3), "three refusals")
        held = await metric(client, "gateway_body_bytes_held")
        gate.set()
        answers = await asyncio.gather(*posts)
        left = await metric(client, "gateway_body_bytes_held")

    refused = [answer for answer in answers if answer.status_code == 503]
    assert [len(refused), len(answers)] == [3, 5]
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert 15_000_000 < held <= limit
    assert left == 0


async def are_done(tasks: list[asyncio.Task[Any]], number: int) -> bool:
    return sum(task.done() for task in tasks) == number


async def test_the_documentation_is_complete() -> None:
    async with gateway(producers()) as client:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")

    assert page.status_code == 200
    for path in document["paths"]:
        assert f"</b>{path}</h2>" in page.text
    for name in BY_NAME:
        assert name in page.text.lower() or not name.isalpha()
    assert document["info"]["title"] == "Multi-region log gateway"
    assert "acks=all" in document["info"]["description"]
    assert set(document["paths"]) == {
        "/api/logs",
        "/api/logs/batch",
        "/api/logs/histogram",
        "/api/logs/tail",
        "/api/logs/values/{field}",
        "/api/logs/{eventId}",
        "/api/logs/{eventId}/context",
        "/api/logs/{eventId}/trace",
        "/api/replication",
        "/health",
        "/ready",
        "/metrics",
    }
    for path, codes in (
        ("/api/logs", {"202", "400", "408", "413", "415", "503"}),
        ("/api/logs/batch", {"200", "202", "207", "400", "408", "413", "415", "503"}),
    ):
        operation = document["paths"][path]["post"]
        assert set(operation["responses"]) == codes
        assert "X-Region" in {parameter["name"] for parameter in operation["parameters"]}
        for code in codes - {"200", "202", "207"}:
            assert "application/problem+json" in operation["responses"][code]["content"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        event = schema["items"] if schema.get("type") == "array" else schema
        assert set(event["properties"]) == {str(field.alias) for field in LogEvent.model_fields.values()}
        assert event["required"] == ["serviceName", "level", "message", "correlationId"]
        assert event["additionalProperties"] is False
    assert "application/x-ndjson" in document["paths"]["/api/logs/batch"]["post"]["requestBody"]["content"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_documentation_opens_without_a_network(path: str) -> None:
    async with gateway(producers()) as client:
        page = await client.get(path)

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r"(?:https?:)?//\w[^\s\"']*", page.text) == []
    assert re.findall(r"<(?:script|link|img|iframe|object|embed)", page.text) == []
    assert re.findall(r"@import|url\(", page.text) == []
    for target in re.findall(r'href="#([^"]*)"', page.text):
        assert f'id="{target}"' in page.text


async def test_every_reference_of_the_documentation_resolves() -> None:
    async with gateway(producers()) as client:
        document = (await client.get("/openapi.json")).json()

    references = list(_references(document))
    assert references
    for reference in references:
        target: Any = document
        assert reference.startswith("#/")
        for part in reference[2:].split("/"):
            target = target[part]
        assert target["type"] == "object"


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


async def test_the_documented_example_is_accepted() -> None:
    async with gateway(producers()) as client:
        document = (await client.get("/openapi.json")).json()
        schema = document["paths"]["/api/logs"]["post"]["requestBody"]["content"]["application/json"]["schema"]

        answers = [await client.post("/api/logs", json=example) for example in schema["examples"]]

    assert [answer.status_code for answer in answers] == [202]
    assert answers[0].json()["eventId"] == schema["examples"][0]["eventId"]


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert project["version"] == VERSION


@pytest.mark.parametrize("security", ["open", "on"])
async def test_what_a_gateway_tells_of_itself_on_which_listener(security: str, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    headers = bearer(keys.make())
    regions = producers()
    for region in regions.values():
        region.lose_kafka()
    async with gateway(regions, **keys.settings | {"security": security}) as client:
        client.headers.update(headers)
        outside, inside = [
            {path: await client.get(place + path) for path in ("/health", "/ready", "/metrics")}
            for place in ("", "http://internal")
        ]
        posted = await client.post("http://internal/api/logs", json=EVENT)
        described = (await client.get("/openapi.json")).json()["paths"]

    statuses = {path: answer.status_code for path, answer in inside.items()}
    assert statuses == {"/health": 200, "/ready": 503, "/metrics": 200}
    assert inside["/ready"].json()["reasons"]
    assert outside["/health"].status_code == 200
    assert outside["/ready"].status_code == 503
    assert (set(outside["/ready"].json()) == {"status"}) == (security == "on")
    assert outside["/metrics"].status_code == (404 if security == "on" else 200)
    assert ("/metrics" in described) == (security == "open")
    assert posted.status_code == 404
