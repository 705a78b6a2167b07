"""The same log records as requests of each protocol. Pure."""

import json

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import cramjam

from uuid_utils import uuid7

from gateway.protocols import loki_pb2, otlp_pb2

START_NS: Final = 1_795_700_000_123_456_000
SERVICE: Final = "service.name"
_HOST: Final = "host.name"
POD: Final = "k8s.pod.name"
RESOURCE: Final = {
    SERVICE: "checkout",
    _HOST: "node-17",
    POD: "checkout-7d9f8b6c5d-x2x9p",
    "k8s.namespace.name": "shop",
    "k8s.container.name": "app",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.language": "python",
    "deployment.environment.name": "production",
}
_SCOPE: Final = "app.orders"
_SECOND_NS: Final = 1_000_000_000


def message(number: int) -> str:
    """Return what a record says."""
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


def _time_ns(number: int) -> int:
    return START_NS + number * 1000


def ndjson(records: int) -> bytes:
    """Return what a client of our own would send to have the same rows."""
    common = {name: value for name, value in RESOURCE.items() if name != SERVICE}
    return _lines(
        {
            "serviceName": RESOURCE[SERVICE],
            "level": "INFO",
            "message": message(number),
            "correlationId": _trace(number).hex(),
            "timestamp": _iso(number),
            "eventId": str(uuid7()),
            "attributes": {**_own(number), "scope.name": _SCOPE, **common},
        }
        for number in range(records)
    )


def otlp_protobuf(records: int, first: int = 0) -> bytes:
    """Return an export request of OpenTelemetry in Protocol Buffers; its records have numbers from the first one on."""
    request = otlp_pb2.LogsRequest()
    resource = otlp_pb2.Resource()
    for name, value in RESOURCE.items():
        resource.attributes.add(key=name.encode()).value.string_value = value.encode()
    logs = request.resource_logs.add(resource=resource.SerializeToString())
    scope = logs.scope_logs.add(scope=otlp_pb2.Scope(name=_SCOPE.encode()).SerializeToString())
    for number in range(first, first + records):
        record = otlp_pb2.LogRecord(
            time_unix_nano=_time_ns(number),
            observed_time_unix_nano=_time_ns(number),
            severity_number=9,
            severity_text=b"INFO",
            trace_id=_trace(number),
        )
        record.body.string_value = message(number).encode()
        for name, own in _own(number).items():
            value = record.attributes.add(key=name.encode()).value
            if isinstance(own, int):
                value.int_value = own
            else:
                value.string_value = own.encode()
        scope.log_records.append(record.SerializeToString())
    return bytes(request.SerializeToString())


def otlp_json(records: int) -> bytes:
    """Return the same in JSON."""
    logs = [
        {
            "timeUnixNano": str(_time_ns(number)),
            "observedTimeUnixNano": str(_time_ns(number)),
            "severityNumber": 9,
            "severityText": "INFO",
            "body": {"stringValue": message(number)},
            "attributes": _pairs(_own(number)),
            "traceId": _trace(number).hex(),
        }
        for number in range(records)
    ]
    scoped = {"scope": {"name": _SCOPE}, "logRecords": logs}
    document = {"resourceLogs": [{"resource": {"attributes": _pairs(RESOURCE)}, "scopeLogs": [scoped]}]}
    return json.dumps(document, separators=(",", ":")).encode()


def loki_snappy(records: int, *, metadata: bool) -> bytes:
    """Return a push request of Loki as agents send it: one stream, whose labels are the resource."""
    labels = {name.replace(".", "_"): value for name, value in RESOURCE.items()} | {"level": "info"}
    selector = "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
    stream = loki_pb2.Stream(labels=selector.encode())
    for number in range(records):
        entry = loki_pb2.Entry(line=message(number).encode())
        entry.timestamp.seconds, entry.timestamp.nanos = divmod(_time_ns(number), _SECOND_NS)
        if metadata:
            for name, value in {"trace_id": _trace(number).hex(), **_own(number)}.items():
                entry.structured_metadata.add(name=name.replace(".", "_").encode(), value=str(value).encode())
        stream.entries.append(entry.SerializeToString())
    request = loki_pb2.PushRequest(streams=[stream.SerializeToString()])
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def bulk(records: int) -> bytes:
    """Return a request of the bulk API, with documents whose fields are nested as the Elastic Common Schema has them."""
    action = {"create": {"_index": "logs-app.orders-default"}}
    lines: list[Any] = []
    for number in range(records):
        fields = {"log.level": "info", "trace.id": _trace(number).hex(), **_own(number), **RESOURCE}
        lines += [action, {"@timestamp": _iso(number), "message": message(number), **_nested(fields)}]
    return _lines(lines) + b"\n"


def ingest(records: int) -> bytes:
    """Return lines of JSON as a logger writes them, with dotted names."""
    common = {name: value for name, value in RESOURCE.items() if name != SERVICE}
    return _lines(
        {
            "time": _iso(number),
            "level": "info",
            "service": RESOURCE[SERVICE],
            "msg": message(number),
            "trace_id": _trace(number).hex(),
            **_own(number),
            **common,
        }
        for number in range(records)
    )


def hec(records: int) -> bytes:
    """Return events as Splunk's clients send them: with nothing in between, the resource in `fields`."""
    common = {name: value for name, value in RESOURCE.items() if name not in (SERVICE, _HOST)}
    return b"".join(
        json.dumps(
            {
                "time": _seconds(number),
                "host": RESOURCE[_HOST],
                "source": RESOURCE[SERVICE],
                "sourcetype": "_json",
                "event": {
                    "message": message(number),
                    "severity": "info",
                    "trace_id": _trace(number).hex(),
                    **_own(number),
                },
                "fields": common,
            },
            separators=(",", ":"),
        ).encode()
        for number in range(records)
    )


def _seconds(number: int) -> str:
    seconds, nanos = divmod(_time_ns(number), _SECOND_NS)
    return f"{seconds}.{nanos // 1000:06d}"


def _iso(number: int) -> str:
    seconds, nanos = divmod(_time_ns(number), _SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos // 1000:06d}Z"


def _lines(documents: Any) -> bytes:
    return b"\n".join(json.dumps(document, separators=(",", ":")).encode() for document in documents)


def _pairs(values: Mapping[str, Any]) -> Sequence[Any]:
    return [
        {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for name, value in values.items()
    ]


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for name, value in fields.items():
        *above, last = name.split(".")
        place = whole
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return whole
