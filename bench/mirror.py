"""
`mirror`: one MirrorMaker process between two Kafkas, with the configuration that is shipped.

Catch-up: how fast it copies a backlog, against Kafka's own tools that only read, or only write, such records.

Lag: the time from a record's send time in one Kafka to its arrival at a reader of the other. Meanwhile events come through a
gateway, at half of the rate of single posts that it can acknowledge.
"""

import argparse
import asyncio
import time

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from pydantic_core import from_json

from bench.backlog import LOCAL_REGION, OTHER_REGION, count, fill, read_ids
from bench.cpu import Meter, peak_resident_mib
from bench.events import PARTITIONS
from bench.kafka_tools import consume, produce
from bench.posts import batch, post_at
from bench.report import Report, demand
from bench.rounds import interleave, percentile
from bench.service import Process, module, process
from bench.stage import ROOT, Stage, stage
from shared.wire.regions import LOGS, mirrored_topic
from testbed.mirror_maker import mirror_command, mirror_environment
from testbed.server import free_port, recreate_topics

COPY: Final = mirrored_topic(LOCAL_REGION)
_PERF: Final = "perf"
_STALLED_S: Final = 90.0
_LOOK_EVERY_S: Final = 0.1
_POST: Final = 20
_CONNECTIONS: Final = 32
_ACCEPTED: Final = 202
_WARM_UP_S: Final = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--events", type=int, default=1_000_000, help="records of the backlog (1,000,000)")
    parser.add_argument("--seconds", type=int, default=20, help="how long the lag is watched (20)")
    parser.add_argument(
        "--rate",
        type=float,
        help="events a second while the lag is watched (half of what the last `gateway` measured, 2000 if none did)",
    )


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    rate = arguments.rate or _half_of_gateway()
    report.notes.append(f"lag at {rate:,.0f} events/s, posted through a gateway {_POST} at a time")
    with stage("kafka") as source:
        say(f"filling Kafka with {arguments.events:,} records")
        backlog = await fill(source.kafka, arguments.events, rate=5000, mirrored=0, batch_bytes=16384)
        records = backlog.events + backlog.last

        async def mirror(number: int) -> float:
            # MirrorMaker keeps its place in the target: a new round needs a new one.
            with stage("kafka-b") as target, _mirror_maker(source, target) as maker:
                caught_up = await _catch_up(report, maker, source, target, records)
                say(f"round {number + 1}: lag")
                await _lag(arguments, report, source, target, rate)
                report.add("RSS, MirrorMaker, at most", "MiB", peak_resident_mib(maker.pid))
                return caught_up

        async def reader(_: int) -> float:
            done = await consume(source.kafka, LOGS, arguments.events)
            report.add("kafka-consumer-perf-test", "records/s", done.rate)
            return done.rate

        async def writer(_: int) -> float:
            await recreate_topics(source.kafka, [_PERF], PARTITIONS)
            done = await produce(source.kafka, _PERF, arguments.events)
            report.add("kafka-producer-perf-test", "records/s", done.rate)
            return done.rate

        contenders = {"mirror": mirror, "consumer-perf": reader, "producer-perf": writer}
        for rates in await interleave(contenders, arguments.rounds, say):
            report.add("mirror / kafka-consumer-perf-test", "", rates["mirror"] / rates["consumer-perf"])
            report.add("mirror / kafka-producer-perf-test", "", rates["mirror"] / rates["producer-perf"])


