"""
Clients that speak a log shipper's protocol: OTLP/HTTP, Loki's push API, Elasticsearch's bulk API. PURE.

Such a client knows no identity of its records. It sends the same bytes again until it is told that all of them are durable.
Each record has a mark among its attributes, by which the checker knows it. There has to be one row of each mark, whichever of
the ways to an identity its record took: an id of its own, a fine time, or a coarse one and its place in the request.

Records without a time are sent once, in requests of their own, since a retry of them is only known to the same gateway.
"""

import gzip

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from pydantic_core import from_json, to_json

from chaos.ledger import Outcome, Sent, digest
from chaos.protocols import MARK, OWN, ClientProtocol, Drawn, Made, Request, Told

SCOPE: Final = "load-test"
HOST: Final = "load-test-host"
INDEX: Final = "load-test"
_US_NS: Final = 1000
_MS_US: Final = 1000
_WAYS: Final = 3
_CUT: Final = 9
_SEVERITIES: Final = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}


class _Shipped(ABC):
    """What the three have in common: the time and the attributes of a record, and answers for a whole request."""

    is_whole = True
    tells_regions = False
    knows_ids = True
    success: int = HTTPStatus.OK

    def make(self, drawn: Drawn) -> Made:
        """Return a record, and the row that it has to become."""
        number = drawn.event_id.int
        own_id, time_ns, time_us = "", None, drawn.time_us
        if time_us is not None:
            way = number % _WAYS
            if way == 0 and self.knows_ids:
                own_id = drawn.event_id.hex
                time_ns = time_us * _US_NS
            elif way == 1:
                time_us -= time_us % _MS_US
                time_ns = time_us * _US_NS
            else:
                time_ns = time_us * _US_NS + 1 + number % (_US_NS - 1)
        own = {**drawn.attributes, MARK: drawn.event_id.hex}
        trace = sha256(drawn.correlation_id.encode()).hexdigest()[:32]
        expected = self.attributes(drawn, own, trace, own_id)
        if time_ns is not None and time_ns % _US_NS:
            expected["time_unix_nano"] = str(time_ns)
        message = self.message(drawn.message)
        hashed = digest(drawn.service, drawn.level, message, trace, expected)
        body = _Body(drawn, own, trace, own_id, time_ns)
        return Made(Sent(drawn.event_id.bytes, time_us, hashed, trace), body, drawn.valid, time_us is not None)

    def message(self, sent: str) -> str:
        """Return what a row has of a message."""
        return sent

    @abstractmethod
    def attributes(self, drawn: Drawn, own: Mapping[str, Any], trace: str, own_id: str) -> dict[str, Any]:
        """Return the attributes that the row has to have, apart from those about its time."""

    def told(self, status: int, content: bytes, events: Sequence[Made]) -> Told | None:
        """Return one outcome for all: whether all are durable, or whether the request could not be read."""
        if status == self.success:
            self.check(content, events)
            return Told([Outcome.ACKNOWLEDGED] * len(events), [None] * len(events))
        if status == HTTPStatus.BAD_REQUEST:
            return Told([Outcome.REFUSED] * len(events), [None] * len(events))
        return None

    def check(self, content: bytes, events: Sequence[Made]) -> None:
        """
        Check the body of an answer that says that all is durable.

        Raises:
            ValueError: It says something else as well.
        """
        if content:
            raise ValueError(f"an empty answer was due, not {content[:300]!r}")


class _Body:
    """A record as drawn, with what its protocol adds."""

    __slots__ = ("drawn", "own", "own_id", "time_ns", "trace")

    def __init__(self, drawn: Drawn, own: Mapping[str, Any], trace: str, own_id: str, time_ns: int | None) -> None:
        self.drawn = drawn
        self.own = own
        self.trace = trace
        self.own_id = own_id
        self.time_ns = time_ns


class Otlp(_Shipped):
    """OTLP/HTTP: half of the requests in Protocol Buffers, half in JSON, and of both half compressed."""

    name = "otlp"

    def attributes(self, drawn: Drawn, own: Mapping[str, Any], trace: str, own_id: str) -> dict[str, Any]:
        """Return the record's own, those of its scope and of its resource."""
        expected = {**own, "scope.name": SCOPE, "host.name": HOST}
        return expected | {"log.record.uid": own_id} if own_id else expected

    def request(self, events: Sequence[Made]) -> Request:
        """Return an export request."""
        number = events[0].sent.event_id[-1]
        is_json = bool(number & 1)
        content = _otlp_json(events) if is_json else _otlp_protobuf(events)
        kind = "application/json" if is_json else "application/x-protobuf"
        return _posted("/v1/logs", kind, _cut_off(content, events), compressed=bool(number & 2))

    def check(self, content: bytes, events: Sequence[Made]) -> None:
        """An answer in JSON has an empty object. A warning would say that records were repaired."""
        if content not in {b"", b"{}"}:
            raise ValueError(f"nothing was to be repaired or rejected of {len(events)} records: {content[:300]!r}")


def _otlp_protobuf(events: Sequence[Made]) -> bytes:
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add()
    for name, text in _resource(events).items():
        logs.resource.attributes.add(key=name).value.string_value = text
    scoped = logs.scope_logs.add()
    scoped.scope.name = SCOPE
    for event in events:
        body: _Body = event.body
        record = scoped.log_records.add(
            severity_number=_SEVERITIES[body.drawn.level],
            severity_text=body.drawn.level,
            trace_id=bytes.fromhex(body.trace),
        )
        if body.time_ns is not None:
            record.time_unix_nano = body.time_ns
        record.body.string_value = body.drawn.message
        for name, value in _otlp_attributes(body).items():
            _set(record.attributes.add(key=name).value, value)
    return bytes(request.SerializeToString())


