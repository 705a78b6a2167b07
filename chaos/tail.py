"""A tail through a whole run, and whether it had each row once."""

import asyncio
import itertools
import json

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple
from urllib.parse import urlencode

import httpx

from chaos.checker import StoredRow
from shared.process.http_client import Streams
from testbed.access import key_headers, tls

_PAUSE_S: Final = 0.5
_EXAMPLES: Final = 3


class Tailed(NamedTuple):
    """An event as a tail had it."""

    seq: int
    stored_by: str


def compare(rows: Iterable[StoredRow], tailed: Sequence[Tailed]) -> list[str]:
    """
    Compare what a tail had with the rows that are there in the end. Pure.

    Returns:
        A sentence for each kind of mistake.
    """
    wanted = {row.seq for row in rows}
    had = Counter(event.seq for event in tailed)
    order: dict[str, list[int]] = defaultdict(list)
    for event in tailed:
        order[event.stored_by].append(event.seq)
    found = {
        "lost": sorted(wanted - had.keys()),
        "had twice": sorted(seq for seq, times in had.items() if times > 1),
        "invented": sorted(had.keys() - wanted),
        "had out of its writer's order": sorted(
            seq for seqs in order.values() for before, seq in itertools.pairwise(seqs) if seq < before
        ),
    }
    return [f"the tail {what} {len(seqs)} rows: seq {seqs[:_EXAMPLES]}" for what, seqs in found.items() if seqs]


class TailReader:
    """
    Follows the events of one service, and comes back with the last id whatever happens.

    Args:
        url: Of the console.
        service: Whose events.

    Attributes:
        tailed: What it had.
        connections: How often it came.
        resets: How often it was told that something may not have come: the database was set back, or days were dropped.
    """

    def __init__(self, url: str, service: str) -> None:
        self.tailed: list[Tailed] = []
        self.connections = 0
        self.resets = 0
        self._url = f"{url}/api/logs/tail?{urlencode({'service': service})}"
        self._last_id = ""
        self._begun = asyncio.Event()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow meanwhile, from now on."""
        task = asyncio.create_task(self._run())
        try:
            await self._begun.wait()
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def has(self, count: int, within_s: float) -> None:
        """Wait until it had so many, or a time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(self.tailed) < count:
                    await asyncio.sleep(_PAUSE_S)

    async def _run(self) -> None:
        streams = Streams(1, 5.0, 30.0, tls=tls())
        try:
            while True:
                headers = key_headers("GET", self._url)
                if self._last_id:
                    headers["Last-Event-ID"] = self._last_id
                with suppress(httpx.TransportError):
                    async with streams.get(self._url, headers) as answer:
                        if answer.status == httpx.codes.OK:
                            self.connections += 1
                            await self._read(answer.pieces())
                await asyncio.sleep(_PAUSE_S)
        finally:
            await streams.close()

    async def _read(self, pieces: AsyncIterator[bytes]) -> None:
        rest = b""
        async for piece in pieces:
            # What is not ended by an empty line does not count.
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                self._take(dict(line.split(b": ", 1) for line in event.split(b"\n")))

    def _take(self, event: dict[bytes, bytes]) -> None:
        if event.get(b"event") == b"log":
            data = json.loads(event[b"data"])
            self.tailed.append(Tailed(data["seq"], data["storedBy"]))
        self.resets += event.get(b"event") == b"reset"
        if b"id" in event:
            self._last_id = event[b"id"].decode()
            self._begun.set()
