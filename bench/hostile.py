"""Clients that mean harm, each in a process of its own, so that the honest ones beside them are measured and not these."""

import asyncio
import gzip
import resource
import time

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from shared.event.model import MAX_BATCH_EVENTS, MAX_EVENT_BYTES
from shared.ingest.logs_api import BATCH, MAX_BATCH_BYTES, ONE

ADDRESS: Final = "127.0.0.2"
"""Where they come from: another caller than the honest ones."""

_EVENT: Final = b'{"serviceName":"bench-hostile","level":"INFO","correlationId":"c","message":"%b"}'
_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Body:
    """
    What is posted again and again.

    Attributes:
        content: Its bytes on the wire.
        events: How many of its events are valid.
        coding: Its Content-Encoding.
        unfolded: As the service reads it.
    """

    content: bytes
    events: int = 0
    coding: str = "identity"

    @property
    def unfolded(self) -> bytes:
        """The content without its coding."""
        return gzip.decompress(self.content) if self.coding == "gzip" else self.content


@dataclass(slots=True)
class Told:
    """
    What they were told.

    Attributes:
        statuses: How often each; 0 for a connection that was ended without one.
        largest: Bytes of the largest answer's body.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    largest: int = 0


def bodies() -> Mapping[str, Body]:
    """Return the bodies that cost the most, by name."""
    names = b"{" + b",".join(b'"%x":0' % n for n in range(20_000)) + b"}"
    escaped = _EVENT % (b"\\u00e9" * 1000)
    nested = _EVENT[:-1] % b"m" + b',"attributes":{"a":' + b"[" * 400 + b"]" * 400 + b"}}"
    zeros = b"[" + b"0," * (MAX_BATCH_BYTES // 2 - 2) + b"0]"
    return {
        "unknown names": Body(_array(names)),
        "escaped text": Body(_array(escaped), (MAX_BATCH_BYTES - 2) // (len(escaped) + 1)),
        "empty objects": Body(b"[" + b",".join([b"{}"] * MAX_BATCH_EVENTS) + b"]"),
        "lists and NaN": Body(_array(nested)[:-1] + b",NaN]"),
        "gzip of zeros": Body(gzip.compress(zeros), coding="gzip"),
    }


def _array(element: bytes) -> bytes:
    return b"[" + b",".join([element] * ((MAX_BATCH_BYTES - 10) // (len(element) + 1))) + b"]"


def flood(events: int) -> Body:
    """Return a batch as honest clients send them."""
    return Body(b"[" + b",".join([_EVENT % (b"m" * 100)] * events) + b"]", events)


def more_files() -> None:
    """Have as many files as thousands of connections need, here and in what is started from here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def stop_before_the_last_byte(url: str, posts: int, seconds: float) -> Told:
    """Send so many posts without their last byte, wait, and tell what became of them."""
    return asyncio.run(_stop(url, posts, seconds))


def post_again_and_again(url: str, body: Body, seconds: float, connections: int) -> Told:
    """Post a batch on some connections, the next one as soon as there is an answer."""
    return asyncio.run(_repeat(url, body, seconds, connections))


async def _stop(url: str, posts: int, seconds: float) -> Told:
    more_files()
    told, at = Told(), urlsplit(url)
    until = time.monotonic() + seconds
    half = _head(ONE, MAX_EVENT_BYTES) + b" " * (MAX_EVENT_BYTES - 1)

    async def one() -> None:
        status = 0
        with suppress(OSError, EOFError, ValueError, TimeoutError):
            reader, writer = await asyncio.open_connection(at.hostname, at.port, local_addr=(ADDRESS, 0))
            writer.write(half)
            try:
                async with asyncio.timeout(max(0.1, until - time.monotonic())):
                    status, _ = await _answer(reader)
            finally:
                writer.close()
        told.statuses[status] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(posts):
            group.create_task(one())
            if number % _AT_ONCE == 0:
                await asyncio.sleep(seconds / 2 * _AT_ONCE / posts)
    return told


async def _repeat(url: str, body: Body, seconds: float, connections: int) -> Told:
    told, at = Told(), urlsplit(url)
    raw = _head(BATCH, len(body.content), body.coding) + body.content
    until = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < until:
            with suppress(OSError, EOFError, ValueError):
                reader, writer = await asyncio.open_connection(at.hostname, at.port, local_addr=(ADDRESS, 0))
                try:
                    while time.monotonic() < until:
                        writer.write(raw)
                        status, size = await _answer(reader)
                        told.statuses[status] += 1
                        told.largest = max(told.largest, size)
                finally:
                    writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return told


def _head(path: str, length: int, coding: str = "identity") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Encoding: {coding}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, int]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[len("http/1.1 ") : len("http/1.1 200")])
    size = int(head.partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])
    await reader.readexactly(size)
    return status, size
