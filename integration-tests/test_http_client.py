"""
Every client of the fleet, in a storm of requests that are given up between any two of its steps.

The other end is a real server on a real socket, which answers at once, late, in halves, not at all, or hangs up. Afterwards
every place is free, as few sockets are open as ever may be, and the next request is answered.
"""

import asyncio
import os
import random
import re

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from gateway.delivery.clients import open_consumer, open_producer
from gateway.settings import GatewaySettings
from shared.process.http_client import PooledTransport, http_client
from shared.wire.replication import RegionReport
from testbed.patience import eventually

ROOT: Final = Path(__file__).parents[1]
ROUNDS: Final = {"fast": 100}.get(os.environ.get("TEST_DEPTH", ""), 600)
AT_ONCE: Final = 3
MOST_STEPS: Final = 40
PATIENCE_S: Final = 120
PAUSES_S: Final = (0, 0, 0, 0, 0.001)
MOODS: Final = ("at once", "late", "halves", "never", "hangs up", "last one")

Call = Callable[[], Awaitable[object]]
Open = Callable[[str], AbstractAsyncContextManager[Call]]

BODIES: Final = {
    "/internal/records": b"[null]",
    "/internal/replication": RegionReport(region="region-a", age_s=0, spans={}, copies={}).encode(),
}


class Server(asyncio.Protocol):
    """One connection of a server that answers, or misbehaves in one of its ways."""

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.listener.open.add(transport)
        self.received = b""

    def connection_lost(self, _: Exception | None) -> None:
        self.listener.open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head, rest = self.received[:end], self.received[end + 4 :]
            length = re.search(rb"content-length: (\d+)", head.lower())
            size = int(length[1]) if length else 0
            if len(rest) < size:
                return
            self.received = rest[size:]
            self.answer(head.split()[1].decode())

    def answer(self, path: str) -> None:
        body = BODIES.get(path, b"well")
        whole = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        loop, soon = asyncio.get_running_loop(), random.random() / 500
        match self.listener.mood():
            case "at once":
                self.write(whole)
            case "late":
                loop.call_later(soon, self.write, whole)
            case "halves":
                self.write(whole[:-2])
                loop.call_later(soon, self.write, whole[-2:])
            case "hangs up":
                self.transport.abort()
            case "last one":
                self.write(whole)
                self.transport.close()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


class Listener:
    """
    The server.

    Attributes:
        open: Its connections.
        mood: How it takes the next request.
    """

    def __init__(self) -> None:
        self.open: set[asyncio.Transport] = set()
        self.mood: Callable[[], str] = lambda: "at once"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.get_running_loop().create_server(lambda: Server(self), "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for transport in list(self.open):
                transport.abort()
            await eventually(lambda: not self.open, "the server's end is closed")


def gateway_settings(url: str) -> GatewaySettings:
    """One hand-off at a time, and limits that no slow machine reaches: only the test cancels requests."""
    return GatewaySettings(
        regions={"region-a": url},
        consumers={"region-a": url},
        upstream_concurrency=1,
        attempt_timeout_ms=PATIENCE_S * 1000,
        health_timeout_ms=PATIENCE_S * 1000,
    )


@asynccontextmanager
async def a_hand_off(url: str) -> AsyncIterator[Call]:
    async with open_producer("region-a", gateway_settings(url)) as producer:
        yield lambda: producer.send([b"{}"])


@asynccontextmanager
async def a_check(url: str) -> AsyncIterator[Call]:
    async with open_producer("region-a", gateway_settings(url)) as producer:
        yield producer.check


@asynccontextmanager
async def a_question_about_replication(url: str) -> AsyncIterator[Call]:
    async with open_consumer("region-a", url, gateway_settings(url)) as consumer:
        yield consumer.report


@asynccontextmanager
async def a_tool(url: str) -> AsyncIterator[Call]:
    async with http_client(PATIENCE_S, connections=2) as http:
        yield lambda: http.get(f"{url}/ready")


CLIENTS: Final[dict[str, tuple[Open, int]]] = {
    "a hand-off": (a_hand_off, 2),
    "a check": (a_check, 2),
    "a question about replication": (a_question_about_replication, 1),
    "a tool": (a_tool, 2),
}


@pytest.mark.parametrize(("client", "most"), CLIENTS.values(), ids=list(CLIENTS))
@pytest.mark.parametrize("seed", range(3))
async def test_requests_given_up_at_any_moment_take_nothing_from_later_ones(client: Open, most: int, seed: int) -> None:
    random.seed(seed)
    listener = Listener()
    listener.mood = lambda: random.choice(MOODS)
    async with listener.listening() as url:
        async with client(url) as call:
            for _ in range(ROUNDS):
                requests = [asyncio.ensure_future(call()) for _ in range(AT_ONCE)]
                for _ in range(random.randrange(MOST_STEPS)):
                    await asyncio.sleep(0)
                await asyncio.sleep(random.choice(PAUSES_S))
                for request in requests:
                    request.cancel()
                await asyncio.gather(*requests, return_exceptions=True)
            listener.mood = lambda: "at once"

            await asyncio.gather(*(call() for _ in range(2 * AT_ONCE)))
            await eventually(lambda: len(listener.open) <= most, f"no more than {most} connections are open")
        await eventually(lambda: not listener.open, "no connection is open")


@pytest.mark.parametrize(("client", "most"), CLIENTS.values(), ids=list(CLIENTS))
async def test_a_server_that_stands_still_again_and_again_is_reached_when_it_is_back(client: Open, most: int) -> None:
    """Timeouts come while requests wait for a connection, for a place in the pool, and for an answer."""
    listener = Listener()
    async with listener.listening() as url, client(url) as call:
        for _ in range(12):
            for transport in listener.open:
                transport.pause_reading()
            requests = [asyncio.ensure_future(call()) for _ in range(AT_ONCE)]
            await asyncio.wait(requests, timeout=0.01)
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
            for transport in listener.open:
                transport.resume_reading()
            await call()
        await eventually(lambda: len(listener.open) <= most, f"no more than {most} connections are open")


async def test_a_place_is_free_as_soon_as_its_request_is_given_up() -> None:
    listener = Listener()
    async with listener.listening() as url, PooledTransport(1) as transport:
        listener.mood = lambda: "never"
        request = asyncio.ensure_future(transport.handle_async_request(httpx.Request("GET", url)))
        await eventually(lambda: transport.in_use == 1, "it waits for an answer")
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)

        assert transport.in_use == 0


