"""Spans with OpenTelemetry's own exporter in memory; the wrappers are tested beside their services."""

import asyncio
import gzip
import subprocess
import sys

from pathlib import Path

import pytest

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shared.process.settings import SettingsError, TracedSettings
from shared.process.spans import Spans, open_spans

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SOMEWHERE = "http://127.0.0.1:9/v1/traces"


async def test_a_span_follows_what_came_and_leads_whoever_comes_next() -> None:
    exporter = InMemorySpanExporter()
    async with open_spans(SOMEWHERE, service="gateway", region="region-a", exporter=exporter) as spans:
        assert isinstance(spans, Spans)
        first = spans.begin("first", TRACEPARENT, at_us=1_000_000, events=3)
        second = spans.begin("second", first.traceparent)
        second.end(error="refused")
        first.end(at_us=3_500_000)

    inner, outer = exporter.get_finished_spans()
    assert (outer.name, outer.start_time, outer.end_time) == ("first", 1_000_000_000, 3_500_000_000)
    assert outer.attributes == {"log.events": 3}
    assert outer.resource.attributes["service.name"] == "gateway"
    assert outer.resource.attributes["cloud.region"] == "region-a"
    assert outer.parent is not None
    assert f"{outer.parent.trace_id:032x}-{outer.parent.span_id:016x}" == TRACEPARENT[3:52].decode()
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id
    assert (inner.status.status_code, inner.status.description) == (StatusCode.ERROR, "refused")
    assert outer.status.status_code is StatusCode.UNSET


async def test_of_a_trace_that_is_not_sampled_nothing_is_told_and_what_came_goes_on() -> None:
    exporter = InMemorySpanExporter()
    unsampled = TRACEPARENT[:-2] + b"00"
    async with open_spans(SOMEWHERE, service="gateway", exporter=exporter) as spans:
        assert spans is not None
        span = spans.begin("first", unsampled)
        span.end()

    assert span.traceparent == unsampled
    assert exporter.get_finished_spans() == ()


async def test_what_is_told_reaches_a_collector() -> None:
    arrived: list[bytes] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        arrived.append(head.split(b"\r\n")[0] + gzip_or_not(await reader.readexactly(int(length.partition(b":")[2]))))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(collect, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_spans(f"http://127.0.0.1:{port}/v1/traces", service="gateway") as spans:
            assert spans is not None
            spans.begin("gateway accept", TRACEPARENT, region="region-a").end()

    [request] = arrived
    assert request.startswith(b"POST /v1/traces ")
    assert b"gateway accept" in request
    assert bytes.fromhex(TRACEPARENT.split(b"-")[1].decode()) in request


def gzip_or_not(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


async def test_a_collector_that_is_away_holds_nothing_up() -> None:
    async with open_spans(SOMEWHERE, service="gateway") as spans:
        assert spans is not None
        spans.begin("first", TRACEPARENT).end()


async def test_without_an_endpoint_there_is_nothing() -> None:
    async with open_spans("none", service="gateway") as spans:
        assert spans is None


def test_without_an_endpoint_services_import_none_of_it() -> None:
    code = (
        "import sys, gateway.app, producer.app, consumer.app\n"
        # redis looks for its metrics by itself where it is installed.
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter'))])"
    )
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)

    assert said.stdout == "[]\n"


@pytest.mark.parametrize("value", ["collector:4318", "ftp://collector", ""])
def test_an_endpoint_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_OTLP_TRACES_ENDPOINT", value)

    with pytest.raises(SettingsError, match="APP_OTLP_TRACES_ENDPOINT"):
        TracedSettings.read()


def test_without_the_extra_an_endpoint_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_OTLP_TRACES_ENDPOINT", SOMEWHERE)
    assert TracedSettings.read().otlp_traces_endpoint == SOMEWHERE

    monkeypatch.setattr("shared.process.settings.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install \.\[otel\]"):
        TracedSettings.read()
