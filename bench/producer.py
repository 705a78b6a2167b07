"""
`producer`: batches from gateways into Kafka, against kafka-producer-perf-test.

A gateway's requests are posted to the producer as fast as it answers: 1,000 events a request, with as many requests in
flight as a gateway has. Both write records of the same size, idempotent and with acks=all. The producer also reads HTTP and
checks every event.
"""

import argparse
import asyncio
import tempfile

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from bench.backlog import count, read_ids, settled_ends
from bench.cpu import Meter
from bench.events import PARTITIONS, Stream
from bench.gateway import expect_answers
from bench.kafka_tools import produce
from bench.report import Report
from bench.rounds import interleave
from bench.service import module
from bench.stage import stage
from bench.wrk import BATCH, load
from shared.wire.handoff import PATH
from shared.wire.regions import DEAD_LETTERS, LOGS
from testbed.server import free_port, recreate_topics

_REGION: Final = "region-a"
_PERF: Final = "perf"
_TOOL: Final = "kafka-producer-perf-test"
_WARM_UP_S: Final = 2
# As many as a gateway has in flight; see GATEWAY_UPSTREAM_CONCURRENCY.
_CONNECTIONS: Final = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--seconds", type=int, default=10, help="length of the producer's turn (10)")
    parser.add_argument("--records", type=int, default=1_000_000, help="records of the tool's turn (1,000,000)")


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    with ExitStack() as stack:
        body = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))) / "body"
        body.write_bytes(_received())
        servers = stack.enter_context(stage("kafka"))
        kafka = servers.kafka
        await recreate_topics(kafka, [LOGS, DEAD_LETTERS, _PERF], PARTITIONS)
        producer = stack.enter_context(
            module("producer", free_port(), PRODUCER_REGION=_REGION, PRODUCER_KAFKA_BOOTSTRAP_SERVERS=kafka)
        )
        send = partial(load, f"{producer.internal_url}{PATH}", body, connections=_CONNECTIONS)

        async def ours(_: int) -> float:
            await asyncio.to_thread(send, seconds=_WARM_UP_S)
            begins = await settled_ends(kafka)
            meter = Meter({"producer": producer.pid, "kafka": servers.pids["kafka"]})
            sent = await asyncio.to_thread(send, seconds=arguments.seconds)
            cpu_s = {**meter.seconds(), "wrk": sent.cpu_s}
            acknowledged = (sent.requests - sent.refused) * BATCH
            rate = sent.rate * BATCH
            report.add("producer", "events/s", rate)
            for name, seconds in cpu_s.items():
                report.add(f"CPU, {name}", "s per 1,000 events", seconds * 1000 / max(1, acknowledged))
            expect_answers(report, "producer", sent)
            records, ids = await read_ids(kafka, begins)
            report.expect(records >= acknowledged, f"{acknowledged - records:,} acknowledged events are not in Kafka")
            most = acknowledged + _CONNECTIONS * BATCH
            report.expect(records <= most, f"{records - acknowledged:,} records more than acknowledged")
            report.expect(len(ids) == BATCH, f"{len(ids):,} ids of the {BATCH:,} that were sent")
            return rate

        async def tool(_: int) -> float:
            before = await count(kafka, _PERF)
            meter = Meter({"kafka": servers.pids["kafka"]})
            done = await produce(kafka, _PERF, arguments.records)
            report.add(_TOOL, "events/s", done.rate)
            report.add(f"CPU, kafka, {_TOOL}", "s per 1,000 events", meter.seconds()["kafka"] * 1e3 / arguments.records)
            report.add(f"CPU, {_TOOL}", "s per 1,000 events", done.cpu_s * 1000 / arguments.records)
            written = await count(kafka, _PERF) - before
            report.expect(written == arguments.records, f"{_TOOL} wrote {written:,} of {arguments.records:,} records")
            return done.rate

        for rates in await interleave({"producer": ours, _TOOL: tool}, arguments.rounds, say):
            report.add(f"producer / {_TOOL}", "", rates["producer"] / rates[_TOOL])


def _received() -> bytes:
    """Return a gateway's request: events as it sends them, which have no region of origin yet."""
    tail = f',"originRegion":"{_REGION}"}}'.encode()
    events = Stream(datetime.now(UTC), 1000, _REGION).events(BATCH)
    return b"\n".join(value.removesuffix(tail) + b"}" for _, _, value in events)
