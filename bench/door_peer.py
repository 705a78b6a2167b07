"""
The same OTLP records into another receiver on the same machine: VictoriaLogs, made from its Go module.

What the two do for a record differs. VictoriaLogs has it in its own store, searchable, in one process and without a copy.
Here it is in a region's Kafka, acknowledged with acks=all, with an identity that makes a retry of it no duplicate; its row is
the consumer's work, and not in these figures. So the gateway's time is told, and that of gateway, producer and Kafka.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx

from bench import door_bodies, gateway
from bench.backlog import settled_ends
from bench.cpu import Meter
from bench.report import BrokenRunError, Report, demand
from bench.rounds import interleave
from bench.service import Service, service
from bench.stage import ROOT
from shared.process.http_client import http_client
from testbed.server import free_port

MODULE: Final = "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs@v1.52.1"
OURS: Final = "gateway, producer and Kafka"
PEER: Final = "VictoriaLogs"
_GATEWAY: Final = "gateway"
_CONNECTIONS: Final = 4
_ANSWER_S: Final = 120
# As many times as many requests as elsewhere: the kernel counts processor time in hundredths of a second.
_TIMES: Final = 4


@dataclass(frozen=True, slots=True)
class Receiver:
    """
    Where records are sent.

    Attributes:
        url: Of its OTLP.
        pids: Its processes.
        settled: Returns how many records it has, once it has done all that it does for them.
    """

    url: str
    pids: Mapping[str, int]
    settled: Callable[[], Awaitable[int]]


async def measure(records: int, requests: int, rounds: int, report: Report, say: Callable[[str], None]) -> None:
    """
    Measure both, see that each has all records, and write into the report.

    Args:
        records: Of a request.
        requests: A quarter of a turn's.
        rounds: How often each has its turn.
        report: Gets the figures.
        say: Told what happens.

    Raises:
        BrokenRunError: The peer cannot be made here.
    """
    say(f"making {PEER}, which takes minutes the first time")
    program = await asyncio.to_thread(_made)
    requests *= _TIMES
    bodies = [door_bodies.otlp_protobuf(records, number * records) for number in range(requests)]
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(ExitStack())
        client = await stack.enter_async_context(http_client(_ANSWER_S))
        fleet = await gateway.start(servers)
        other = servers.enter_context(_peer(program, stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))))
        receivers = {
            OURS: Receiver(f"{fleet.gateway.url}/v1/logs", fleet.pids, partial(_in_kafka, fleet.servers.kafka)),
            PEER: Receiver(
                f"{other.url}/insert/opentelemetry/v1/logs", {PEER: other.pid}, partial(_in_peer, client, other.url)
            ),
        }
        for name, receiver in receivers.items():
            say(f"{name}: warms up")
            await _send(client, receiver, bodies)

        async def turn(name: str) -> Mapping[str, float]:
            receiver = receivers[name]
            before = await receiver.settled()
            meter, begun = Meter(receiver.pids), time.perf_counter()
            await _send(client, receiver, bodies)
            took_s = time.perf_counter() - begun
            came = await receiver.settled() - before
            cpu_s = meter.seconds()
            sent = records * requests
            report.expect(came == sent, f"{name}: {came:,} of {sent:,} records arrived")
            report.add(f"{name}, OTLP over HTTP", "records/s", sent / took_s)
            for process, used_s in cpu_s.items():
                report.add(f"CPU, {process}, OTLP over HTTP", "us a record", used_s / sent * 1e6)
            return cpu_s

        takers = {name: (lambda _, name=name: turn(name)) for name in receivers}
        for taken in await interleave(takers, rounds, say):
            theirs = taken[PEER][PEER]
            report.add(f"CPU, {PEER} / {_GATEWAY}", "", theirs / taken[OURS][_GATEWAY])
            report.add(f"CPU, {PEER} / {OURS}", "", theirs / sum(taken[OURS].values()))
    report.notes.append(f"{PEER} has each record in its store and searchable; in {OURS} it is in Kafka with acks=all")


def _made() -> str:
    """Return the peer's program, which is made once."""
    if named := os.environ.get("VICTORIA_LOGS"):
        return named
    folder = ROOT / ".run" / "peers" / MODULE.rpartition("@")[2]
    program = folder / "victoria-logs"
    if not program.exists():
        go = shutil.which("go")
        demand(go is not None, "--peer needs Go, or VICTORIA_LOGS, which names the program of the peer")
        done = subprocess.run(  # noqa: S603 - no part of it is input
            [str(go), "install", MODULE], env={**os.environ, "GOBIN": str(folder)}, capture_output=True, check=False
        )
        if done.returncode:
            raise BrokenRunError(f"go install {MODULE}: {done.stderr.decode(errors='replace')[-2000:]}")
    return str(program)


def _peer(program: str, folder: str) -> AbstractContextManager[Service]:
    port = free_port()
    # The records' times lie in the past, and more so each day.
    options = [f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}", "-retentionPeriod=100y"]
    return service("victoria-logs", [program, *options], port, ready="/health")


async def _send(client: httpx.AsyncClient, receiver: Receiver, bodies: Sequence[bytes]) -> None:
    room = asyncio.Semaphore(_CONNECTIONS)

    async def post(body: bytes) -> None:
        async with room:
            answer = await client.post(receiver.url, content=body, headers={"Content-Type": "application/x-protobuf"})
            demand(answer.is_success, f"{receiver.url} answered {answer.status_code}: {answer.text[:300]}")

    await asyncio.gather(*map(post, bodies))


async def _in_kafka(bootstrap_servers: str) -> int:
    return sum((await settled_ends(bootstrap_servers)).values())


async def _in_peer(client: httpx.AsyncClient, url: str) -> int:
    await client.get(f"{url}/internal/force_flush")
    answer = await client.post(f"{url}/select/logsql/query", data={"query": "* | count() as records"})
    return int(json.loads(answer.text)["records"])
