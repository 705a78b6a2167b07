"""`GET /api/logs…` through the gateway: the console's answers, as they come, with the client's address; a sentence where it is away."""

import asyncio
import json

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from served import both_served, bound, served

from console.app import create_app as create_console
from console.app import create_internal_app as create_internal_console
from console.settings import ConsoleSettings
from console.tests.fakes import FakeStore, a_row
from console.tests.test_app import NOW, some_rows
from gateway.app import create_app
from gateway.reading import AT_ONCE
from gateway.tests.fleet import EVENT, producers, settings
from shared.access.scopes import Scope
from shared.event.times import epoch_us
from shared.process.http_client import http_client
from testbed.keys import Keys, bearer
from testbed.patience import eventually, patience

pytestmark = pytest.mark.real_time


@dataclass
class Doors:
    """A gateway and a console on real sockets."""

    client: httpx.AsyncClient
    gateway: str
    console: str
    internal: str


@asynccontextmanager
async def doors(store: FakeStore, *, named: str = "public", **changes: Any) -> AsyncIterator[Doors]:
    """Let a gateway pass on to a console of these rows, known by the address of its public or internal listener."""
    app = create_console(ConsoleSettings(**changes), store=store, wall_us=lambda: epoch_us(NOW))
    async with AsyncExitStack() as stack:
        public, internal = await stack.enter_async_context(both_served(telling(app), create_internal_console(app)))
        telling.port = internal.rpartition(":")[2]  # type: ignore[attr-defined]
        where = public if named == "public" else internal
        keys = {name: changes[name] for name in ("security", "keys_file", "keys_pepper") if name in changes}
        gateway = create_app(settings(regions := producers(), console=where, **keys), transports=regions)
        at = await stack.enter_async_context(served(gateway))
        client = await stack.enter_async_context(http_client(patience(10)))
        yield Doors(client, at, public, internal)


def telling(app: Any) -> Any:
    """Let the public listener name the port that the internal one has in this test."""

    async def told(scope: Any, receive: Any, send: Any) -> None:
        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, telling.port.encode() if name == b"internal-port" else value)  # type: ignore[attr-defined]
                    for name, value in message["headers"]
                ]
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, named)

    return told


@pytest.mark.parametrize("named", ["public", "internal"])
async def test_what_the_console_answers_is_what_the_gateway_answers(named: str) -> None:
    async with doors(FakeStore(some_rows(30)), named=named) as here:
        for target in ("", "?limit=3&service=s1", "/histogram?interval=10s", f"/{a_row(1).event_id}", "/values/service", "?x=1", "/no"):  # fmt: skip
            theirs = await here.client.get(f"{here.console}/api/logs{target}")
            ours = await here.client.get(f"{here.gateway}/api/logs{target}")

            assert ours.status_code == theirs.status_code
            assert ours.headers["content-type"] == theirs.headers["content-type"]
            assert without_time(ours) == without_time(theirs)
        head = await here.client.head(f"{here.gateway}/api/logs")
        posted = await here.client.post(f"{here.gateway}/api/logs", json=EVENT)
        metrics = (await here.client.get(f"{here.gateway}/metrics")).text

    assert (head.status_code, head.content) == (200, b"")
    assert posted.status_code == 202
    assert 'gateway_reads_total{status="200"} 6.0' in metrics
    assert 'gateway_reads_total{status="400"} 2.0' in metrics


