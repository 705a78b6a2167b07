"""
`python -m native.health [--wait SECONDS] NAME=URL ...`: does each part of the fleet work? Exit 0 if all do.

The program asks each part in its own protocol:

* PostgreSQL for a query (`postgresql://`)
* Redis for an answer to PING (`redis://`)
* Kafka for the metadata of a topic (`kafka://host:port/topic`)
* a service for its readiness (`http://`)
* the same by TLS, with the certificate in the folder `--identity` (`rediss://`, `kafkas://`, `https://`)
* MirrorMaker for running tasks, by the metrics of its JMX exporter (`mirror://host:port`)
* another exporter for a series that is zero while its target is away (`exporter://host:port/series`)
"""

import argparse
import asyncio
import logging
import re
import ssl
import sys
import time
import urllib.error
import urllib.request

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from pydantic import TypeAdapter, ValidationError

TIMEOUT_S: Final = 3.0
POLL_PAUSE_S: Final = 0.2
_TASK_STATUS: Final = re.compile(r"^mirrormaker_task_status\{(?P<labels>[^}]*)\} 1(\.0)?$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_READINESS: Final = TypeAdapter(dict[str, object])


class IllError(Exception):
    """A part does not work. The message says why."""


@dataclass(frozen=True, slots=True)
class Report:
    """
    The answer of one part.

    Attributes:
        name: The part.
        ok: Whether it works.
        detail: Its answer, or why it does not work.
    """

    name: str
    ok: bool
    detail: str


class _Identity:
    """By what this program is known to a secured fleet; without it only to what asks for nothing."""

    tls: ssl.SSLContext | None = None

    @classmethod
    def learn(cls, folder: Path) -> None:
        cls.tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        cls.tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")


async def _ask_postgres(url: str) -> str:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S)
    try:
        return f"answers queries, version {await connection.fetchval('SHOW server_version')}"
    finally:
        await connection.close(timeout=TIMEOUT_S)


async def _ask_redis(url: str) -> str:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port, ssl=_Identity.tls if parts.scheme == "rediss" else None
    )
    try:
        writer.write(b"PING\r\n")
        answer = (await reader.readline()).strip()
    finally:
        writer.close()
    # It works, and asks for a name.
    if not answer.startswith((b"+PONG", b"-NOAUTH")):
        raise IllError(f"answers {answer.decode(errors='replace')!r} to PING")
    return "answers PING"


async def _ask_kafka(url: str) -> str:
    parts = urlsplit(url)
    topic = parts.path.removeprefix("/")
    access = {"security_protocol": "SSL", "ssl_context": _Identity.tls} if parts.scheme == "kafkas" else {}
    client = AIOKafkaClient(bootstrap_servers=parts.netloc, request_timeout_ms=int(TIMEOUT_S * 1000), **access)
    try:
        await client.bootstrap()
        metadata = await client.fetch_all_metadata()
    finally:
        await client.close()
    partitions = metadata.partitions_for_topic(topic)
    if not partitions:
        raise IllError(f"has no topic {topic}")
    led = metadata.available_partitions_for_topic(topic)
    if led != partitions:
        raise IllError(f"topic {topic} has partitions without a leader")
    return f"topic {topic} has {len(partitions)} partitions"


def _get(url: str) -> tuple[int, bytes]:
    try:
        # All parts are on this machine, so no proxy is used.
        by_tls = urllib.request.HTTPSHandler(context=_Identity.tls)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), by_tls)
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read()


async def _ask_service(url: str) -> str:
    status, body = await asyncio.to_thread(_get, url)
    try:
        readiness = _READINESS.validate_json(body)
    except ValidationError:
        readiness = {}
    reasons, degraded = (_sentences(readiness.get(key)) for key in ("reasons", "degraded"))
    if status != 200:  # noqa: PLR2004 - HTTP's number
        raise IllError(reasons or f"answers {status}")
    return f"ready, degraded: {degraded}" if degraded else "ready"


def _sentences(value: object) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else ""


