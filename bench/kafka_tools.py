"""Kafka's own measuring tools, from the same jars as the brokers: what a client can do that does nothing else."""

import asyncio
import re
import resource
import subprocess

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.events import EVENT_BYTES
from bench.report import BrokenRunError
from testbed.local_servers import find_java, find_kafka_jars

_PRODUCED: Final = re.compile(r"^(\d+) records sent, ([\d.]+) records/sec", re.MULTILINE)
_FETCHED_A_SECOND: Final = 9
_FETCHED: Final = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """
    What a tool did.

    Attributes:
        rate: Records a second, as it says itself.
        cpu_s: Its processor time, the start of its JVM included.
    """

    rate: float
    cpu_s: float


async def produce(bootstrap_servers: str, topic: str, records: int) -> Measured:
    """
    Let kafka-producer-perf-test write records of an event's size, idempotent and with acks=all.

    Raises:
        BrokenRunError: It failed, or did not write them all.
    """
    said, cpu_s = await _run(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", topic, "--num-records", str(records), "--record-size", str(EVENT_BYTES), "--throughput", "-1"),
        *("--command-property", f"bootstrap.servers={bootstrap_servers}", "acks=all", "enable.idempotence=true"),
    )
    sent = _PRODUCED.findall(said)
    if not sent or int(sent[-1][0]) != records:
        raise BrokenRunError(f"kafka-producer-perf-test: {said[-2000:]}")
    return Measured(float(sent[-1][1]), cpu_s)


async def consume(bootstrap_servers: str, topic: str, records: int) -> Measured:
    """
    Let kafka-consumer-perf-test read records; joining its group takes no part in the rate.

    Raises:
        BrokenRunError: It failed, or did not read them all.
    """
    said, cpu_s = await _run(
        "org.apache.kafka.tools.ConsumerPerformance",
        *("--topic", topic, "--num-records", str(records), "--bootstrap-server", bootstrap_servers, "--hide-header"),
    )
    lines = [line.split(",") for line in said.splitlines() if line.count(",") == _FETCHED_A_SECOND]
    if not lines or int(lines[-1][_FETCHED]) < records:
        raise BrokenRunError(f"kafka-consumer-perf-test: {said[-2000:]}")
    return Measured(float(lines[-1][_FETCHED_A_SECOND]), cpu_s)


async def _run(tool: str, *arguments: str) -> tuple[str, float]:
    command = [find_java(), "-Xmx256m", "-Dlog4j2.level=ERROR", "-cp", f"{find_kafka_jars()}/*", tool, *arguments]
    return await asyncio.to_thread(_blocking, command)


def _blocking(command: Sequence[str]) -> tuple[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(  # noqa: S603 - no part of it is input
        command, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise BrokenRunError(f"{command[-1]}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
