"""Gateway and producer as clients of other make see them: real clients, on real sockets, with Kafka played."""

import asyncio
import json

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from served import served

from gateway.app import create_app as create_gateway
from gateway.tests.fleet import FakeProducer, producers
from gateway.tests.fleet import settings as gateway_settings
from producer.app import create_app as create_producer
from producer.settings import ProducerSettings
from producer.tests.fakes import FakeKafka
from shared.event.opened import decode_record
from testbed.patience import eventually

# Here, because Java is needed for Kafka as well.
pytestmark = pytest.mark.services

CLIENT = Path(__file__).with_name("DoorClient.java")
EVENT = {"serviceName": "curl", "level": "critical", "message": "m", "correlationId": "c"}


class Door:
    """A gateway and a producer, and what came through them."""

    def __init__(self, gateway: str, producer: str, regions: dict[str, FakeProducer], kafka: FakeKafka) -> None:
        self.urls = [gateway, producer]
        self._regions = regions
        self._kafka = kafka

    def messages(self) -> list[list[str]]:
        """The messages that each of the two took."""
        through_gateway = [event.message for region in self._regions.values() for event in region.written]
        return [through_gateway, [decode_record(value).message for _, value in self._kafka.written]]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    regions, kafka = producers(), FakeKafka()
    settings = ProducerSettings(region="region-a", kafka_bootstrap_servers="kafka.test:9092")
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(served(create_gateway(gateway_settings(regions), transports=regions)))
        producer = await stack.enter_async_context(served(create_producer(settings, kafka.connect)))

        async def ready() -> bool:
            status, _ = await run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{producer}/ready")
            return status == "200"

        await eventually(ready, "the producer is ready")
        yield Door(gateway, producer, regions, kafka)


async def run(*command: str) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode(), err.decode()


async def test_a_java_client_that_sets_nothing_is_served(door: Door, tmp_path: Path) -> None:
    """It offers `Upgrade: h2c` with its first request, and sends that request's body with it."""
    await run("javac", "-d", str(tmp_path), str(CLIENT))

    out, _ = await run("java", "-cp", str(tmp_path), "DoorClient", *door.urls)

    assert [line.split()[0] for line in out.splitlines()] == ["202"] * 12, out
    sent = ["length", "chunked", "again", *["length"] * 2, *["chunked"] * 2, *["again"] * 2]
    assert door.messages() == [sent, sent]


@pytest.mark.parametrize("how", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]])
async def test_curl_that_offers_http_2_is_served(door: Door, how: list[str]) -> None:
    for url in door.urls:
        for path, body in (("/api/logs", EVENT), ("/api/logs/batch", [EVENT, EVENT])):
            out, said = await run(
                *(
                    "curl",
                    "--http2",
                    "-sv",
                    *how,
                    "-H",
                    "Content-Type: application/json",
                    "-w",
                    "\n%{http_code} %{http_version}",
                ),
                *("-d", json.dumps(body), url + path),
            )
            assert out.splitlines()[-1] == "202 1.1", out
            assert "> Upgrade: h2c" in said

    assert [len(messages) for messages in door.messages()] == [3, 3]


async def test_what_is_asked_with_get_may_be_asked_with_head(door: Door) -> None:
    gateway, producer = door.urls
    for url in (
        *(gateway + path for path in ("/health", "/ready", "/metrics", "/docs", "/openapi.json", "/api/replication")),
        *(producer + path for path in ("/health", "/ready", "/metrics", "/docs", "/openapi.json")),
    ):
        status, _ = await run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url)
        out, _ = await run("curl", "-sI", "-w", "%{http_code} %{size_download}", url)
        assert out.splitlines()[-1] == f"{status} 0"
        assert status == "200"