def _set(place: AnyValue, value: Any) -> None:
    if isinstance(value, bool):
        place.bool_value = value
    elif isinstance(value, int):
        place.int_value = value
    else:
        place.string_value = value


def _otlp_json(events: Sequence[Made]) -> bytes:
    records = []
    for event in events:
        body: _Body = event.body
        records.append(
            {
                **({} if body.time_ns is None else {"timeUnixNano": str(body.time_ns)}),
                "severityNumber": _SEVERITIES[body.drawn.level],
                "severityText": body.drawn.level,
                "traceId": body.trace,
                "body": {"stringValue": body.drawn.message},
                "attributes": [{"key": n, "value": _any(v)} for n, v in _otlp_attributes(body).items()],
            }
        )
    resource = {"attributes": [{"key": n, "value": _any(v)} for n, v in _resource(events).items()]}
    scoped = {"scope": {"name": SCOPE}, "logRecords": records}
    return to_json({"resourceLogs": [{"resource": resource, "scopeLogs": [scoped]}]})


def _any(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def _resource(events: Sequence[Made]) -> Mapping[str, str]:
    return {"service.name": events[0].body.drawn.service, "host.name": HOST}


def _otlp_attributes(body: _Body) -> Mapping[str, Any]:
    return {**body.own, "log.record.uid": body.own_id} if body.own_id else body.own


class Loki(_Shipped):
    """Loki's push API in JSON: a stream for each level, all else as structured metadata."""

    name = "loki"
    knows_ids = False
    success = HTTPStatus.NO_CONTENT

    def message(self, sent: str) -> str:
        """One end of line at the end belongs to the protocol."""
        return sent.removesuffix("\n").removesuffix("\r") if sent.endswith("\r\n") else sent.removesuffix("\n")

    def attributes(self, drawn: Drawn, own: Mapping[str, Any], trace: str, own_id: str) -> dict[str, Any]:
        """Return metadata and labels, all of which are texts."""
        return {**_metadata(own, trace), "service_name": drawn.service, "level": drawn.level}

    def request(self, events: Sequence[Made]) -> Request:
        """Return a push request."""
        streams: dict[str, list[Any]] = {}
        for event in events:
            body: _Body = event.body
            time = [str(body.time_ns) if body.time_ns is not None else None]
            entry = [*time, body.drawn.message, _metadata(body.own, body.trace)]
            streams.setdefault(body.drawn.level, []).append(entry)
        service = events[0].body.drawn.service
        sent = [{"stream": {"service_name": service, "level": of}, "values": v} for of, v in streams.items()]
        content = _cut_off(to_json({"streams": sent}), events)
        return _posted(
            "/loki/api/v1/push", "application/json", content, compressed=bool(events[0].sent.event_id[-1] & 1)
        )


def _metadata(own: Mapping[str, Any], trace: str) -> dict[str, str]:
    return {
        **{name: value if isinstance(value, str) else str(value).lower() for name, value in own.items()},
        "trace_id": trace,
    }


class Bulk(_Shipped):
    """Elasticsearch's bulk API, with documents as the Elastic Common Schema has them."""

    name = "bulk"

    def attributes(self, drawn: Drawn, own: Mapping[str, Any], trace: str, own_id: str) -> dict[str, Any]:
        """Return all fields that have no place of their own in an event."""
        expected = {**own, "trace.id": trace, "_index": INDEX}
        return expected | {"_id": own_id} if own_id else expected

    def request(self, events: Sequence[Made]) -> Request:
        """Return a bulk request. One that is broken has a line that is no action."""
        lines: list[bytes] = []
        for event in events:
            body: _Body = event.body
            meta = {"_index": INDEX, "_id": body.own_id} if body.own_id else {"_index": INDEX}
            document = {
                **({} if body.time_ns is None else {"@timestamp": _iso(body.time_ns)}),
                "service": {"name": body.drawn.service},
                "log": {"level": body.drawn.level},
                "message": body.drawn.message,
                "trace": {"id": body.trace},
                **body.own,
            }
            lines += [to_json({"create": meta}), to_json(document)]
        if not all(event.valid for event in events):
            lines.append(b'{"create":')
        content = b"\n".join([*lines, b""])
        return _posted(
            "/elastic/_bulk", "application/x-ndjson", content, compressed=bool(events[0].sent.event_id[-1] & 1)
        )

    def check(self, content: bytes, events: Sequence[Made]) -> None:
        """There is an item for each document, all of them created."""
        answer = from_json(content)
        statuses = [item["create"]["status"] for item in answer["items"]]
        if answer["errors"] or statuses != [HTTPStatus.CREATED] * len(events):
            raise ValueError(f"{len(events)} documents were to be created: {content[:300]!r}")


def _iso(time_ns: int) -> str:
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def _cut_off(content: bytes, events: Sequence[Made]) -> bytes:
    """Return a body without its end, if its events may not be accepted."""
    return content if all(event.valid for event in events) else content[:-_CUT]


def _posted(path: str, kind: str, content: bytes, *, compressed: bool) -> Request:
    if compressed:
        return Request(path, {"Content-Type": kind, "Content-Encoding": "gzip"}, gzip.compress(content, 1, mtime=0))
    return Request(path, {"Content-Type": kind}, content)


PROTOCOLS: Final[Mapping[str, ClientProtocol]] = {protocol.name: protocol for protocol in (OWN, Otlp(), Loki(), Bulk())}
