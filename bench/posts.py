"""
Clients that post at a rate, whether or not earlier posts were answered.

A client that waits for an answer before the next post sends less just when the fleet is slow, and so measures it as fast.
Here each post is due at its time. Its latency counts from then, waiting for a free connection included.
"""

import asyncio
import contextlib
import time

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_ANSWER_S: Final = 30.0
_EVENT: Final = (
    '{"serviceName":"%s","level":"INFO","message":"order accepted after retry","correlationId":"%s-%d",'
    '"attributes":{"n":%d}}'
)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What came of one post.

    Attributes:
        due_s: When it was to be sent, seconds since the first one.
        took_s: From then until it was answered.
        status: Of the answer; 0 if there was none.
    """

    due_s: float
    took_s: float
    status: int


def event(service: str, n: int) -> str:
    """Return event `n` of a run, without identity; each is of a trace of its own."""
    return _EVENT % (service, service, n, n)


def request(url: str, body: str, *, region: str, media_type: str = "application/json") -> bytes:
    """Return a whole HTTP request."""
    at = urlsplit(url)
    encoded = body.encode()
    head = (
        f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: {media_type}\r\nX-Region: {region}\r\n"
        f"Content-Length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded


def batch(url: str, service: str, n: int, size: int, region: str) -> bytes:
    """Return the request with batch `n` of a run, `size` events as NDJSON."""
    lines = "\n".join(event(service, n * size + i) for i in range(size))
    return request(url, lines, region=region, media_type="application/x-ndjson")


async def post_at(
    url: str, make: Callable[[int], bytes], *, rate: float, seconds: float, connections: int
) -> list[Answer]:
    """
    Post at a rate.

    Args:
        url: Whose host and port are posted to.
        make: Makes the request of post `n`, from 0.
        rate: Posts a second.
        seconds: For how long.
        connections: How many stay open; posts beyond wait for one.
    """
    at = urlsplit(url)
    pool: asyncio.Queue[_Connection] = asyncio.LifoQueue()
    for _ in range(connections):
        pool.put_nowait(_Connection(at.hostname or "", at.port or 80))
    answers: list[Answer] = []
    begun = time.perf_counter() + 0.1

    async def one(raw: bytes, due_s: float) -> None:
        connection = await pool.get()
        try:
            async with asyncio.timeout(_ANSWER_S):
                status = await connection.post(raw)
        except (OSError, EOFError, TimeoutError, ValueError):
            await connection.close()
            status = 0
        finally:
            pool.put_nowait(connection)
        answers.append(Answer(due_s, time.perf_counter() - begun - due_s, status))

    async with asyncio.TaskGroup() as group:
        for n in range(int(rate * seconds)):
            raw, due_s = make(n), n / rate
            wait_s = begun + due_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            group.create_task(one(raw, due_s))
    while not pool.empty():
        await pool.get_nowait().close()
    return answers


class _Connection:
    """One connection that stays open; knows as much of HTTP as the answers of this project need."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, raw: bytes) -> int:
        """
        Send a request, and return the answer's status.

        Raises:
            OSError: The connection broke.
            EOFError: Likewise, in the middle of the answer.
            ValueError: The answer is no HTTP with a length.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(raw)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[len("http/1.1 ") : len("http/1.1 200")])
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if not found:
            raise ValueError("an answer without length")
        await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
        return status

    async def close(self) -> None:
        """Close it; the next post opens it again."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):  # the other side was faster
                await streams[1].wait_closed()
