"""
`frontdoor`: what log shippers' protocols cost the gateway, beside its own NDJSON batches.

All of it in one process: the gateway's application, without sockets, and producers that acknowledge at once. Each protocol
brings the same records, and the time is the processor's. `NAME / NDJSON` is how many records of it are taken in the time that
one of our own batch takes; `reading` is the same of the reading alone.
"""

import argparse
import asyncio
import json
import time

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from uuid_utils import uuid7

from bench.report import Report, demand
from bench.rounds import interleave
from gateway.app import create_app
from gateway.protocols import otlp, otlp_pb2
from gateway.settings import GatewaySettings
from shared.event.opened import decode_received
from shared.event.outcome import Accepted
from shared.event.sealed import Intake
from shared.ingest.receipt import Receipt
from shared.ingest.turns import at_once
from shared.wire import handoff

REGION: Final = "region-a"
START_NS: Final = 1_795_700_000_123_456_000
NDJSON: Final = "NDJSON"
RESOURCE: Final = {
    "service.name": "checkout",
    "host.name": "node-17",
    "k8s.pod.name": "checkout-7d9f8b6c5d-x2x9p",
    "k8s.namespace.name": "shop",
    "k8s.container.name": "app",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.language": "python",
    "deployment.environment.name": "production",
}


@dataclass(frozen=True, slots=True)
class Contender:
    """
    A protocol, as one request of it.

    Attributes:
        path: Where it goes.
        kind: Its content type.
        body: Its bytes.
        read: Reads them as the gateway does.
    """

    path: str
    kind: str
    body: bytes
    read: Callable[[bytes], Any]


class Producers(httpx.AsyncBaseTransport):
    """
    A region that acknowledges everything at once.

    Attributes:
        taken: How many events.
        kept: Bodies, while they are to be looked at.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.kept: list[bytes] | None = None
        self._answers: dict[int, bytes] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a hand-off, or a check."""
        if request.url.path == "/ready":
            return httpx.Response(200)
        body = await request.aread()
        events = body.count(b"\n") + (not body.endswith(b"\n"))
        self.taken += events
        if self.kept is not None:
            self.kept.append(body)
        if (answer := self._answers.get(events)) is None:
            answer = self._answers[events] = handoff.encode_outcomes([Accepted(REGION)] * events)
        return httpx.Response(200, content=answer)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--records", type=int, default=2000, help="records of a request (2,000)")
    parser.add_argument("--requests", type=int, default=20, help="requests of a turn (20)")


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    contenders = _contenders(arguments.records)
    producers = Producers()
    settings = GatewaySettings(regions={REGION: "http://region-a.invalid"}, linger_ms=1)
    app = create_app(settings, transports={REGION: producers})
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(app.router.lifespan_context(app))
        for name, contender in contenders.items():
            say(f"checking {name}")
            await _check(app, state, name, contender, producers, arguments.records, report)

        async def turn(name: str) -> tuple[float, float]:
            contender = contenders[name]
            records = arguments.records * arguments.requests
            whole = time.process_time()
            for _ in range(arguments.requests):
                await _post(app, state, contender)
            whole = time.process_time() - whole
            reading = time.process_time()
            for _ in range(arguments.requests):
                contender.read(contender.body)
            reading = time.process_time() - reading
            report.add(name, "us a record", whole / records * 1e6)
            report.add(f"{name}, reading", "us a record", reading / records * 1e6)
            return whole, reading

        takers = {name: (lambda _, name=name: turn(name)) for name in contenders}
        for taken in await interleave(takers, arguments.rounds, say):
            for name in contenders:
                if name != NDJSON:
                    report.add(f"{name} / {NDJSON}", "", taken[NDJSON][0] / taken[name][0])
                    report.add(f"{name} / {NDJSON}, reading", "", taken[NDJSON][1] / taken[name][1])


async def _check(  # noqa: PLR0917
    app: Any, state: Any, name: str, contender: Contender, producers: Producers, records: int, report: Report
) -> None:
    """See that a request's records become as many different events, and say what they said."""
    producers.kept = []
    await _post(app, state, contender)
    bodies, producers.kept = producers.kept, None
    events = [decode_received(line.encoded) for body in bodies for line in at_once(handoff.decode_events(body))]
    identities = {(event.event_id, event.timestamp) for event in events}
    report.expect(len(identities) == records, f"{name}: {len(identities)} of {records} records arrived")
    said = [event.message for event in events]
    report.expect(
        said == [_message(number) for number in range(records)], f"{name}: records arrived changed, or in disorder"
    )
    report.expect(
        all(event.attributes["k8s.pod.name"] == RESOURCE["k8s.pod.name"] for event in events),
        f"{name}: attributes are missing",
    )


