"""
Spans of traced events, for an OpenTelemetry collector. An option: `pip install .[otel]`, and an endpoint.

Only events that came with a traceparent have spans: we continue traces, we never start one. Wrappers around the ports make
the spans (`gateway/traced.py`, `producer/traced.py`, `consumer/traced.py`). They exist only when there is an endpoint:
without one nothing is wrapped, nothing is imported, and no event is checked.
"""

import asyncio

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

# A collector that is away must delay neither the work nor the end of the process.
EXPORT_TIMEOUT_MS: Final = 2000


class Span:
    """
    One step of one event.

    Attributes:
        traceparent: For the next service.
    """

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: "OtelSpan", came_with: bytes) -> None:
        self._span = span
        context = span.get_span_context()
        # A trace that is not sampled gets no span: the next service receives the traceparent that came.
        self.traceparent = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()
            if span.is_recording()
            else came_with
        )

    def end(self, *, error: str | None = None, at_us: int | None = None, **attributes: str | int | bool) -> None:
        """Say what became of it, at a time in microseconds since 1970 or now."""
        for name, value in attributes.items():
            self._span.set_attribute(f"log.{name}", value)
        if error is not None:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 - optional

            self._span.set_status(StatusCode.ERROR, error[:200])
        self._span.end(None if at_us is None else at_us * 1000)


class Spans:
    """
    Begins spans.

    Args:
        tracer: OpenTelemetry's.
    """

    def __init__(self, tracer: "Tracer") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - optional

        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, traceparent: bytes, *, at_us: int | None = None, **attributes: str | int | bool) -> Span:
        """Begin a step that follows `traceparent`, at a time in microseconds since 1970 or now."""
        span = self._tracer.start_span(
            name,
            context=self._propagator.extract({"traceparent": traceparent.decode()}),
            attributes={f"log.{key}": value for key, value in attributes.items()},
            start_time=None if at_us is None else at_us * 1000,
        )
        return Span(span, traceparent)


@asynccontextmanager
async def open_spans(
    endpoint: str, *, service: str, region: str = "", exporter: "SpanExporter | None" = None
) -> AsyncIterator[Spans | None]:
    """
    Connect to the collector while inside, and send the remaining spans at the end. None for the endpoint `none`.

    Args:
        endpoint: OTLP over HTTP, like `http://collector:4318/v1/traces`.
        service: The process' name in the traces.
        region: Its region, if it has one.
        exporter: Replaces the network.
    """
    if endpoint == "none":
        yield None
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(
        resource=Resource.create({"service.name": service} | ({"cloud.region": region} if region else {})),
        shutdown_on_exit=False,
    )
    send = exporter or OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT_MS / 1000)
    provider.add_span_processor(BatchSpanProcessor(send, export_timeout_millis=EXPORT_TIMEOUT_MS))
    try:
        yield Spans(provider.get_tracer("multi-region-logs"))
    finally:
        await asyncio.to_thread(provider.shutdown)
