"""The server's own bounds, on a real socket."""

import asyncio

from collections.abc import AsyncIterator

import pytest
import uvicorn

from fastapi import FastAPI

from shared.server import MAX_HEADER_BYTES, BoundedHeadersProtocol


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = FastAPI()

    @app.post("/")
    async def _echo() -> str:
        return "ok"

    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http=BoundedHeadersProtocol, log_config=None, timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n"


async def test_headers_without_end_are_refused(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.readuntil(b"}"))
    writer.write(HEAD + b"x-large: " + b"a" * MAX_HEADER_BYTES)
    for _ in range(1000):
        # One byte at a time, so that nothing is unread when the server has had enough.
        writer.write(b"a")
        if (await asyncio.wait({answer}, timeout=0.01))[0]:
            break
    writer.close()

    assert answer.result().startswith(b"HTTP/1.1 431 ")
    assert b"65536 bytes" in answer.result()


async def test_several_requests_on_one_connection_with_large_headers_are_served(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    large = HEAD + b"x-large: " + b"a" * (MAX_HEADER_BYTES // 2) + b"\r\n\r\n"
    writer.write(3 * large + HEAD + b"connection: close\r\n\r\n")
    received = await reader.read()
    writer.close()

    assert received.count(b"HTTP/1.1 200 OK") == 4