async def _post(app: Any, state: Any, contender: Contender) -> None:
    """Make one request, without a server in between."""
    message = {"type": "http.request", "body": contender.body, "more_body": False}
    answered: list[int] = []

    async def receive() -> Mapping[str, Any]:
        return message

    async def send(sent: Mapping[str, Any]) -> None:
        if sent["type"] == "http.response.start":
            answered.append(sent["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": contender.path,
        "query_string": b"",
        "headers": [(b"content-type", contender.kind.encode())],
        "client": ("127.0.0.1", 1),
        "state": state,
    }
    await app(scope, receive, send)
    await asyncio.sleep(0)
    demand(answered[0] in (200, 202, 204), f"{contender.path} answered {answered[0]}")


def _contenders(records: int) -> Mapping[str, Contender]:
    now = datetime.now(UTC)
    logs = otlp.OtlpLogs()

    def read(body: bytes, *, is_json: bool) -> None:
        reading = logs.read(body, Receipt(now, path="/v1/logs"), is_json)
        for _ in reading:  # portions are forgotten, as they are once they are durable
            pass

    protobuf = _protobuf(records)
    return {
        NDJSON: Contender(
            "/api/logs/batch",
            "application/x-ndjson",
            _ndjson(records),
            lambda body: Intake(now, uuid7).seal_lines(body),
        ),
        "OTLP protobuf": Contender(
            "/v1/logs", "application/x-protobuf", protobuf, lambda body: read(body, is_json=False)
        ),
        "OTLP JSON": Contender(
            "/v1/logs", "application/json", _in_json(protobuf), lambda body: read(body, is_json=True)
        ),
    }


def _message(number: int) -> str:
    return f"order {number} was placed by a customer with 3 items in the basket and was paid by card"


def _own(number: int) -> dict[str, Any]:
    return {
        "http.request.method": "GET",
        "http.route": "/api/orders/{id}",
        "user.id": f"u{number % 100}",
        "http.response.status_code": 200,
        "duration_ms": number,
    }


def _trace(number: int) -> bytes:
    return (number // 4 + 1).to_bytes(16, "big")


def _ndjson(records: int) -> bytes:
    """Return what a client of our own would send to have the same rows."""
    common = {name: value for name, value in RESOURCE.items() if name != "service.name"}
    return b"\n".join(
        json.dumps(
            {
                "serviceName": RESOURCE["service.name"],
                "level": "INFO",
                "message": _message(number),
                "correlationId": _trace(number).hex(),
                "timestamp": "2026-11-26T13:33:20.123456Z",
                "eventId": str(uuid7()),
                "attributes": {**_own(number), "scope.name": "app.orders", **common},
            },
            separators=(",", ":"),
        ).encode()
        for number in range(records)
    )


def _protobuf(records: int) -> bytes:
    request = otlp_pb2.LogsRequest()
    resource = otlp_pb2.Resource()
    for name, value in RESOURCE.items():
        resource.attributes.add(key=name.encode()).value.string_value = value.encode()
    logs = request.resource_logs.add(resource=resource.SerializeToString())
    scope = logs.scope_logs.add(scope=otlp_pb2.Scope(name=b"app.orders").SerializeToString())
    for number in range(records):
        time_ns = START_NS + number * 1000
        record = otlp_pb2.LogRecord(
            time_unix_nano=time_ns,
            observed_time_unix_nano=time_ns,
            severity_number=9,
            severity_text=b"INFO",
            trace_id=_trace(number),
        )
        record.body.string_value = _message(number).encode()
        for name, own in _own(number).items():
            value = record.attributes.add(key=name.encode()).value
            if isinstance(own, int):
                value.int_value = own
            else:
                value.string_value = own.encode()
        scope.log_records.append(record.SerializeToString())
    return bytes(request.SerializeToString())


def _in_json(protobuf: bytes) -> bytes:
    """Return the same request as JSON."""
    logs = otlp_pb2.LogsRequest.FromString(protobuf).resource_logs[0]
    described = otlp_pb2.Resource.FromString(logs.resource)
    records = []
    for raw in logs.scope_logs[0].log_records:
        record = otlp_pb2.LogRecord.FromString(raw)
        records.append(
            {
                "timeUnixNano": str(record.time_unix_nano),
                "observedTimeUnixNano": str(record.observed_time_unix_nano),
                "severityNumber": record.severity_number,
                "severityText": record.severity_text.decode(),
                "body": {"stringValue": record.body.string_value.decode()},
                "attributes": _pairs(record.attributes),
                "traceId": record.trace_id.hex(),
            }
        )
    scoped = {"scope": {"name": "app.orders"}, "logRecords": records}
    document = {"resourceLogs": [{"resource": {"attributes": _pairs(described.attributes)}, "scopeLogs": [scoped]}]}
    return json.dumps(document, separators=(",", ":")).encode()


def _pairs(pairs: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "key": pair.key.decode(),
            "value": {"stringValue": pair.value.string_value.decode()}
            if pair.value.HasField("string_value")
            else {"intValue": str(pair.value.int_value)},
        }
        for pair in pairs
    ]
