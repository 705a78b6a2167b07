"""Faults of load: events of the largest size while no store answers, and a copy that comes late and all at once."""

import asyncio
import contextlib

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import httpx

from chaos.faults import Scene, fault, pulled
from chaos.fleet import REGIONS, counters, letter, readiness
from testbed.access import setting

_LARGE_BYTES: Final = 200 * 1024
_LARGE_EVENTS: Final = 720
_SENDERS: Final = 6
# Memory that a consumer uses beside the events that it holds. Kafka's client prefetches each of twelve partitions, in its
# buffers and once more as records. And malloc keeps freed memory.
_BESIDE_BYTES: Final = 96 * 2**20
_MIB: Final = 2**20


# -- large events


class _Memory:
    """By consumer: the bytes that it reported to hold, and its resident memory, at most and at the beginning."""

    def __init__(self) -> None:
        self.idle: dict[str, float] = {}
        self.resident: dict[str, float] = {}
        self.held: dict[str, float] = {}

    async def look(self, http: httpx.AsyncClient, service: str, address: str) -> None:
        series, said = await asyncio.gather(counters(http, address), readiness(http, address))
        resident = (series or {}).get("process_resident_memory_bytes")
        if resident is not None:
            self.idle.setdefault(service, resident)
            self.resident[service] = max(self.resident.get(service, 0), resident)
        self.held[service] = max(self.held.get(service, 0), (said or {}).get("heldBytes", 0))


@asynccontextmanager
async def _memory_watched(scene: Scene) -> AsyncIterator[_Memory]:
    memory = _Memory()
    consumers = [f"consumer-{letter(region)}" for region in REGIONS]

    async def look() -> None:
        await asyncio.gather(*(memory.look(scene.http, name, scene.at.services[name]) for name in consumers))

    async def keep_looking() -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError, ValueError):
                await look()
            await asyncio.sleep(0.2)

    await look()
    looking = asyncio.create_task(keep_looking())
    try:
        yield memory
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


@fault(
    "large events",
    f"PostgreSQL suspended while {_LARGE_EVENTS} events of 200 KiB come as fast as they are taken, and for 4 s more",
    "consumers read no more than they may hold, a quarter more at most; the rest waits in Kafka",
)
async def _large(scene: Scene) -> None:
    limit = int(setting("CONSUMER_BUFFER_MAX_BYTES", 128 * _MIB))
    async with _memory_watched(scene) as memory:
        async with pulled("suspend", "postgres", back=("resume", "postgres")):
            await _send_all(scene)
            await scene.hold(4)
        await scene.hold(6)
    _tell(scene, memory, limit)


def _tell(scene: Scene, memory: _Memory, limit: int) -> None:
    for name, idle in sorted(memory.idle.items()):
        held, grown = memory.held[name], memory.resident[name] - idle
        scene.remarks.append(f"{name} held {held / _MIB:.0f} MiB of {limit / _MIB:.0f}, grew by {grown / _MIB:.0f} MiB")
        if held > limit * 1.25:
            scene.strange.append(f"{name} held {held:.0f} bytes of events where {limit} are set")
        if grown > limit * 1.25 + _BESIDE_BYTES:
            scene.strange.append(f"{name} grew by {grown:.0f} bytes where {limit} are set for events")


async def _send_all(scene: Scene) -> None:
    left = _LARGE_EVENTS

    async def send(region: str) -> None:
        nonlocal left
        while left > 0:
            sent = await scene.send_large(region, _LARGE_BYTES)
            left -= sent or left

    async with asyncio.TaskGroup() as senders:
        for number in range(_SENDERS):
            senders.create_task(send(REGIONS[number % len(REGIONS)]))


# -- a large backlog

_FRESH: Final = """
    SELECT count(*) AS events,
           percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM stored_at - received_at)) AS waits_s
    FROM logs
    WHERE service_name = $1 AND origin_region = $2 AND stored_by LIKE $2 || '/%' AND NOT late AND stored_at BETWEEN $3 AND $4
"""


@fault(
    "slow mirror, then healing",
    "the mirror into a region suspended for 20 s, and 10 s in which it brings all that",
    "the region's own events are stored as usual during it and afterwards, within two windows and a fetch",
)
async def _slow_mirror(scene: Scene) -> None:
    mirror = scene.part("mirror")
    connection: Any = None
    try:
        async with pulled("suspend", mirror, back=("resume", mirror)):
            connection = await asyncpg.connect(scene.at.postgres)
            began = await _now(connection)
            await scene.hold(20)
        healed = await _now(connection)
        await scene.hold(10)
        for when, since, until in (("meanwhile", began, healed), ("healing", healed, await _now(connection))):
            fresh = await connection.fetchrow(_FRESH, scene.service, scene.region, since, until)
            if fresh["events"]:
                median, slowest = fresh["waits_s"]
                scene.remarks.append(f"own events stored {when} after {median:.1f} s, 99 of 100 within {slowest:.1f} s")
            else:
                scene.strange.append(f"no event of {scene.region} itself was stored in time {when}")
    finally:
        if connection is not None:
            await connection.close()


async def _now(connection: asyncpg.Connection) -> datetime:
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now
