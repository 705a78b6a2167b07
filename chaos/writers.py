"""
Clients of both regions, open-loop: each batch goes at its time, whether or not earlier ones were answered.

Clients retry a batch under the same identities, sometimes at the other region, until it is acknowledged. A few give up.
Events without an identity are sent once. Some clients repeat what was acknowledged.
Every attempt is in the ledger before it is sent.
"""

import asyncio
import time

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

import httpx

from chaos.ledger import LedgerFile, Outcome
from chaos.protocols import OWN, ClientProtocol, Made, Told, not_now
from chaos.traffic import Traffic
from testbed.access import fleet_client

BATCH: Final = 50
PATIENCE_S: Final = 25.0
_PENDING_MAX: Final = 400
_LATEST: Final = 200


@dataclass(frozen=True, slots=True)
class Habits:
    """
    What clients do besides sending a batch once.

    Attributes:
        gives_up: The probability to give up after an attempt that failed.
        longest_pause_s: Longest pause before the next attempt. Pauses double up to it.
        other_region: The probability that the next attempt goes to a region drawn anew.
        repeats: The share of batches that are sent again within seconds although they were acknowledged.
        times: How often these are sent again, each time to a region drawn anew.
        both_regions: The share of batches that are sent to two regions at the same time.
    """

    gives_up: float = 0.03
    longest_pause_s: float = 2.0
    other_region: float = 0.3
    repeats: float = 0.06
    times: int = 1
    both_regions: float = 0.0


@dataclass(frozen=True, slots=True)
class _Batch:
    events: Sequence[Made]
    acknowledged: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Seen:
    """
    What clients saw, to show progress.

    Attributes:
        acknowledged: Events by the region that served them, or that was asked if answers do not say which one served. An event
            that is acknowledged twice counts twice.
        repeated: Those of them that had been acknowledged before.
        failovers: Events that another region served than the one asked for.
        unanswered: Attempts that failed, by the status (429, 503) or the connection's error.
        held_back: Batches that were due and not begun, because too many others were in flight or this process was busy.
        strange: Answers that break the contract, each a finding.
        waits_s: Durations of the latest attempts that were answered with 2xx.
    """

    acknowledged: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    failovers: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    held_back: int = 0
    strange: list[str] = field(default_factory=list)
    waits_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATEST))

    @property
    def total(self) -> int:
        """Events acknowledged, in all regions."""
        return sum(self.acknowledged.values())


