"""Samples the run: what clients saw, what services counted, and how far the mirrors are."""

import asyncio
import contextlib
import time

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

import httpx

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from chaos.checker import Place
from chaos.fleet import REGIONS, Addresses, letter
from chaos.observe import Observer
from chaos.writers import Seen
from loadtest.figures import EndSample, MirrorClock, percentile
from shared.wire.regions import LOGS, consumed_topics
from testbed.access import to_kafka

LINKS: Final = tuple((source, target) for source in REGIONS for target in REGIONS if source != target)
_EVERY_S: Final = 0.5
_FAILOVERS: Final = "gateway_routing_fallbacks_total"
_PATIENCE_S: Final = 3.0


def link_name(source: str, target: str) -> str:
    """Return a link's name as `./setup.sh cut` takes it."""
    return f"{letter(source)}-to-{letter(target)}"


class Lag(NamedTuple):
    """How far a copy is behind. None means unknown."""

    records: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """
    The state at one moment. Counts are since the run began.

    Attributes:
        at_s: The moment, in seconds since 1970.
        phase: The phase at that moment.
        acknowledged: Events by the region that served them, repeats included.
        repeated: Those of them that had been acknowledged before.
        failovers: Those of them that another region served than the one asked for.
        unanswered: Attempts that failed, by their result.
        stored: Rows by the region whose consumer wrote them.
        duplicates: Duplicates recognised, by layer.
        late: Late rows by reason.
        lag: Lag of each link, computed from both Kafkas.
        reported: Lag of each link by the gateway's report. Empty without one.
        wait_s: Median and 99th percentile of the latest answers' durations, in seconds.
    """

    at_s: float
    phase: str
    acknowledged: Mapping[str, int]
    repeated: int
    failovers: int
    unanswered: Mapping[str, int]
    stored: Mapping[str, float]
    duplicates: Mapping[str, float]
    late: Mapping[str, float]
    lag: Mapping[str, Lag]
    reported: Mapping[str, Lag]
    wait_s: tuple[float | None, float | None]

    @property
    def events(self) -> int:
        """Events acknowledged, each once."""
        return sum(self.acknowledged.values()) - self.repeated


class Mirrors:
    """
    Follows the end offsets of all local and mirrored partitions.

    Args:
        at: The fleet.
        since: The end offsets when the run began.

    Attributes:
        samples: Each change that was observed.
        lag: Lag of each link, as of the latest observation. Unknown while one of its Kafkas does not answer.
    """

    def __init__(self, at: Addresses, since: Mapping[Place, int]) -> None:
        self._at = at
        self._since = since
        self._ends = dict(since)
        self._known: dict[str, bool] = dict.fromkeys(REGIONS, False)
        self._clocks = {link_name(*link): MirrorClock() for link in LINKS}
        now_us = time.time_ns() // 1000
        self.samples = [EndSample(place, end, now_us) for place, end in since.items()]
        self.lag: dict[str, Lag] = {link_name(*link): Lag(None, None) for link in LINKS}

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Follow in the background."""
        tasks = [asyncio.create_task(self._follow(region)) for region in REGIONS]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, region: str) -> None:
        tps = [TopicPartition(place.topic, place.partition) for place in self._since if place.region == region]
        tps = [tp for tp in tps if tp.topic in consumed_topics(region, REGIONS)]
        while True:
            # The loop asks a Kafka that is away again. Until it answers, the lag is unknown.
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await self._follow_while_it_answers(region, tps)
            self._known[region] = False
            self._reckon()
            await asyncio.sleep(_EVERY_S)

    async def _follow_while_it_answers(self, region: str, tps: list[TopicPartition]) -> None:
        reader = AIOKafkaConsumer(**to_kafka(self._at.kafka[region]), enable_auto_commit=False)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await reader.start()
            while True:
                async with asyncio.timeout(_PATIENCE_S):
                    ends = await reader.end_offsets(tps)
                self._take(region, ends)
                await asyncio.sleep(_EVERY_S)
        finally:
            await reader.stop()

    def _take(self, region: str, ends: Mapping[TopicPartition, int]) -> None:
        now_us = time.time_ns() // 1000
        for tp, end in ends.items():
            place = Place(region, tp.topic, tp.partition)
            if end != self._ends.get(place):
                self._ends[place] = end
                self.samples.append(EndSample(place, end, now_us))
        self._known[region] = True
        self._reckon()

    def _reckon(self) -> None:
        for source, target in LINKS:
            name = link_name(source, target)
            if not (self._known[source] and self._known[target]):
                self.lag[name] = Lag(None, None)
                continue
            written, copied = self._grown(source, LOGS), self._grown(target, f"{source}.{LOGS}")
            self.lag[name] = Lag(*self._clocks[name].look(time.monotonic(), written, copied))

    def _grown(self, region: str, topic: str) -> int:
        return sum(end - self._since[p] for p, end in self._ends.items() if (p.region, p.topic) == (region, topic))


class Sampler:
    """
    Makes a sample from all sources.

    Args:
        http: A client.
        gateway: The gateway's address.
        observer: Observes the services.
        mirrors: Observes the mirrors.
        seen: What the clients saw.
        tells_regions: Whether clients see which region acknowledged. Else the gateway's count of failovers is taken.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        gateway: str,
        observer: Observer,
        mirrors: Mirrors,
        seen: Seen,
        *,
        tells_regions: bool = True,
    ) -> None:
        self._http = http
        self._gateway = gateway
        self._observer = observer
        self._mirrors = mirrors
        self._seen = seen
        self._tells_regions = tells_regions
        self.samples: list[Sample] = []

    @asynccontextmanager
    async def sampling(self, phase: Callable[[], str], show: Callable[[Sample], None]) -> AsyncIterator[None]:
        """Take a sample each second in the background, and show it."""

        async def forever() -> None:
            while True:
                self.samples.append(await self.take(phase()))
                show(self.samples[-1])
                await asyncio.sleep(1)

        task = asyncio.create_task(forever())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self.samples.append(await self.take(phase()))
            show(self.samples[-1])

    async def take(self, phase: str) -> Sample:
        """Take one sample."""
        seen, waits_s = self._seen, sorted(self._seen.waits_s)
        return Sample(
            time.time(),
            phase,
            dict(seen.acknowledged),
            seen.repeated,
            seen.failovers if self._tells_regions else int(self._observer.by_label(_FAILOVERS, "from_region").total()),
            dict(seen.unanswered),
            dict(self._observer.by_label("consumer_events_stored_total", "region")),
            dict(self._observer.by_label("dedup_hits_total", "layer")),
            dict(self._observer.by_label("reorder_late_arrivals_total", "reason")),
            dict(self._mirrors.lag),
            await self._reported(),
            (percentile(waits_s, 50), percentile(waits_s, 99)),
        )

    async def _reported(self) -> dict[str, Lag]:
        try:
            answer = await self._http.get(f"{self._gateway}/api/replication", timeout=2)
        except httpx.TransportError:
            return {}
        if answer.status_code != httpx.codes.OK:
            return {}
        return {
            link_name(link["source"], link["target"]): Lag(link["lagRecords"], link["lagSeconds"])
            for link in answer.json()["links"]
        }
