"""OpenTelemetry's Python SDK against a gateway, a producer and a real Kafka: each record is one, with its fields, whatever fails."""

import asyncio
import time

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import requests

from aiokafka import AIOKafkaConsumer
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from served import both_served, served

from fleet.jobs.topics import TopicSettings, ensure_topics
from gateway.app import create_app as create_gateway
from gateway.settings import GatewaySettings
from producer.app import create_app as create_producer
from producer.app import create_internal_app as create_internal_producer
from producer.settings import ProducerSettings
from shared.event.model import LogRecord as StoredRecord
from shared.event.opened import decode_record
from shared.process.http_client import http_client
from shared.wire.regions import LOGS
from testbed.patience import eventually, patience
from testbed.server import Server

pytestmark = pytest.mark.services

RECORDS = 1000
PARTITIONS = 6


@pytest.fixture
async def gateway(own_kafka: Server) -> AsyncIterator[str]:
    """Return the address of a gateway whose only region is real."""
    await ensure_topics(
        TopicSettings(
            region="region-a",
            regions=("region-a", "region-b"),
            kafka_bootstrap_servers=own_kafka.address,
            partitions=PARTITIONS,
        )
    )
    async with AsyncExitStack() as stack:
        settings = ProducerSettings(region="region-a", kafka_bootstrap_servers=own_kafka.address)
        producer, handoffs = await stack.enter_async_context(
            both_served(create_producer(settings), create_internal_producer())
        )
        client = await stack.enter_async_context(http_client(10))

        async def ready() -> bool:
            return (await client.get(f"{producer}/ready")).status_code == 200

        await eventually(ready, "the producer is ready")
        yield await stack.enter_async_context(served(create_gateway(GatewaySettings(regions={"region-a": handoffs}))))


class Answers(requests.Session):
    """
    A session of the exporter.

    Attributes:
        lost: Of the answers that come, so many are lost on their way back.
        statuses: Of all of them.
    """

    def __init__(self, lost: int = 0) -> None:
        super().__init__()
        self.trust_env = False
        self.lost = lost
        self.statuses: list[int] = []

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Make a request, and lose its answer if one is to be lost."""
        answer = super().send(request, **kwargs)
        self.statuses.append(answer.status_code)
        if self.lost:
            self.lost -= 1
            raise requests.exceptions.ConnectionError
        return answer


def emit(gateway: str, session: Answers, compression: Compression) -> None:
    """Log 1,000 records as a service does, and flush."""
    exporter = OTLPLogExporter(
        endpoint=f"{gateway}/v1/logs", session=session, compression=compression, timeout=patience(10)
    )
    resource = Resource({"service.name": "checkout", "host.name": "node-17", "process.pid": 42})
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("app.orders", "1.2")
    for number in range(RECORDS):
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                observed_timestamp=time.time_ns(),
                severity_number=SeverityNumber.WARN if number % 2 else SeverityNumber.INFO,
                severity_text="WARN" if number % 2 else "INFO",
                body=f"message {number}",
                attributes={"number": number, "ratio": number / 4, "flag": True, "place": "ätsch", "list": ["a", "b"]},
            )
        )
    assert provider.force_flush()
    provider.shutdown()


async def records(kafka: Server, wanted: int) -> list[StoredRecord]:
    """Return all records in Kafka, once there are so many."""
    consumer = AIOKafkaConsumer(
        LOGS, bootstrap_servers=kafka.address, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        found: list[StoredRecord] = []
        async with asyncio.timeout(patience(30)):
            while len(found) < wanted:
                batches = await consumer.getmany(timeout_ms=200)
                found += [decode_record(record.value) for batch in batches.values() for record in batch]
        return found
    finally:
        await consumer.stop()


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_a_thousand_records_are_a_thousand_with_the_right_fields(
    gateway: str, own_kafka: Server, compression: Compression
) -> None:
    session = Answers()
    await asyncio.to_thread(emit, gateway, session, compression)

    assert session.statuses
    assert set(session.statuses) == {200}
    found = await records(own_kafka, RECORDS)
    assert len({(record.event_id, record.timestamp) for record in found}) == len(found) == RECORDS
    by_number = {record.attributes["number"]: record for record in found}
    assert sorted(by_number) == list(range(RECORDS))
    for number, record in by_number.items():
        assert record.message == f"message {number}"
        assert record.level == ("WARN" if number % 2 else "INFO")
        assert record.service_name == "checkout"
        assert record.correlation_id.startswith("checkout/node-17/")
        assert float(record.attributes["ratio"]) == number / 4
        assert (record.attributes["flag"], record.attributes["place"]) == (True, "ätsch")
        assert record.attributes["list"] == '["a","b"]'
        assert (record.attributes["scope.name"], record.attributes["scope.version"]) == ("app.orders", "1.2")
        assert record.attributes["host.name"] == "node-17"


async def test_what_the_sdk_sends_again_because_an_answer_was_lost_is_the_same(gateway: str, own_kafka: Server) -> None:
    session = Answers(lost=1)
    await asyncio.to_thread(emit, gateway, session, Compression.Gzip)

    found = await records(own_kafka, RECORDS + 1)
    assert len(found) > RECORDS
    assert len({(record.event_id, record.timestamp) for record in found}) == RECORDS
    assert {record.message for record in found} == {f"message {number}" for number in range(RECORDS)}
