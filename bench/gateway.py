"""
`gateway`: posts through the gateway and a producer to Kafka with acks=all.

Single posts, on 64 connections, are compared with an echo: the least that FastAPI can do on the same server (uvicorn,
uvloop, httptools), under the same client and on the same cores. The echo needs one core and leaves the other to the client,
while gateway, producer, Kafka and client share both. nginx, which passes single posts on to the producer, takes part where
it is installed. Batches of 1,000 events come over 8 connections. A second gateway and producer, as `FLEET_SECURITY=on` has
them, take the same: https, a key among a thousand, certificates of both sides between them.

Two checks. In every turn there are as many records as acknowledgements, and ids are distinct. In a turn of its own, which is
not measured, every acknowledged id must be in Kafka.
"""

import argparse
import asyncio
import shutil
import tempfile

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from bench import secured
from bench.backlog import read_ids, settled_ends
from bench.cpu import Meter
from bench.events import PARTITIONS
from bench.report import Report
from bench.rounds import interleave
from bench.service import Service, module, service
from bench.stage import Stage, stage
from bench.wrk import BATCH, Form, Load, load
from shared.wire.regions import DEAD_LETTERS, LOGS
from testbed.server import free_port, recreate_topics

_REGION: Final = "region-a"
_WARM_UP_S: Final = 2
_COMPILE_S: Final = 15
_FORMS: Final[Mapping[str, Form]] = {"batches, NDJSON": "ndjson", "batches, JSON array": "array"}
_NGINX: Final = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; keepalive_requests 1000000;
  upstream producer {{ server 127.0.0.1:{producer}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://producer; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--seconds", type=int, default=10, help="length of a turn (10)")
    parser.add_argument("--connections", type=int, default=64, help="for single posts (64)")
    parser.add_argument("--batch-connections", type=int, default=8, help="for batches (8)")


@dataclass(frozen=True, slots=True)
class Fleet:
    """
    A gateway, its producer, their Kafka.

    Attributes:
        servers: Kafka.
        gateway: The gateway.
        producer: The producer.
    """

    servers: Stage
    gateway: Service
    producer: Service

    @property
    def pids(self) -> Mapping[str, int]:
        """The processes whose time is told."""
        return {"gateway": self.gateway.pid, "producer": self.producer.pid, "kafka": self.servers.pids["kafka"]}


@dataclass(frozen=True, slots=True)
class Target:
    """
    What is loaded.

    Attributes:
        name: In the report.
        url: Where to post.
        form: What.
        connections: How many.
        pids: The processes whose time is told.
        kafka: Where the events must be afterwards; None where they go nowhere.
        key: What each request shows.
    """

    name: str
    url: str
    form: Form
    connections: int
    pids: Mapping[str, int]
    kafka: str | None
    key: str = ""


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        fleet = await start(stack)
        kafka, many, few = fleet.servers.kafka, arguments.connections, arguments.batch_connections
        echo = stack.enter_context(_echo())
        nginx = _nginx(stack, folder, fleet.producer)
        single = Target("gateway", f"{fleet.gateway.url}/api/logs", "single", many, fleet.pids, kafka)
        batches = [
            Target(name, f"{fleet.gateway.url}/api/logs/batch", form, few, fleet.pids, kafka)
            for name, form in _FORMS.items()
        ]
        twins = _secured(stack, folder / "secured", fleet, (single, *batches))
        echoes = [
            Target(name, f"{echo.url}/{path}", "single", many, {"echo": echo.pid}, None)
            for name, path in (("echo", "echo"), ("echo, checked", "checked"))
        ]
        others = list(echoes)
        if nginx is None:
            report.notes.append("nginx proxying to the producer: not installed")
        else:
            pids = {"nginx": nginx.pid, **{name: pid for name, pid in fleet.pids.items() if name != "gateway"}}
            others.append(Target("nginx to producer", f"{nginx.url}/api/logs", "single", many, pids, kafka))
        targets = [single, *others, *batches]
        for name, twin in twins.items():
            targets.insert([target.name for target in targets].index(name) + 1, twin)
        # Kafka is just up, and Java compiles what it does for the first time on the cores that are being measured.
        await asyncio.to_thread(load, single.url, single.form, connections=many, seconds=_COMPILE_S)
        contenders = {target.name: partial(_measure, report, target, arguments.seconds) for target in targets}
        for rates in await interleave(contenders, arguments.rounds, say):
            for other in others:
                report.add(f"gateway / {other.name}", "", rates["gateway"] / rates[other.name])
            for name, twin in twins.items():
                report.add(f"{twin.name} / open", "", rates[twin.name] / rates[name])
        for target in (single, *batches, *twins.values()):
            say(f"looking for every acknowledged id in Kafka: {target.name}")
            await _look_for_each(report, target, kafka, folder / "acknowledged")
    report.notes.append(
        "with the gateway: gateway, producer, Kafka and wrk share the cores; with the echo: echo and wrk"
    )


def _secured(stack: ExitStack, folder: Path, fleet: Fleet, targets: Sequence[Target]) -> Mapping[str, Target]:
    """Return a secured twin of each target of the fleet, by the target's name, on the same Kafka."""
    gateway, producer, key = secured.start(stack, folder, fleet.servers.kafka, _REGION)
    pids = {**fleet.pids, "gateway": gateway.pid, "producer": producer.pid}
    return {
        target.name: replace(
            target,
            name=f"{target.name}, secured",
            url=target.url.replace(fleet.gateway.url, gateway.url),
            pids=pids,
            key=key,
        )
        for target in targets
    }


async def start(stack: ExitStack) -> Fleet:
    """Run Kafka, a producer and a gateway until `stack` is closed."""
    servers = stack.enter_context(stage("kafka"))
    await recreate_topics(servers.kafka, [LOGS, DEAD_LETTERS], PARTITIONS)
    producer = stack.enter_context(
        module("producer", free_port(), PRODUCER_REGION=_REGION, PRODUCER_KAFKA_BOOTSTRAP_SERVERS=servers.kafka)
    )
    gateway = stack.enter_context(module("gateway", free_port(), GATEWAY_REGIONS=f"{_REGION}={producer.internal_url}"))
    return Fleet(servers, gateway, producer)


def _echo() -> AbstractContextManager[Service]:
    port = free_port()
    uvicorn = ["-m", "uvicorn", "bench.echo:app", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    return service("echo", [*uvicorn, "--no-access-log", "--log-level", "warning"], port)


def _nginx(stack: ExitStack, folder: Path, producer: Service) -> Service | None:
    # Debian keeps it where only root looks.
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        return None
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, port=port, producer=producer.url.rpartition(":")[2]))
    return stack.enter_context(service("nginx", [nginx, "-c", str(configuration), "-p", str(folder)], port))


async def _measure(report: Report, target: Target, seconds: int, _: int) -> float:
    send = partial(load, target.url, target.form, connections=target.connections, key=target.key)
    await asyncio.to_thread(send, seconds=_WARM_UP_S)
    begins = {} if target.kafka is None else await settled_ends(target.kafka)
    meter = Meter(target.pids)
    sent = await asyncio.to_thread(send, seconds=seconds)
    cpu_s = {**meter.seconds(), "wrk": sent.cpu_s}
    name, a_request = target.name, 1 if target.form == "single" else BATCH
    acknowledged = (sent.requests - sent.refused) * a_request
    rate = sent.rate * a_request
    report.add(name, "events/s", rate)
    report.add(f"p99 of {name}", "ms", sent.p99_ms)
    for process, used_s in cpu_s.items():
        report.add(f"CPU, {process}, {name}", "s per 1,000 events", used_s * 1000 / max(1, acknowledged))
    expect_answers(report, name, sent)
    if target.kafka is not None:
        records, ids = await read_ids(target.kafka, begins)
        report.expect(records >= acknowledged, f"{name}: {acknowledged - records:,} acknowledged events not in Kafka")
        # Requests in flight when wrk ended are written, but wrk does not count them.
        most = acknowledged + target.connections * a_request
        report.expect(records <= most, f"{name}: {records - acknowledged:,} records more than acknowledged")
        report.expect(len(ids) == records, f"{name}: {records - len(ids):,} records with the id of another one")
    return rate


def expect_answers(report: Report, name: str, sent: Load) -> None:
    """Expect that everything was answered with 2xx."""
    report.expect(sent.requests > 0, f"{name}: no answers")
    report.expect(sent.refused == 0, f"{name}: {sent.refused:,} of {sent.requests:,} answers were not 2xx")
    report.expect(sent.broken == 0, f"{name}: {sent.broken:,} connections or answers broke")


async def _look_for_each(report: Report, target: Target, kafka: str, acknowledged: Path) -> None:
    begins = await settled_ends(kafka)
    await asyncio.to_thread(
        load,
        target.url,
        target.form,
        connections=target.connections,
        seconds=3,
        acknowledged=acknowledged,
        key=target.key,
    )
    # The end of wrk may have cut the last line.
    lines = (await asyncio.to_thread(acknowledged.read_bytes)).split(b"\n")[:-1]
    promised = set(lines)
    _, ids = await read_ids(kafka, begins)
    name = target.name
    report.expect(bool(promised), f"{name}: nothing was acknowledged")
    report.expect(promised <= ids, f"{name}: {len(promised - ids):,} acknowledged ids are not in Kafka")
    report.notes.append(f"{name}: {len(promised & ids):,} of {len(promised):,} acknowledged ids were found in Kafka")