class Writers:
    """
    Writes to a gateway until stopped.

    Args:
        gateway: Its address.
        regions: The regions to write to, in turn.
        ledger: Notes the attempts.
        traffic: Makes the events.
        random: Draws what clients do.
        rate: Events a second, for all regions together.
        protocol: How the events are sent.

    Attributes:
        habits: Habits of the clients that begin from now on.
        seen: What clients saw so far.
    """

    def __init__(
        self,
        gateway: str,
        regions: Sequence[str],
        ledger: LedgerFile,
        traffic: Traffic,
        random: Random,
        *,
        rate: float,
        protocol: ClientProtocol = OWN,
    ) -> None:
        self._gateway = gateway
        self._regions = regions
        self._ledger = ledger
        self._traffic = traffic
        self._protocol = protocol
        self._random = random
        self._interval_s = BATCH / rate
        self._under_way: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self.habits = Habits()
        self.seen = Seen()

    def stop(self) -> None:
        """Begin no further batch. `run` returns when all begun ones have ended."""
        self._stopping.set()

    async def run(self) -> None:
        """Write until `stop`, then wait until no batch is in flight. A cancellation ends those, too."""
        async with fleet_client(PATIENCE_S) as http:
            try:
                due, turn = time.monotonic(), 0
                while not self._stopping.is_set():
                    if len(self._under_way) < _PENDING_MAX:
                        region = self._regions[turn % len(self._regions)]
                        self._begin(http, region, _Batch(self._traffic.batch(BATCH, time.time_ns() // 1000)))
                    else:
                        self.seen.held_back += 1
                    turn += 1
                    due += self._interval_s
                    missed = int((time.monotonic() - 1 - due) / self._interval_s)
                    if missed > 0:  # after a stall, skip the missed batches instead of sending a burst
                        self.seen.held_back += missed
                        due += missed * self._interval_s
                    await self._wait_until(due)
                while self._under_way:
                    await asyncio.wait(self._under_way)
            finally:
                await self._abandon()

    async def _abandon(self) -> None:
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self, http: httpx.AsyncClient, region: str, batch: _Batch) -> None:
        self._start(self._client(http, region, batch))
        if self._random.random() < self.habits.both_regions:
            other = next(other for other in self._regions if other != region)
            self._start(self._client(http, other, _Batch(_named(batch.events), batch.acknowledged)))

    def _start(self, client: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.create_task(client)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (exc := task.exception()):
            self.seen.strange.append(f"a writer failed: {type(exc).__name__}: {exc}")

    async def _wait_until(self, due: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def send_patiently(self, http: httpx.AsyncClient, region: str, events: Sequence[Made]) -> None:
        """Send valid events until all of them are acknowledged."""
        await self._client(http, region, _Batch(events), loyal=True)

    async def _client(self, http: httpx.AsyncClient, region: str, batch: _Batch, *, loyal: bool = False) -> None:
        habits, left, pause_s = self.habits, list(batch.events), 0.1
        while left:
            left = _named(await self._attempt(http, region, left, batch))
            if left and not loyal and self._random.random() < habits.gives_up:
                return
            if left:
                await asyncio.sleep(pause_s * self._random.random())
                pause_s = min(2 * pause_s, habits.longest_pause_s)
                region = self._random.choice(self._regions) if self._random.random() < habits.other_region else region
        if not loyal and self._random.random() < habits.repeats:
            valid = [event for event in _named(batch.events) if event.valid]
            for _ in range(habits.times if valid else 0):
                await asyncio.sleep(self._random.random() * 3)
                await self._attempt(http, self._random.choice(self._regions), valid, batch)

    async def _attempt(self, http: httpx.AsyncClient, region: str, events: Sequence[Made], batch: _Batch) -> list[Made]:
        """Send once, and return the events that a client has to send again."""
        request = self._protocol.request(events)
        attempt, begun = self._ledger.begin(region, [event.sent for event in events]), time.monotonic()
        try:
            answer = await http.post(
                f"{self._gateway}{request.path}",
                content=request.content,
                headers={**request.headers, "X-Region": region},
            )
        except httpx.TransportError as exc:
            self.seen.unanswered[type(exc).__name__] += 1
            return list(events)
        try:
            told = self._protocol.told(answer.status_code, answer.content, events)
        except (ValueError, KeyError, TypeError) as exc:
            self.seen.strange.append(f"an answer that cannot be understood: {exc}")
            told = None
        else:
            if told is None and not not_now(answer.status_code):
                self.seen.strange.append(f"{answer.status_code} to a batch with valid events: {answer.text[:300]}")
        if told is not None:
            self.seen.waits_s.append(time.monotonic() - begun)
            return self._take(attempt, region, events, told, batch)
        self._ledger.end(attempt, [Outcome.UNKNOWN] * len(events), None)
        if not_now(answer.status_code):
            self.seen.unanswered[str(answer.status_code)] += 1
        return list(events)

    def _take(self, attempt: int, region: str, events: Sequence[Made], told: Told, batch: _Batch) -> list[Made]:
        again, served = [], None
        for event, outcome, by in zip(events, told.outcomes, told.served, strict=True):
            if outcome is Outcome.ACKNOWLEDGED:
                served = by
                self.seen.acknowledged[by or region] += 1
                self.seen.failovers += by not in {region, None}
                self.seen.repeated += event.sent.event_id in batch.acknowledged
                batch.acknowledged.add(event.sent.event_id)
                if not event.valid:
                    self.seen.strange.append(f"acknowledged although invalid: {event.sent}")
            elif outcome is Outcome.REFUSED:
                if event.valid:
                    self.seen.strange.append(f"refused although valid: {event.sent}")
            else:
                again.append(event)
        self._ledger.end(attempt, told.outcomes, served)
        return again


def _named(events: Sequence[Made]) -> list[Made]:
    """Return the events with an identity. No client may send another one again, since it would be a new event."""
    return [event for event in events if event.named]