def _half_of_gateway() -> float:
    path = ROOT / ".run" / "bench" / "gateway.json"
    if not path.exists():
        return 2000.0
    values = sorted(from_json(path.read_bytes())["figures"]["gateway"]["values"])
    return float(values[len(values) // 2]) / 2


def _mirror_maker(source: Stage, target: Stage) -> AbstractContextManager[Process]:
    environment = mirror_environment(source.kafka, target.servers["kafka-b"].address)
    return process("MirrorMaker", mirror_command(OTHER_REGION), **environment)


async def _catch_up(report: Report, maker: Process, source: Stage, target: Stage, records: int) -> float:
    kafka = target.servers["kafka-b"].address
    copied, began, begun = 0, 0.0, 0
    meter = None
    points: list[tuple[float, float]] = []
    last_change = time.monotonic()
    # The source holds what earlier rounds posted, too.
    records = await count(source.kafka, LOGS)
    while copied < records:
        await asyncio.sleep(_LOOK_EVERY_S)
        maker.demand_alive()
        before, copied = copied, await _copied(kafka)
        now = time.monotonic()
        last_change = now if copied != before else last_change
        demand(now - last_change < _STALLED_S, f"MirrorMaker copied {copied:,} of {records:,} records, and no more")
        if copied and meter is None:
            began, begun = now, copied
            meter = Meter({"MirrorMaker": maker.pid, "source": source.pids["kafka"], "target": target.pids["kafka-b"]})
        if meter is not None:
            points.append((now - began, copied))
    assert meter is not None  # noqa: S101 - there is a first record
    demand(copied > begun, "all was copied before the first sample: take more events")
    rate = (copied - begun) / (points[-1][0] or _LOOK_EVERY_S)
    report.add("mirror", "records/s", rate)
    for name, seconds in meter.seconds().items():
        report.add(f"CPU, {name}", "s per 1,000 records", seconds * 1000 / (copied - begun))
    report.series[f"copied, round {len(report.figures['mirror'].values)}"] = points
    copies, ids = await read_ids(kafka, {}, COPY)
    report.expect(copies == records, f"{copies:,} copies of {records:,} records")
    report.expect(len(ids) == records, f"{records - len(ids):,} records have no copy, or one under another id")
    return rate


async def _copied(kafka: str) -> int:
    try:
        return await count(kafka, COPY)
    except KafkaError:  # MirrorMaker has not made the topic yet
        return 0


async def _lag(arguments: argparse.Namespace, report: Report, source: Stage, target: Stage, rate: float) -> None:
    with ExitStack() as stack:
        producer = stack.enter_context(
            module("producer", free_port(), PRODUCER_REGION=LOCAL_REGION, PRODUCER_KAFKA_BOOTSTRAP_SERVERS=source.kafka)
        )
        gateway = stack.enter_context(
            module("gateway", free_port(), GATEWAY_REGIONS=f"{LOCAL_REGION}={producer.internal_url}")
        )
        url, service = f"{gateway.url}/api/logs/batch", f"bench-mirror-{time.time_ns()}"

        def make(n: int) -> bytes:
            return batch(url, service, n, _POST, LOCAL_REGION)

        reading = asyncio.create_task(_arrivals(target.servers["kafka-b"].address, service))
        await asyncio.sleep(1)
        answers = await post_at(
            url, make, rate=rate / _POST, seconds=_WARM_UP_S + arguments.seconds, connections=_CONNECTIONS
        )
        accepted = sum(answer.status == _ACCEPTED for answer in answers) * _POST
        await asyncio.sleep(2)
        reading.cancel()
        arrivals = await reading
    report.expect(accepted == len(answers) * _POST, f"{len(answers) * _POST - accepted:,} events were refused")
    report.expect(len(arrivals) >= accepted, f"{accepted - len(arrivals):,} acknowledged events have no copy")
    first = min(sent_ms for sent_ms, _ in arrivals)
    lags = [lag_ms for sent_ms, lag_ms in arrivals if sent_ms >= first + _WARM_UP_S * 1000]
    report.add("lag, p50", "ms", percentile(lags, 50))
    report.add("lag, p99", "ms", percentile(lags, 99))


async def _arrivals(kafka: str, service: str) -> list[tuple[float, float]]:
    """Return send time and lag, in milliseconds, of each copy of a run's events, until cancelled."""
    mark = f'"serviceName":"{service}"'.encode()
    arrivals: list[tuple[float, float]] = []
    consumer = AIOKafkaConsumer(COPY, bootstrap_servers=kafka, auto_offset_reset="latest", fetch_max_wait_ms=50)
    await consumer.start()
    try:
        while True:
            for batch in (await consumer.getmany(timeout_ms=50)).values():
                now_ms = time.time() * 1000
                arrivals += [(r.timestamp, now_ms - r.timestamp) for r in batch if mark in r.value]
    except asyncio.CancelledError:
        return arrivals
    finally:
        await consumer.stop()
