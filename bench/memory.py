"""
`redis`: what a remembered id costs in Redis, with the adapter that the consumer uses, against a plain key for each id.

How many ids share a hash depends on the rate of the traffic (`--traffic`). Afterwards the answers must be exact. An id that
was stored from another record is recognised. The same record, read again, is not mistaken for a duplicate. An id that was
never stored is not known. An adapter may forget a few, since PostgreSQL then decides; it must never recognise a new id.
"""

import argparse
import time

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from bench.events import mix
from bench.report import Report
from bench.rounds import interleave
from bench.stage import Stage, stage
from consumer.adapters.redis_seen import RedisSeenIds
from consumer.copy_format import fingerprint
from consumer.envelope import Envelope, Partition
from consumer.seen_format import number_of, record
from shared.event.identity import identity_of
from shared.event.model import epoch_us
from shared.wire.regions import LOGS

_BATCH: Final = 5000
_PLAIN_IDS: Final = 1_000_000
_SAMPLE: Final = 100_000
_DAY_S: Final = 24 * 3600
_REGION: Final = "region-a"
# One in 65,536 ids shares the 16 bits by which the adapter tells records apart. A few more than that are still chance.
_FORGOTTEN: Final = 0.001


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--ids", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--traffic", type=float, default=5000, help="events a second of event time (5000)")


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    begin = datetime.now(UTC) - timedelta(seconds=arguments.ids / arguments.traffic)
    with stage("redis") as servers:

        async def adapter(_: int) -> float:
            async with _emptied(servers) as client:
                before = await _used(client)
                seen = RedisSeenIds(client, ttl_s=_DAY_S)
                seen.use_store("bench")
                began = time.perf_counter()
                envelopes = _envelopes(begin, arguments.traffic, 0, arguments.ids)
                while batch := list(islice(envelopes, _BATCH)):
                    await seen.remember(batch)
                took_s = time.perf_counter() - began
                grown: float = (await _used(client) - before) / arguments.ids
                report.add("adapter", "bytes an id", grown)
                report.add("adapter, remembering, making the ids included", "ids/s", arguments.ids / took_s)
                await _expect_exactness(report, seen, begin, arguments)
                return grown

        async def plain(_: int) -> float:
            ids = min(_PLAIN_IDS, arguments.ids)
            async with _emptied(servers) as client:
                before = await _used(client)
                for first in range(0, ids, _BATCH):
                    async with client.pipeline(transaction=False) as pipeline:
                        for n in range(first, first + _BATCH):
                            pipeline.set(f"seen:{_id(n)}", 1, ex=_DAY_S)
                        await pipeline.execute()
                grown: float = (await _used(client) - before) / ids
                report.add("plain keys", "bytes an id", grown)
                return grown

        for sizes in await interleave({"adapter": adapter, "plain keys": plain}, arguments.rounds, say):
            report.add("adapter / plain keys", "", sizes["adapter"] / sizes["plain keys"])


@asynccontextmanager
async def _emptied(servers: Stage) -> AsyncIterator[Redis]:
    """Lend a client of a Redis that holds nothing and has no limit: else one would measure what eviction leaves."""
    client = Redis.from_url(servers.redis)
    try:
        await client.flushall()
        await client.config_set("maxmemory", 0)
        yield client
    finally:
        await client.aclose()


async def _used(client: Redis) -> int:
    return int((await client.info("memory"))["used_memory"])


def _id(n: int) -> UUID:
    return UUID(int=mix(n) << 64 | mix(~n & (2**64 - 1)))


def _envelopes(begin: datetime, rate: float, first: int, count: int, *, offset: int = 0) -> Iterator[Envelope]:
    partitions = [Partition(LOGS, number) for number in range(6)]
    begin_us = epoch_us(begin)
    logs = {partition: number_of(_REGION, partition) for partition in partitions}
    columns = bytes(48)
    said = fingerprint(columns)
    for n in range(first, first + count):
        time_us, partition = begin_us + int(n * 1_000_000 / rate), partitions[n % 6]
        event_id = _id(n).bytes
        yield Envelope(
            time_us,
            _REGION,
            partition.number,
            n + offset,
            partition,
            mirrored=False,
            identity=identity_of(event_id, time_us),
            received_us=time_us,
            produced_us=time_us,
            columns=columns,
            memory=record(event_id, time_us, said, logs[partition], n + offset),
            key=None,
            value=b"",
        )


async def _expect_exactness(report: Report, seen: RedisSeenIds, begin: datetime, arguments: argparse.Namespace) -> None:
    sample, rate = min(_SAMPLE, arguments.ids), arguments.traffic
    first = arguments.ids - sample
    again = await _recognised(seen, _envelopes(begin, rate, first, sample))
    report.expect(again == 0, f"{again:,} records read again are taken for duplicates")
    copies = await _recognised(seen, _envelopes(begin, rate, first, sample, offset=7 * 10**9))
    report.expect(copies >= sample * (1 - _FORGOTTEN), f"{sample - copies:,} of {sample:,} duplicates are not known")
    strangers = await _recognised(seen, _envelopes(begin, rate, arguments.ids, sample, offset=7 * 10**9))
    report.expect(strangers == 0, f"{strangers:,} ids that were never stored are known")
    later = begin + timedelta(milliseconds=1)
    moved = await _recognised(seen, _envelopes(later, rate, first, sample, offset=7 * 10**9))
    report.expect(moved == 0, f"{moved:,} ids with another time, which are other events, are known")


async def _recognised(seen: RedisSeenIds, envelopes: Iterator[Envelope]) -> int:
    found = 0
    while batch := list(islice(envelopes, _BATCH)):
        found += len(await seen.duplicates(batch))
    return found