def task_states(metrics: str) -> dict[str, str]:
    """Return the state of each MirrorSourceConnector task from the JMX exporter's text, by task number."""
    found = (dict(_LABEL.findall(match["labels"])) for match in _TASK_STATUS.finditer(metrics))
    return {
        labels["task"]: labels["status"].lower()
        for labels in found
        if labels.get("connector") == "MirrorSourceConnector"
    }


async def _ask_mirror(url: str) -> str:
    _, body = await asyncio.to_thread(_get, f"http://{urlsplit(url).netloc}/metrics")
    states = task_states(body.decode())
    if not states:
        raise IllError("has no task yet")
    if set(states.values()) != {"running"}:
        raise IllError("tasks: " + ", ".join(f"{task} {state}" for task, state in sorted(states.items())))
    return f"copies with {len(states)} task{'s' if len(states) > 1 else ''}"


async def _ask_exporter(url: str) -> str:
    parts = urlsplit(url)
    series = parts.path.removeprefix("/")
    _, body = await asyncio.to_thread(_get, f"http://{parts.netloc}/metrics")
    values = re.findall(rf"^{re.escape(series)}(?:\{{[^}}]*\}})? (\S+)$", body.decode(), re.MULTILINE)
    if not values or not all(map(float, values)):
        raise IllError(f"sees nothing: {series} is {', '.join(values) or 'missing'}")
    return "sees what it watches"


_ASK: Final[dict[str, Callable[[str], Awaitable[str]]]] = {
    "postgresql": _ask_postgres,
    "redis": _ask_redis,
    "rediss": _ask_redis,
    "kafka": _ask_kafka,
    "kafkas": _ask_kafka,
    "http": _ask_service,
    "https": _ask_service,
    "mirror": _ask_mirror,
    "exporter": _ask_exporter,
}


async def examine(name: str, url: str) -> Report:
    """Ask one part, for at most a few seconds."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return Report(name, ok=True, detail=await _ASK[urlsplit(url).scheme](url))
    except TimeoutError:
        return Report(name, ok=False, detail=f"no answer within {TIMEOUT_S:g} s")
    except (IllError, OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        # urllib wraps the socket's error.
        cause = getattr(exc, "reason", exc)
        if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
            return Report(name, ok=False, detail="not running")
        return Report(name, ok=False, detail=str(cause) or type(exc).__name__)


async def examine_all(parts: Sequence[tuple[str, str]], wait_s: float) -> list[Report]:
    """Ask all parts at once. Repeat that for those that do not work, until all do or the time is over."""
    deadline = time.monotonic() + wait_s
    reports: dict[str, Report] = {}
    while True:
        ill = [(name, url) for name, url in parts if name not in reports or not reports[name].ok]
        reports |= {report.name: report for report in await asyncio.gather(*(examine(*part) for part in ill))}
        if all(report.ok for report in reports.values()) or time.monotonic() >= deadline:
            return [reports[name] for name, _ in parts]
        await asyncio.sleep(POLL_PAUSE_S)


def main() -> int:
    """Print one line a part. With `--wait`, print none about healthy ones."""
    arguments = argparse.ArgumentParser(prog="python -m native.health")
    arguments.add_argument("--wait", type=float, default=0, metavar="SECONDS")
    arguments.add_argument("--identity", type=Path, metavar="FOLDER")
    arguments.add_argument("parts", nargs="+", metavar="NAME=URL")
    asked = arguments.parse_args()
    if asked.identity is not None:
        _Identity.learn(asked.identity)
    # The Kafka client logs each refused connection. This program reports that itself.
    logging.disable()
    parts = [(name, url) for name, _, url in (part.partition("=") for part in asked.parts)]
    reports = asyncio.run(examine_all(parts, asked.wait))
    for report in reports:
        if not (asked.wait and report.ok):
            sys.stdout.write(f"{report.name:<18} {'ok ' if report.ok else 'ILL'}  {report.detail}\n")
    return 0 if all(report.ok for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
