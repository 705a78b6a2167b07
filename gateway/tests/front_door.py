"""What shippers send, one way a protocol: the tests of the ten rules are the same for all of them."""

import json

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cramjam
import httpx

from gateway.protocols import loki_pb2, otlp_pb2
from shared.event.sealed import SealedEvent
from shared.ingest.protocol import Reading, Submission

START_NS: Final = 1_795_700_000_000_000_000
FINE_NS: Final = 1_795_700_000_123_456_789


@dataclass(frozen=True, slots=True)
class Line:
    """A record: what it says and when."""

    message: str
    time_ns: int = FINE_NS


@dataclass(frozen=True, slots=True)
class Way:
    """
    A protocol, as its clients speak it.

    Attributes:
        name: The protocol's in metrics.
        path: Where requests go.
        headers: That they carry.
        write: Makes the body of some records of one source.
        unreadable: Bodies that are none.
        error_type: Content type of errors.
        success: Status, content type and a body's beginning that say that all is stored.
        method: Theirs.
    """

    name: str
    path: str
    headers: Mapping[str, str]
    write: Callable[[Sequence[Line]], bytes]
    unreadable: Sequence[bytes]
    error_type: str
    success: tuple[int, str | None, bytes]
    method: str = "POST"

    def request(self, *lines: Line, **headers: str) -> dict[str, Any]:
        """Return httpx's arguments for a request with these records."""
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return {"method": self.method, "url": self.path, "headers": sent, "content": self.write(lines)}


def drained(reading: Reading) -> tuple[list[SealedEvent], Submission]:
    """Return all events of a body that is being read, as a gateway would make them durable, and what it answers from."""
    events: list[SealedEvent] = []
    while True:
        try:
            portion = next(reading)
        except StopIteration as done:
            submission: Submission = done.value
            return [*events, *submission.events], submission
        assert not callable(portion)
        events += portion or []


def otlp_json(lines: Sequence[Line]) -> bytes:
    """Return an ExportLogsServiceRequest in JSON."""
    records = [
        {"timeUnixNano": str(line.time_ns), "severityNumber": 9, "body": {"stringValue": line.message}}
        if line.time_ns
        else {"severityNumber": 9, "body": {"stringValue": line.message}}
        for line in lines
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]}
    logs = {"resource": resource, "scopeLogs": [{"scope": {"name": "app"}, "logRecords": records}]}
    return json.dumps({"resourceLogs": [logs]}).encode()


def otlp_protobuf(lines: Sequence[Line]) -> bytes:
    """Return the same in Protocol Buffers."""
    resource = otlp_pb2.Resource()
    resource.attributes.add(key=b"service.name").value.string_value = b"checkout"
    request = otlp_pb2.LogsRequest()
    logs = request.resource_logs.add(resource=resource.SerializeToString())
    scope = logs.scope_logs.add(scope=otlp_pb2.Scope(name=b"app").SerializeToString())
    for line in lines:
        record = otlp_pb2.LogRecord(time_unix_nano=line.time_ns, severity_number=9)
        record.body.string_value = line.message.encode()
        scope.log_records.append(record.SerializeToString())
    return bytes(request.SerializeToString())


def loki_json(lines: Sequence[Line]) -> bytes:
    """Return a push request in JSON."""
    values = [[str(line.time_ns) if line.time_ns else None, line.message] for line in lines]
    return json.dumps({"streams": [{"stream": {"service_name": "checkout"}, "values": values}]}).encode()


def loki_protobuf(lines: Sequence[Line]) -> bytes:
    """Return the same in Protocol Buffers, as a block of snappy."""
    entries = []
    for line in lines:
        entry = loki_pb2.Entry(line=line.message.encode())
        if line.time_ns:
            entry.timestamp.seconds, entry.timestamp.nanos = divmod(line.time_ns, 10**9)
        entries.append(entry.SerializeToString())
    stream = loki_pb2.Stream(labels=b'{service_name="checkout"}', entries=entries)
    request = loki_pb2.PushRequest(streams=[stream.SerializeToString()])
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def bulk(lines: Sequence[Line]) -> bytes:
    """Return a bulk request."""
    written = []
    for line in lines:
        time: dict[str, Any] = {"@timestamp": line.time_ns} if line.time_ns else {}
        document = time | {"message": line.message, "service": {"name": "checkout"}, "log": {"level": "info"}}
        written += [b'{"create":{"_index":"logs"}}', json.dumps(document).encode()]
    return b"\n".join(written) + b"\n"


