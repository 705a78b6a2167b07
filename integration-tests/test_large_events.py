"""Events of the largest size, as fast as they can be read: what a consumer holds of them, whatever PostgreSQL does."""

import asyncio

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from surroundings import LOCAL, MIRRORED, Surroundings, an_event

from shared.event.model import MAX_EVENT_BYTES
from testbed.consumer_process import ConsumerProcess
from testbed.patience import eventually
from testbed.server import Server

pytestmark = pytest.mark.services

LIMIT: Final = 32 * 2**20
EVENTS: Final = 480
MESSAGE: Final = "x" * (MAX_EVENT_BYTES - 1000)
# Memory beside the events. Kafka's client prefetches two megabytes of each of twelve partitions, in its buffers and once more
# as records. And malloc keeps freed memory.
BESIDE: Final = 96 * 2**20


@asynccontextmanager
async def watched(process: ConsumerProcess) -> AsyncIterator[tuple[list[int], list[int]]]:
    """Sample, all the time, the bytes that it says it holds, and the memory that it occupies."""
    held: list[int] = []
    resident: list[int] = []

    async def look() -> None:
        while True:
            resident.append(process.resident_bytes())
            with suppress(OSError):  # does not answer yet, or not while it is suspended
                held.append((await process.readiness())["heldBytes"])
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield held, resident
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def test_large_events_at_full_rate_stay_within_the_bytes_that_were_set(
    kafka: str, own_postgres: Server, redis_url: str
) -> None:
    around = Surroundings(kafka, own_postgres.address, redis_url)
    await around.prepare()
    begin = datetime.now(UTC) - timedelta(seconds=60)
    events = [
        an_event(begin + timedelta(milliseconds=n), correlation_id=f"c{n}", message=MESSAGE) for n in range(EVENTS)
    ]

    async with around.process(CONSUMER_BUFFER_MAX_BYTES=str(LIMIT)) as process, watched(process) as (held, resident):
        await around.flood(12, begin - timedelta(seconds=1), timedelta(milliseconds=1))
        await around.rows(12)
        idle = process.resident_bytes()
        await asyncio.to_thread(own_postgres.kill)
        with process.suspended():
            for first in range(0, EVENTS, 40):
                await around.write([((LOCAL, MIRRORED)[n % 2], events[n]) for n in range(first, first + 40)])
        await eventually(lambda: max(held, default=0) >= LIMIT * 7 // 8, "it has read as much as it may", within_s=60)
        await asyncio.to_thread(own_postgres.start)
        await around.rows(12 + EVENTS, within_s=300)

    assert max(held) <= LIMIT * 5 // 4
    assert max(resident) <= idle + LIMIT * 5 // 4 + BESIDE
    assert await around.out_of_order() == 0
