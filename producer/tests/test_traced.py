"""The producer's spans, around the real publisher and a Kafka that behaves as a test says."""

import asyncio

from collections.abc import AsyncIterator, Callable

import pytest

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from producer.connection import Connection
from producer.metrics import ProducerMetrics
from producer.publisher import Publisher
from producer.settings import ProducerSettings
from producer.tests.fakes import FakeKafka
from producer.traced import TracedPublisher
from shared.event.outcome import Accepted
from shared.event.sealed import SealedRecord
from shared.process.metrics import new_registry
from shared.process.spans import open_spans
from shared.tests.test_spans import SOMEWHERE, TRACEPARENT
from testbed.patience import eventually


@pytest.fixture
async def publisher(kafka: FakeKafka, settings: ProducerSettings) -> AsyncIterator[Publisher]:
    metrics = ProducerMetrics(new_registry(), "region-a")
    connection = Connection(kafka.connect, settings, metrics.rebuilds, clock=lambda: asyncio.get_running_loop().time())
    running = asyncio.create_task(connection.run())
    await eventually(lambda: connection.client, "it is connected")
    yield Publisher(connection, settings, metrics)
    running.cancel()
    await asyncio.wait([running])
    await connection.close(0)


async def test_each_traced_record_is_a_span_and_leads_its_copy_in_kafka(
    kafka: FakeKafka, publisher: Publisher, record: Callable[..., SealedRecord]
) -> None:
    exporter = InMemorySpanExporter()
    async with open_spans(SOMEWHERE, service="producer", exporter=exporter) as spans:
        assert spans is not None
        traced = TracedPublisher(publisher, spans)
        outcomes = await traced.publish([record(1), record(2)], [None, TRACEPARENT])
        await traced.publish([record(3)])

    assert outcomes == [Accepted("region-a")] * 2
    [span] = exporter.get_finished_spans()
    assert span.context is not None
    led = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01".encode()
    assert kafka.traceparents == [None, led, None]
    assert span.attributes == {
        "log.eventId": record(2).event_id,
        "log.correlationId": "trace-1",
        "log.region": "region-a",
    }


async def test_a_record_that_is_not_acknowledged_says_so_in_its_span(
    kafka: FakeKafka, publisher: Publisher, record: Callable[..., SealedRecord]
) -> None:
    exporter = InMemorySpanExporter()
    kafka.acknowledges = False
    async with open_spans(SOMEWHERE, service="producer", exporter=exporter) as spans:
        assert spans is not None
        traced = TracedPublisher(publisher, spans)
        await traced.publish([record(1)], [TRACEPARENT])
        given_up = asyncio.create_task(traced.publish([record(2)], [TRACEPARENT]))
        await eventually(lambda: len(kafka.traceparents) == 2, "it was sent")
        given_up.cancel()
        await asyncio.wait([given_up])

    errors = [span.status.description for span in exporter.get_finished_spans()]
    assert "did not acknowledge in time" in str(errors[0])
    assert errors[1] == "given up"
