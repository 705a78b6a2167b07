"""An assignment over ports in memory, one step at a time, as tests of the steps want it."""

import asyncio

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from consumer.aside import Aside
from consumer.assignment import Assignment
from consumer.bloom import RotatingBloom
from consumer.decode import Record
from consumer.doubts import Doubts
from consumer.envelope import Partition
from consumer.failpoints import Arrive, pass_by
from consumer.memory import Memory, Stored
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.outages import Outages
from consumer.pipeline import Pipeline
from consumer.ports import Claim, DeadLetters, EventStore, SeenIds
from consumer.slot import Slot
from consumer.source import Source
from consumer.surroundings import Limits, Surroundings
from consumer.writer import Writer


class Steps:
    """What `Assignment` does beside each other, one after the other."""

    def __init__(
        self,
        *,
        region: str,
        claim: Claim,
        buffer: Orders,
        bloom: RotatingBloom,
        seen: SeenIds,
        store: EventStore,
        dead_letters: DeadLetters,
        metrics: ConsumerMetrics,
        outages: Outages,
        now_us: Callable[[], int],
        batch_max: int,
        max_bytes: int,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        arrive: Arrive = pass_by,
    ) -> None:
        common: Any = {"metrics": metrics, "outages": outages}
        held: Any = {"claim": claim, "batch_max": batch_max, "max_bytes": max_bytes, "arrive": arrive}
        self.pipeline = Pipeline(region=region, buffer=buffer, bloom=bloom, encode=store.encode, **held)
        self.aside = Aside(dead_letters=dead_letters, pause=pause, **common)
        self.writer = Writer(
            memory=Memory(bloom=bloom, seen=seen, known=store.known, arrive=arrive, **common),
            store=store,
            aside=self.aside,
            lateness=buffer.lateness,
            now_us=now_us,
            pause=pause,
            **held,
            **common,
        )
        self.assignment = Assignment(
            source=cast("Source", None),  # it does not read by itself
            pipeline=self.pipeline,
            writer=self.writer,
            aside=self.aside,
            buffer=buffer,
            starts=dict.fromkeys(claim.progress, 0),
            limits=Limits(batch_max, max_bytes),
            around=Surroundings(region, outages, metrics, Doubts(metrics), now_us),
        )
        self.slot: Slot = self.assignment._slot
        self.feed = self.pipeline.feed
        self.stored: list[Stored] = []
        self._now_us = now_us
        self._outages = outages

    async def turn(self, polled: Mapping[Partition, Sequence[Record]]) -> None:
        """Take what was read, and bring everything that is released by it to where it belongs."""
        for partition, records in polled.items():
            self.pipeline.feed(partition, records)
        self.arrived()
        if self.pipeline.letters:
            await self.set_aside()
            await self.check_in()
        while self.slot.waiting:
            await self.write()
            await self.remember()

    def pause_with(self, pause: Callable[[float], Awaitable[None]]) -> None:
        """Sleep like this from now on."""
        self.writer._pause = self.writer._transactions._pause = self.aside._pause = pause

    def arrived(self) -> None:
        """Put in order what was fed."""
        self.pipeline.arrived(self._now_us())

    async def write(self) -> None:
        """Store a batch."""
        self.stored += await self.writer.write(self.slot.take())

    async def remember(self) -> None:
        """Remember what was stored."""
        stored, self.stored = self.stored, []
        await self.writer.remember(stored)

    async def check_in(self) -> None:
        """Write the progress."""
        self.stored += await self.writer.write(self.slot.take_or_check_in())

    async def set_aside(self) -> None:
        """Write dead letters."""
        await self.aside.put_all(self.pipeline.letters, self.pipeline.complete)

    async def probe(self) -> None:
        """Find out whether Redis works again."""
        await self._outages.probe()

    @property
    def durable(self) -> Mapping[Partition, int]:
        """What may be committed."""
        return self.writer.durable

    @property
    def held_bytes(self) -> int:
        """What is held."""
        return self.assignment.held_bytes

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be read."""
        return self.assignment._is_full
