import asyncio
import time

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from bench.fleet import lag
from bench.posts import Answer, event, post_at, request
from shared.event.decode import read_sent

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(handle: Handle) -> AsyncIterator[str]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/logs"


async def accept_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}")
    except asyncio.IncompleteReadError:
        writer.close()
        await writer.wait_closed()


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def be_slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.3)
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_what_is_posted_is_an_event() -> None:
    assert read_sent(event("bench-1", 7).encode()).attributes == {"n": 7}


async def test_posts_are_sent_at_the_rate_that_was_asked_for() -> None:
    begun = time.monotonic()
    async with served(accept_all) as url:
        answers = await post_at(
            url, lambda n: request(url, event("s", n), region="region-a"), rate=100, seconds=0.5, connections=4
        )

    assert [answer.status for answer in answers] == [202] * 50
    assert max(answer.due_s for answer in answers) == 0.49
    assert time.monotonic() - begun >= 0.49


async def test_a_post_that_nobody_answers_has_no_status() -> None:
    async with served(hang_up) as url:
        answers = await post_at(url, lambda _: request(url, "{}", region="r"), rate=100, seconds=0.05, connections=2)

    assert [answer.status for answer in answers] == [0] * 5


async def test_waiting_for_a_connection_counts() -> None:
    async with served(be_slow) as url:
        answers = await post_at(url, lambda _: request(url, "{}", region="r"), rate=1000, seconds=0.003, connections=1)

    assert [answer.status for answer in answers] == [503, 0, 503]
    assert answers[-1].took_s >= 0.55


def test_the_lag_is_what_was_acknowledged_and_is_not_stored() -> None:
    answers = [Answer(0.0, 0.5, 202), Answer(1.0, 0.5, 202), Answer(2.0, 5.0, 202)]

    assert lag(answers, 10, [(0.4, 0.0), (1.0, 5.0), (3.0, 20.0)]) == [(0.4, 0.0), (1.0, 5.0), (3.0, 0.0)]