def without_time(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()
    return {name: value for name, value in found.items() if name != "tookMs"}


async def test_without_a_console_reading_says_so_and_writing_goes_on() -> None:
    socket = bound()
    nowhere = f"http://127.0.0.1:{socket.getsockname()[1]}"
    socket.close()
    regions = producers()
    async with (
        served(create_app(settings(regions, console=nowhere), transports=regions)) as at,
        http_client(10) as client,
    ):
        read = await client.get(f"{at}/api/logs?text=x")
        written = await client.post(f"{at}/api/logs", json=EVENT)
        ready = await client.get(f"{at}/ready")

    assert (read.status_code, read.headers["retry-after"]) == (503, "1")
    assert read.headers["content-type"] == "application/problem+json"
    assert "the console, which finds stored events, does not answer" in read.json()["detail"]
    assert (written.status_code, ready.status_code) == (202, 200)


async def test_with_security_on_the_gateway_reads_for_a_key_with_that_scope(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    reader, writer = bearer(keys.make(Scope.READ)), bearer(keys.make(Scope.WRITE))
    async with doors(FakeStore(some_rows(3)), **keys.settings) as here:
        for headers, statuses in ((reader, (200, 403)), (writer, (403, 202)), ({}, (401, 401))):
            read = await here.client.get(f"{here.gateway}/api/logs", headers=headers)
            written = await here.client.post(f"{here.gateway}/api/logs", json=EVENT, headers=headers)

            assert (read.status_code, written.status_code) == statuses
            assert read.status_code != 200 or len(read.json()["items"]) == 3


async def test_the_clients_address_is_the_callers_and_is_not_believed_at_the_public_door() -> None:
    store = FakeStore(some_rows(3), held=asyncio.Event())
    async with doors(store, searches_a_caller=1) as here:
        named = [
            asyncio.create_task(here.client.get(f"{here.internal}/internal/api/logs", headers={"Fleet-Caller": caller}))
            for caller in ("10.0.0.1", "10.0.0.2")
        ]
        await eventually(lambda: len(store.looked_at) == 2, "each has a place of its own")
        [through_gateway] = [asyncio.create_task(here.client.get(f"{here.gateway}/api/logs"))]
        await eventually(lambda: len(store.looked_at) == 3, "so has the client of the gateway")
        lying = await here.client.get(f"{here.console}/api/logs", headers={"Fleet-Caller": "10.0.0.3"})
        assert store.held is not None
        store.held.set()
        answers = [(await one).status_code for one in (*named, through_gateway)]

    assert lying.status_code == 429
    assert answers == [200, 200, 200]


async def test_an_export_passes_as_it_comes_and_ends_with_its_client() -> None:
    rows = [a_row(seq, NOW - timedelta(milliseconds=seq), message="x" * 2000) for seq in range(1, 20_001)]
    store = FakeStore(rows)
    async with doors(store) as here:
        headers = {"Accept": "application/x-ndjson"}
        whole = await here.client.get(f"{here.gateway}/api/logs", headers=headers)
        host, port = here.gateway.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /api/logs HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n")
        await reader.readexactly(100_000)
        writer.transport.abort()
        await eventually(lambda: export_is_over(here), "the console's export has ended, too")

    lines = [json.loads(line) for line in whole.text.splitlines()]
    assert lines[-1] == {"end": True, "count": 20_000, "next": None}


async def export_is_over(here: Doors) -> bool:
    """Whether another export of this caller is let in."""
    answer = await here.client.get(f"{here.gateway}/api/logs?service=none", headers={"Accept": "application/x-ndjson"})
    return answer.status_code == 200


async def test_an_answer_that_breaks_off_is_not_taken_for_whole() -> None:
    async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await send_lifespan(receive, send)
            return
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]}
        )
        await send({"type": "http.response.body", "body": b'{"seq": 1}\n', "more_body": True})
        raise ConnectionResetError

    regions = producers()
    async with (
        served(breaks_off) as console,
        served(create_app(settings(regions, console=console), transports=regions)) as at,
        http_client(10) as client,
    ):
        with pytest.raises(httpx.TransportError):
            await client.get(f"{at}/api/logs")


async def send_lifespan(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def test_more_than_may_be_are_refused_at_once() -> None:
    store = FakeStore(some_rows(3), held=asyncio.Event())
    async with doors(store, searches_a_caller=AT_ONCE + 1) as here:
        held = [asyncio.create_task(here.client.get(f"{here.gateway}/api/logs")) for _ in range(AT_ONCE)]
        await eventually(lambda: len(store.looked_at) == AT_ONCE, "all places are taken")
        refused = await here.client.get(f"{here.gateway}/api/logs")
        assert store.held is not None
        store.held.set()
        answers = {(await one).status_code for one in held}

    assert refused.status_code == 503
    assert "64 requests to the console are under way" in refused.json()["detail"]
    assert answers == {200}
