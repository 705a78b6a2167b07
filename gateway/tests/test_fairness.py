"""
A tenant that offers ten times what a region can take costs the others at most a turn: a simulation, in the loop's time.

Callers are tenants where keys are asked for (`shared.ingest.caller`). What decides here is the gate, and the queue of a region.
"""

import asyncio

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from gateway.admission import Admission
from gateway.delivery.errors import QueueFullError
from gateway.delivery.post import Delivery
from gateway.delivery.queue import QueueLimits, RequestQueue
from gateway.metrics import GatewayMetrics
from shared.event.outcome import Accepted
from shared.ingest.caller import CALLER
from shared.ingest.logs_api import ONE
from shared.process.bounds import Bounds
from shared.wire.problem import UnavailableError
from shared.wire.wanted import Stretch

LIMITS = QueueLimits(linger_s=0.006, max_events=40, concurrency=4, queue_events=800, queue_bytes=10**9, max_bytes=10**9)
# A request takes 20 ms, and one more if it is full.
REQUEST_S, EVENT_S = 0.02, 0.000025
CAPACITY = LIMITS.concurrency * LIMITS.max_events / (REQUEST_S + LIMITS.max_events * EVENT_S)
# As with the default settings, a request holds several turns' worth.
EVENT = b"x" * 15_000
SECONDS = 0.6
QUIET = 100


@dataclass
class Client:
    """What a tenant saw."""

    name: str
    stored: int = 0
    refused: int = 0
    waits_s: list[float] = field(default_factory=list)

    @property
    def p99_s(self) -> float:
        return sorted(self.waits_s)[len(self.waits_s) * 99 // 100]


class Door:
    """A gate and the queue of one region that does so much a second and no more."""

    def __init__(self) -> None:
        metrics = GatewayMetrics(CollectorRegistry())
        loop = asyncio.get_running_loop()
        self.gate = Admission({ONE: 4096}, Bounds(max_bytes=10**9), metrics, loop.time)
        self.queue = RequestQueue(
            self._send, LIMITS, held=metrics.queue.labels("a"), request_events=metrics.upstream_batch.labels("a")
        )

    async def _send(self, events: Sequence[bytes], _: Sequence[Stretch]) -> Delivery:
        await asyncio.sleep(REQUEST_S + len(events) * EVENT_S)
        return [Accepted("a")] * len(events)

    async def post(self, client: Client, events: int) -> None:
        CALLER.set(client.name)
        loop, size = asyncio.get_running_loop(), events * len(EVENT)
        began = loop.time()
        try:
            self.gate.enter(ONE, size)
        except UnavailableError:
            client.refused += 1
            return
        try:
            await self.queue.post([EVENT] * events, client.name)
        except QueueFullError:
            client.refused += 1
        else:
            client.stored += events
            client.waits_s.append(loop.time() - began)
        finally:
            self.gate.leave(ONE, size)

    async def offer(self, client: Client, rate: float, events: int, seconds: float = SECONDS) -> None:
        """Post so many events a second, each time at its time, answered or not."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        posts = []
        for number in range(int(seconds * rate / events)):
            due = began + number * events / rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            posts.append(asyncio.create_task(self.post(client, events)))
        await asyncio.gather(*posts)

    async def insist(self, client: Client, seconds: float = SECONDS) -> None:
        """Offer ten times the capacity, in batches of an eighth of a request: what does not fit waits for the next one."""
        await self.offer(client, 10 * CAPACITY, LIMITS.max_events // 8, seconds)


async def all_of(*some: Awaitable[None]) -> None:
    await asyncio.gather(*some)


async def test_a_flood_of_one_tenant_costs_another_at_most_as_long_again_and_no_refusal() -> None:
    alone = Client("b")
    await Door().offer(alone, QUIET, 1)
    flood_alone = Client("a")
    await Door().insist(flood_alone)

    flood, quiet, door = Client("a"), Client("b"), Door()
    await all_of(door.insist(flood), door.offer(quiet, QUIET, 1))

    assert quiet.refused == 0
    assert quiet.stored == alone.stored
    assert quiet.p99_s <= 2 * alone.p99_s
    assert flood.refused > 0
    assert flood_alone.stored >= 0.9 * CAPACITY * SECONDS
    assert flood.stored >= 0.9 * (flood_alone.stored - quiet.stored)


async def test_who_stays_has_all_of_it() -> None:
    alone = Client("b")
    await Door().insist(alone)

    flood, stays, door = Client("a"), Client("b"), Door()
    await all_of(door.insist(flood, 0.5), door.offer(stays, QUIET, 1, 0.5))
    # The gate forgets the other one after ten seconds.
    await asyncio.sleep(10)
    stays = Client("b")
    await door.insist(stays)

    assert stays.stored >= 0.95 * alone.stored
    assert door.queue.held_events == 0


async def test_a_thousand_idle_tenants_cost_nothing() -> None:
    alone, quiet, door = Client("b"), Client("b"), Door()
    await Door().offer(alone, QUIET, 1)
    await all_of(*(door.post(Client(f"idle-{number}"), 1) for number in range(1000)))

    assert not door.queue._shares
    assert not door.queue._waiting
    assert not door.gate._of_caller
    await door.offer(quiet, QUIET, 1)
    assert quiet.p99_s <= alone.p99_s + 0.001
    assert quiet.refused == 0