def ndjson(lines: Sequence[Line]) -> bytes:
    """Return lines as pino writes them."""
    return b"".join(
        json.dumps(({"time": line.time_ns} if line.time_ns else {}) | {"level": 30, "msg": line.message}).encode()
        + b"\n"
        for line in lines
    )


def hec(lines: Sequence[Line]) -> bytes:
    """Return events as Splunk's clients send them: with nothing in between."""
    return b"".join(
        json.dumps(
            {"event": line.message, "source": "checkout", "host": "till-1"}
            | ({"time": _seconds(line.time_ns)} if line.time_ns else {})
        ).encode()
        for line in lines
    )


def lines(number: int, **changes: Any) -> list[Line]:
    """Return so many lines, each with its own message."""
    return [Line(f"message {index}", **changes) for index in range(number)]


async def send(client: httpx.AsyncClient, way: Way, *sent: Line, **headers: str) -> httpx.Response:
    """Send lines in one request of a protocol."""
    return await client.request(**way.request(*sent, **headers))


def _seconds(time_ns: int) -> str:
    return f"{time_ns // 10**9}.{time_ns % 10**9:09d}"


_TEXT: Final = "text/plain; charset=utf-8"

WAYS: Final = (
    Way(
        "loki",
        "/loki/api/v1/push",
        {"Content-Type": "application/json"},
        loki_json,
        [b"", b"{", b"[]", b"{}", b'{"streams":1}', b'{"streams":[{]}', b'{"streams":[]} x'],
        _TEXT,
        (204, None, b""),
    ),
    Way(
        "loki",
        "/loki/api/v1/push",
        {"Content-Type": "application/x-protobuf"},
        loki_protobuf,
        [b"", b"text", loki_protobuf([Line("m")])[:-1], bytes(cramjam.snappy.compress_raw(b"\x0a\x05abc"))],
        _TEXT,
        (204, None, b""),
    ),
    Way(
        "bulk",
        "/_bulk",
        {"Content-Type": "application/x-ndjson"},
        bulk,
        [b"", b"\n", b"nonsense\n", b"{}\n{}\n", bulk([Line("m")]) + b'{"message":"x"}\n'],
        "application/json",
        (200, "application/json", b'{"took":0,"errors":false,"items":[{"create":{"_index":"logs",'),
        "PUT",
    ),
    Way(
        "ingest",
        "/ingest",
        {"Content-Type": "application/x-ndjson"},
        ndjson,
        [b"", b" \n", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"],
        "application/problem+json",
        (200, "application/json", b'{"accepted":'),
    ),
    Way(
        "hec",
        "/services/collector/event",
        {"Authorization": "Splunk 4c1b", "Content-Type": "application/x-www-form-urlencoded"},
        hec,
        [b"", b" \n", b"[]", b"text", b"5", b'{"event":1', b'{"event":1}}', b'{"event":1}x', b"[1", b"\x1f\x8b\x08"],
        "application/json",
        (200, "application/json", b'{"text":"Success","code":0}'),
    ),
    Way(
        "hec",
        "/services/collector/raw",
        {},
        ndjson,
        [b"", b" \n", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"],
        "application/json",
        (200, "application/json", b'{"text":"Success","code":0}'),
    ),
    Way(
        "otlp",
        "/v1/logs",
        {"Content-Type": "application/json"},
        otlp_json,
        [b"", b"[]", b'"text"', b'{"resourceLogs":5}', b'{"resourceLogs":[{]}', b'{"resourceLogs":[]} x'],
        "application/json",
        (200, "application/json", b"{}"),
    ),
    Way(
        "otlp",
        "/v1/logs",
        {"Content-Type": "application/x-protobuf"},
        otlp_protobuf,
        [b"\x0a", b"\x0a\x05abc", b"text", otlp_protobuf([Line("m")])[:-1]],
        "application/x-protobuf",
        (200, "application/x-protobuf", b""),
    ),
)
NAMES: Final = [f"{way.name} {way.error_type.rpartition('/')[2]}" for way in WAYS]