# ---------------------------------------------------------------- the same as httpx's own


async def test_what_is_sent_arrives_as_it_was_and_nothing_is_added() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
        writer.write(b"HTTP/1.1 207 Multi\r\nx-one: 1\r\nX-One: 2\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a%2Fb?c=%20d"
        async with PooledTransport() as transport:
            request = httpx.Request("POST", url, content=b"body", headers={"Content-Type": "x/y"})
            answer = await transport.handle_async_request(request)

    [head] = heads
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /a%2fb?c=%20d http/1.1"
    assert {line.partition(b":")[0] for line in lines[1:-2]} == {b"host", b"content-type", b"content-length"}
    assert head.endswith(b"\r\n\r\nbody")
    assert (answer.status_code, answer.content, answer.headers.get_list("x-one")) == (207, b"ok", ["1", "2"])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", httpx.RemoteProtocolError),
        (b"SSH-2.0\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nhalf", httpx.DecodingError),
        (None, httpx.TimeoutException),
    ],
)
async def test_its_errors_are_httpxs(answer: bytes | None, error: type[httpx.HTTPError]) -> None:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await over.wait()
        else:
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with http_client(0.2 if answer is None else PATIENCE_S) as http:
            with pytest.raises(error) as caught:
                await http.get(url)
        over.set()

    assert type(caught.value) is error or answer is None


async def test_nobody_there_is_no_connection(unused_tcp_port: int) -> None:
    async with http_client(PATIENCE_S) as http:
        with pytest.raises(httpx.ConnectError, match="Connect call failed"):
            await http.get(f"http://127.0.0.1:{unused_tcp_port}/")


async def test_a_body_that_nobody_takes_ends_at_the_limit() -> None:
    over = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=1) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with http_client(0.1) as http:
            with pytest.raises(httpx.TimeoutException):
                await http.post(url, content=bytes(32 * 1024 * 1024))
        over.set()


async def test_no_proxy_of_the_environment_stands_between_two_parts_of_the_fleet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    listener = Listener()
    async with listener.listening() as url, http_client(PATIENCE_S) as http:
        assert (await http.get(url)).text == "well"


def test_nobody_else_makes_connections() -> None:
    """A client that is made without a transport has httpx's own."""
    folders = (
        "gateway",
        "producer",
        "consumer",
        "console",
        "fleet",
        "shared",
        "chaos",
        "loadtest",
        "bench",
        "native",
        "integration-tests",
    )
    made = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"httpx\.(AsyncHTTPTransport|AsyncClient)\((?!transport=)", line) and path != Path(__file__)
    ]

    assert not made
