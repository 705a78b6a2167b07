"""The gateway's spans, around a sink that behaves as a test says."""

from collections.abc import Sequence

import pytest

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.traced import TracedSink
from shared.event.outcome import Accepted, Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.process.spans import open_spans
from shared.tests.test_spans import SOMEWHERE, TRACEPARENT

EVENTS: Sequence[SealedEvent] = ()


class Sink:
    regions: Sequence[str] = ("region-a",)

    def __init__(self, outcome: Outcome | Exception) -> None:
        self.outcome = outcome
        self.traced: list[bytes | None] = []

    async def accept(
        self,
        events: Sequence[SealedEvent],
        region: str | None,
        traceparent: bytes | None = None,
        *,
        hold_s: float | None = None,
    ) -> Sequence[Outcome]:
        self.traced.append(traceparent)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return [self.outcome]


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Accepted("region-a"), None),
        (Refused(503, "no region", retryable=True), "no region"),
        (RuntimeError("bug"), "RuntimeError"),
    ],
)
async def test_a_traced_request_is_a_span_and_its_events_follow_it(
    outcome: Outcome | Exception, error: str | None
) -> None:
    exporter, sink = InMemorySpanExporter(), Sink(outcome)
    async with open_spans(SOMEWHERE, service="gateway", exporter=exporter) as spans:
        assert spans is not None
        traced = TracedSink(sink, spans)
        if isinstance(outcome, Exception):
            with pytest.raises(type(outcome)):
                await traced.accept(EVENTS, "region-a", TRACEPARENT)
        else:
            assert await traced.accept(EVENTS, "region-a", TRACEPARENT) == [outcome]

    [span] = exporter.get_finished_spans()
    assert span.name == "gateway accept"
    assert span.status.description == error
    assert span.context is not None
    assert sink.traced == [f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01".encode()]
    assert traced.regions == sink.regions


async def test_a_request_without_a_trace_passes_untouched() -> None:
    exporter, sink = InMemorySpanExporter(), Sink(Accepted("region-a"))
    async with open_spans(SOMEWHERE, service="gateway", exporter=exporter) as spans:
        assert spans is not None
        await TracedSink(sink, spans).accept(EVENTS, None)

    assert sink.traced == [None]
    assert exporter.get_finished_spans() == ()
