"""The consumer's spans, around the store in memory."""

from uuid import UUID

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from consumer.envelope import Lateness, Row
from consumer.ports import Progress
from consumer.tests.fakes import MemoryDatabase, MemoryStore
from consumer.tests.strategies import OWN, an_envelope
from consumer.traced import TracedStore
from shared.process.spans import open_spans
from shared.tests.test_spans import SOMEWHERE, TRACEPARENT


async def test_each_traced_event_is_a_span_from_its_receipt_to_its_commit() -> None:
    exporter = InMemorySpanExporter()
    plain = an_envelope(1, time_us=10)
    traced, again = (
        an_envelope(n, number=2, time_us=11, received_us=20)._replace(traceparent=TRACEPARENT) for n in (2, 3)
    )
    rows = [Row(plain), Row(traced, Lateness("delayed", 7)), Row(again)]
    async with open_spans(SOMEWHERE, service="consumer", exporter=exporter) as spans:
        assert spans is not None
        store = TracedStore(MemoryStore(MemoryDatabase(), instance="one"), spans, "region-a")
        claim = await store.claim([OWN])
        assert set(await store.store(rows, {OWN: Progress(4, None)}, claim.generation)) == {0, 1}

    first, second = (span for span in exporter.get_finished_spans())
    assert first.start_time == 20_000
    assert first.end_time is not None
    assert first.end_time > 10**18
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == TRACEPARENT[36:52].decode()
    assert first.attributes is not None
    assert second.attributes is not None
    assert (first.attributes["log.late"], first.attributes["log.duplicate"]) == ("delayed", False)
    assert (second.attributes["log.late"], second.attributes["log.duplicate"]) == ("in order", True)
    assert first.attributes["log.eventId"] == str(UUID(bytes=traced.event_id))
