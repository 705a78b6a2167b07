"""What the server itself decides, on a real socket: bounds, upgrades that are offered, and what is no HTTP."""

import asyncio
import json

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import uvicorn

from fastapi import FastAPI, Request, Response

from shared.process.http_protocol import MAX_HEADER_BYTES
from shared.process.server import LogProtocol


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = FastAPI()

    @app.post("/")
    async def _echo(request: Request) -> Response:
        return Response(await request.body(), headers={"x-offers": str("upgrade" in request.headers)})

    @app.get("/")
    async def _get() -> str:
        return "ok"

    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http=LogProtocol, ws="none", log_config=None, timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
    return Answer(int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def exchange(port: int, *segments: bytes, answers: int = 1) -> list[Answer]:
    """Send segments, each only after what was sent before is on its way, and read what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for segment in segments:
            writer.write(segment)
            await writer.drain()
            # The server's turn: it shares this loop, and reads what is there.
            for _ in range(5):
                await asyncio.sleep(0)
        return [await read_answer(reader) for _ in range(answers)]
    finally:
        writer.close()


async def all_until_closed(port: int, sent: bytes) -> list[Answer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    received = asyncio.StreamReader()
    received.feed_data(await reader.read())
    received.feed_eof()
    writer.close()
    answers = []
    while not received.at_eof():
        answers.append(await read_answer(received))
    return answers


def is_problem(answer: Answer, status: int, fragment: str) -> bool:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["status"] == status
    assert fragment in problem["detail"]
    return True


async def test_headers_without_end_are_refused(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(read_answer(reader))
    writer.write(HEAD + b"x-large: " + b"a" * MAX_HEADER_BYTES)
    for _ in range(1000):
        # One byte at a time, so that nothing is unread when the server has had enough.
        writer.write(b"a")
        if (await asyncio.wait({answer}, timeout=0.01))[0]:
            break
    writer.close()

    assert is_problem(answer.result(), 431, "65536 bytes")


async def test_several_requests_on_one_connection_with_large_headers_are_served(port: int) -> None:
    large = HEAD + b"x-large: " + b"a" * (MAX_HEADER_BYTES // 2) + b"\r\n\r\n"

    answers = await all_until_closed(port, 3 * large + HEAD + b"connection: close\r\n\r\n")

    assert [answer.status for answer in answers] == [200] * 4


# As Java's client and curl write it, as browsers and others do, and as no known client does.
OFFERS = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n",
    b"Connection: Upgrade\r\nConnection: keep-alive\r\nUpgrade: something, else/7\r\n",
]
FRAMINGS = [
    (b"Content-Length: 11\r\n", b"hello world"),
    (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n"),
    (b"Content-Length: 0\r\n", b""),
]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize(("framing", "body"), FRAMINGS)
@pytest.mark.parametrize("cut", ["nowhere", "behind the headers", "everywhere"])
async def test_an_upgrade_that_is_offered_is_passed_over_and_the_request_is_served(
    port: int, offer: bytes, framing: bytes, body: bytes, cut: str
) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\n" + offer + framing + b"\r\n"
    one = head + body
    segments = {
        "nowhere": [one + one],
        "behind the headers": [head, body + head, body],
        "everywhere": [bytes([byte]) for byte in one + one],
    }[cut]

    answers = await exchange(port, *segments, answers=2)

    assert [answer.status for answer in answers] == [200, 200]
    assert [answer.body for answer in answers] == [b"" if body == b"" else b"hello world"] * 2
    assert [answer.headers["x-offers"] for answer in answers] == ["false", "false"]


async def test_what_follows_an_offer_on_the_same_connection_is_the_next_request(port: int) -> None:
    offered = b"GET / HTTP/1.1\r\nHost: x\r\n" + OFFERS[0] + b"\r\n"
    plain = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nplain"

    answers = await exchange(port, offered + plain + offered + plain, answers=4)

    assert [answer.body for answer in answers] == [b'"ok"', b"plain", b'"ok"', b"plain"]


async def test_an_offer_keeps_what_else_the_connection_header_says(port: int) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi"

    [answer] = await all_until_closed(port, request)

    assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"hi", "close")


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60),
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: five\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\nbad header: x\r\n\r\n",
        b"POST /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/9.9\r\nhost: x\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_with_a_problem_that_says_so(port: int, sent: bytes) -> None:
    [answer] = await all_until_closed(port, sent)

    assert answer.headers["connection"] == "close"
    assert is_problem(answer, 400, "")
    assert len(json.loads(answer.body)["detail"].split()) > 4


async def test_what_is_no_http_is_answered_after_the_requests_before_it(port: int) -> None:
    plain = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nplain"

    answers = await all_until_closed(port, plain + plain + b"nonsense\r\n\r\n")

    assert [answer.status for answer in answers] == [200, 200, 400]


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_a_body_that_is_no_http_is_the_answer_to_its_request(port: int, before: int) -> None:
    plain = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nplain"
    broken = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nno length\r\n"

    answers = await all_until_closed(port, before * plain + broken)

    assert [answer.status for answer in answers] == [200] * before + [400]
    assert is_problem(answers[-1], 400, "not valid HTTP/1.1")


@pytest.mark.parametrize("expect", [b"100-continue", b"100-Continue"])
@pytest.mark.parametrize("offer", [b"", OFFERS[0]])
async def test_who_waits_to_be_told_to_go_on_is_told(port: int, expect: bytes, offer: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + offer + b"Content-Length: 5\r\nExpect: " + expect + b"\r\n\r\n")

    assert (await read_answer(reader)).status == 100
    writer.write(b"hello")
    answer = await read_answer(reader)
    writer.close()

    assert (answer.status, answer.body) == (200, b"hello")
