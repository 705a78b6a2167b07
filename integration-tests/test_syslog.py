"""Syslog from util-linux' logger and from rsyslog, through a gateway into a real Kafka: plain and by TLS, while a region is away."""

import asyncio
import ssl
import subprocess

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from served import both_served, bound, served
from surroundings import read_all

from clients.rsyslog import TLS, rsyslog
from gateway.app import create_app as create_gateway
from gateway.listeners.syslog import SyslogDoor
from gateway.settings import GatewaySettings
from producer.app import create_app as create_producer
from producer.app import create_internal_app as create_internal_producer
from producer.settings import ProducerSettings
from shared.event.model import LogRecord
from shared.event.opened import decode_record
from shared.process.http_client import http_client
from shared.wire.regions import LOGS
from testbed.patience import eventually, patience
from testbed.server import free_port, recreate_topics

pytestmark = pytest.mark.services

COUNT: Final = 2_000
TEXT: Final = "record {number}: Grüße ☃"


@dataclass
class Gateway:
    """
    A gateway that takes syslog.

    Attributes:
        port: Where.
        address: Of its HTTP.
        region: Address of its region's producer, internal.
    """

    port: int
    address: str
    kafka: str
    region: int
    stack: AsyncExitStack

    async def region_comes(self) -> None:
        """Start the region's producer."""
        settings = ProducerSettings(region="region-a", kafka_bootstrap_servers=self.kafka)
        apps = create_producer(settings), create_internal_producer()
        [public, internal] = apps
        await self.stack.enter_async_context(both_served(public, internal, internal_at=bound(self.region)))
        client = await self.stack.enter_async_context(http_client(10))

        async def ready() -> bool:
            return (await client.get(f"{self.address}/ready")).is_success

        await eventually(ready, "the gateway's region is ready", within_s=60)

    async def stored(self, number: int) -> list[LogRecord]:
        """Return the events in Kafka, once there are so many."""

        async def all_of_them() -> list[LogRecord]:
            events = [decode_record(record.value) for record in await read_all(self.kafka, LOGS)]
            return events if len(events) >= number else []

        found: list[LogRecord] = await eventually(all_of_them, f"{number} events are stored", within_s=60, every_s=1)
        return found


@asynccontextmanager
async def gateway(kafka: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Gateway]:
    await recreate_topics(kafka, [LOGS])
    at, region = bound(), free_port()
    # This machine may be busy with the clients: that is no reason to give the producer up.
    settings = GatewaySettings(
        regions=f"region-a=http://127.0.0.1:{region}", attempt_timeout_ms=60_000, health_timeout_ms=60_000
    )
    async with AsyncExitStack() as stack:
        app = create_gateway(settings, syslog=SyslogDoor([at], tls, 10))
        address = await stack.enter_async_context(served(app))
        yield Gateway(at.getsockname()[1], address, kafka, region, stack)


def numbers(events: Sequence[LogRecord]) -> Counter[int]:
    return Counter(int(event.message.partition(":")[0].removeprefix("record ")) for event in events)


async def run(*command: str, sent: str = "") -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(patience(60)):
        _, said = await process.communicate(sent.encode())
    assert process.returncode == 0, said


@pytest.mark.parametrize(
    "options",
    [("--rfc5424", "--octet-count"), ("--rfc5424",), ("--rfc3164",), ("--rfc3164", "--octet-count")],
    ids=["5424-counted", "5424-lines", "3164-lines", "3164-counted"],
)
async def test_each_message_of_logger_is_an_event_with_its_fields(kafka: str, options: Sequence[str]) -> None:
    async with gateway(kafka) as here:
        await here.region_comes()
        lines = "".join(f"{TEXT.format(number=number)}\n" for number in range(100))
        to = ("--server", "127.0.0.1", "--port", str(here.port), "--tcp")
        await run("logger", *to, *options, "--tag", "checkout", "--id=4711", "--priority", "local3.err", sent=lines)
        events = await here.stored(100)

    assert numbers(events) == Counter(range(100))
    for event in events:
        assert (event.service_name, event.level) == ("checkout", "ERROR")
        assert (event.attributes["facility"], event.attributes["procid"]) == ("local3", "4711")
        assert event.message == TEXT.format(number=int(event.message.split()[1].rstrip(":")))
        assert event.attributes["host"]
    assert len({event.correlation_id for event in events}) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*make, *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Return the folder of a file of lines to send."""
    (tmp_path / "lines").write_text("".join(f"{TEXT.format(number=number)}\n" for number in range(COUNT)))
    return tmp_path


@pytest.mark.parametrize(
    ("framing", "template"),
    [("octet-counted", "RSYSLOG_SyslogProtocol23Format"), ("traditional", "RSYSLOG_ForwardFormat")],
)
async def test_what_rsyslog_sends_while_the_region_is_away_arrives_once_it_is_there(
    kafka: str, lines: Path, framing: str, template: str
) -> None:
    async with gateway(kafka) as here, rsyslog(lines, here.port, framing=framing, template=template):
        client = await here.stack.enter_async_context(http_client(10))

        async def connected() -> bool:
            return "gateway_syslog_connections 1.0" in (await client.get(f"{here.address}/metrics")).text

        await eventually(connected, "rsyslog is connected", within_s=30)
        await here.region_comes()
        events = await here.stored(COUNT)

    assert numbers(events) == Counter(range(COUNT))
    assert {(event.service_name, event.level, event.attributes["facility"]) for event in events} == {
        ("shop", "WARN", "local0")
    }
    # One file of one process, so one key, and its order.
    assert len({event.correlation_id for event in events}) == 1
    assert [event.message for event in events] == [TEXT.format(number=number) for number in range(COUNT)]


async def test_rsyslog_sends_by_tls_to_the_name_that_the_certificate_has(
    kafka: str, lines: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    authority = f'defaultNetstreamDriverCAFile="{cert}"'
    async with gateway(kafka, context) as here:
        await here.region_comes()
        async with rsyslog(lines, here.port, authority=authority, tls=TLS):
            events = await here.stored(COUNT)

    assert numbers(events) == Counter(range(COUNT))
