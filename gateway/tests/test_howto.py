"""The page on how to add a protocol: the test follows its steps, and they must be enough."""

import asyncio
import re

from pathlib import Path
from typing import Any

import pytest

from gateway import admission
from gateway.protocols.table import ROUTES, Route
from gateway.tests.fleet import gateway, metric, producers

PAGE = Path(__file__).parents[2] / "docs/howto/add-a-protocol.md"
LINES = "WARN checkout the card was refused\nINFO cart 2 items"


@pytest.fixture(scope="module")
def routes() -> tuple[Route, ...]:
    """Return the gateway's table with the row and the protocol from the page."""
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    module, row = ("\n".join(line[3:] for line in block.splitlines()) for block in blocks)
    names: dict[str, Any] = {"Route": Route}
    exec(compile(module, "plain_lines.py", "exec"), names)
    added = eval(compile(row, "row", "eval"), names)
    assert isinstance(added, Route)
    return (*ROUTES, added)


async def test_a_new_protocol_is_one_file_and_one_row(routes: tuple[Route, ...]) -> None:
    regions = producers()
    async with gateway(regions, routes=routes) as client:
        answer = await client.post("/plain", content=LINES, headers={"Content-Type": "text/plain"})

    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "2", "text/plain")
    assert [(e.level, e.service_name, e.message) for e in regions["region-a"].written] == [
        ("WARN", "checkout", "the card was refused"),
        ("INFO", "cart", "2 items"),
    ]


async def test_it_fails_over_as_all_others_do(routes: tuple[Route, ...]) -> None:
    regions = producers()
    regions["region-a"].die()
    async with gateway(regions, routes=routes) as client:
        answer = await client.post("/plain", content=LINES, headers={"Content-Type": "text/plain"})

    assert answer.status_code == 200
    assert len(regions["region-b"].written) == 2


@pytest.mark.parametrize(
    ("method", "kind", "status", "said"),
    [
        ("POST", "text/html", 415, "send text/plain\n"),
        ("PUT", "text/plain", 405, "Method Not Allowed\n"),
        ("POST", "text/plain; charset=utf-16", 415, "charset 'utf-16' is not supported; send UTF-8\n"),
    ],
)
async def test_all_errors_have_its_form(
    routes: tuple[Route, ...], method: str, kind: str, status: int, said: str
) -> None:
    async with gateway(producers(), routes=routes) as client:
        answer = await client.request(method, "/plain", content=LINES, headers={"Content-Type": kind})

        assert (answer.status_code, answer.text, answer.headers["content-type"]) == (status, said, "text/plain")
        assert await metric(client, f'gateway_requests_total{{status="{status}"}}') == 1


async def test_so_has_the_answer_to_one_request_too_many(
    routes: tuple[Route, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MAX_WAITING", 0)
    regions = producers()
    gate = regions["region-a"].hold()
    headers = {"Content-Type": "text/plain"}
    async with gateway(regions, routes=routes, max_shipper_requests=1) as client:
        posts = [asyncio.create_task(client.post("/plain", content=LINES, headers=headers)) for _ in range(2)]
        done, _ = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
        gate.set()
        await asyncio.gather(*posts)

    [refused] = [task.result() for task in done]
    assert (refused.status_code, refused.headers["content-type"]) == (503, "text/plain")
    assert refused.text == "the gateway handles as many requests as it may; retry after a pause\n"
    assert sorted(task.result().status_code for task in posts) == [200, 503]


async def test_a_bug_in_a_protocol_is_told_in_its_form_too_and_so_that_nothing_is_dropped(
    routes: tuple[Route, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(routes[-1].protocol), "answer", lambda *_: 1 / 0)
    async with gateway(producers(), routes=routes) as client:
        answer = await client.post("/plain", content=LINES, headers={"Content-Type": "text/plain"})

        assert (answer.status_code, answer.headers["content-type"]) == (503, "text/plain")
        assert await metric(client, 'gateway_requests_total{status="500"}') == 1
