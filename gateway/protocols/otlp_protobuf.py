"""
OpenTelemetry's logs as Protocol Buffers. Pure.

Each record is read by itself. So a broken one costs only itself, and its bytes as sent are there for its identity.
"""

import base64

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError

from gateway.protocols.attributes import NAMES, text_of
from gateway.protocols.converted import MAX_RECORD_BYTES, Items, unreadable, vast
from gateway.protocols.otlp_pb2 import LogRecord, LogsRequest, Resource, Scope
from gateway.protocols.otlp_record import Described, group, record, vast_group
from gateway.protocols.record import Group, Record, Repair
from gateway.protocols.wire_walk import STEPS, TruncatedError, fields, is_dense, pauses
from shared.wire.problem import BadRequestError

# A larger body, or one of many tiny records, is walked: reading it at once would hold the loop, and take its memory twice.
WALKED_BYTES: Final = 4 * 1024 * 1024

_RESOURCE_LOGS: Final = 1
_DESCRIBED, _PARTS, _SCHEMA = 1, 2, 3
_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8

_request: Final = LogsRequest.FromString
_resource: Final = Resource.FromString
_scope: Final = Scope.FromString
_record: Final = LogRecord.FromString


def read(body: bytes) -> Items:
    """
    Yield all records of a body.

    Raises:
        BadRequestError: It is no request, or it is cut off; nothing was yielded then but pauses.
    """
    try:
        if len(body) > WALKED_BYTES or is_dense(body):
            yield from _walked(body)
        else:
            yield from _parsed(body)
    except (DecodeError, TruncatedError):
        raise BadRequestError("the body is no ExportLogsServiceRequest of Protocol Buffers, or is cut off") from None


def _parsed(body: bytes) -> Items:
    for resource_logs in _request(body).resource_logs:
        resource = _described(resource_logs.resource, resource_logs.schema_url, _resource)
        for scope_logs in resource_logs.scope_logs:
            common = group(resource, _described(scope_logs.scope, scope_logs.schema_url, _scope))
            for raw in scope_logs.log_records:
                yield common, _read(raw)


def _walked(body: bytes) -> Items:
    """Yield the same, without an object for anything that is not needed at the time."""
    for number, begin, end in fields(body, 0, len(body)):
        if number == _RESOURCE_LOGS:
            for part, at, until in _paused(fields(body, begin, end)):
                if part == _PARTS:
                    yield from pauses(fields(body, at, until))
                elif not part:
                    yield None
    for number, begin, end in fields(body, 0, len(body)):
        if number == _RESOURCE_LOGS:
            yield from _of_resource(body, begin, end)
        else:
            yield None


def _of_resource(body: bytes, begin: int, end: int) -> Items:
    raw = schema = b""
    for number, at, until in fields(body, begin, end):
        if number == _DESCRIBED:
            raw = body[at:until]
        elif number == _SCHEMA:
            schema = body[at:until]
    resource = _described(raw, schema, _resource)
    for number, at, until in fields(body, begin, end):
        if number == _PARTS:
            yield from _of_scope(body, at, until, resource)


def _of_scope(body: bytes, begin: int, end: int, resource: Described) -> Items:
    raw = schema = b""
    for count, (number, at, until) in enumerate(fields(body, begin, end)):
        if number == _DESCRIBED:
            raw = body[at:until]
        elif number == _SCHEMA:
            schema = body[at:until]
        if not count % STEPS:
            yield None
    common: Group | None = None
    for number, at, until in fields(body, begin, end):
        if number == _PARTS:
            common = common or group(resource, _described(raw, schema, _scope))
            yield common, _read(body[at:until]) if until - at <= MAX_RECORD_BYTES else vast(body, at, until)


def _paused(found: Iterator[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Yield what is found, and a field without a number as a pause."""
    for count, one in enumerate(found):
        yield one
        if not count % STEPS:
            yield 0, 0, 0


def _described(raw: bytes, schema: bytes, read_it: Any) -> Described:
    """Return a resource or a scope; one that is broken is kept as it is, and of one that is vast the beginning."""
    if len(raw) > MAX_RECORD_BYTES:
        return vast_group(raw, text_of(schema))
    try:
        sent = read_it(raw)
    except DecodeError:
        kept = {"_raw": base64.b64encode(raw).decode()}
        return Described(raw, kept, schema=text_of(schema), repairs=(Repair.RECORD,))
    name = version = ""
    if read_it is _scope:
        name, version = text_of(sent.name), text_of(sent.version)
    return Described(raw, _attributes(sent.attributes), name, version, sent.dropped_attributes_count, text_of(schema))


def _read(raw: bytes) -> Record:
    if len(raw) > MAX_RECORD_BYTES:
        return vast(raw, 0, len(raw))
    try:
        sent = _record(raw)
    except DecodeError:
        return unreadable(raw)
    attributes = _attributes(sent.attributes)
    body = sent.body
    text = body.string_value
    if trace := sent.trace_id:
        trace = _identifier(trace, _TRACE_BYTES, attributes, "otlp.trace_id")
    if span := sent.span_id:
        span = _identifier(span, _SPAN_BYTES, attributes, "otlp.span_id")
    return record(
        raw,
        sent.time_unix_nano or sent.observed_time_unix_nano,
        sent.severity_number,
        text_of(sent.severity_text),
        text.decode("utf-8", "surrogateescape") if text else _value(body),
        attributes,
        trace or "",
        span or "",
        sent.flags,
        sent.dropped_attributes_count,
        text_of(sent.event_name),
    )


def _identifier(raw: bytes, length: int, attributes: dict[str, Any], otherwise: str) -> str:
    """Return an id of the right length as digits; one of all zeros says that there is none."""
    if not raw.strip(b"\0"):
        return ""
    if len(raw) == length:
        return raw.hex()
    attributes[otherwise] = raw.hex()
    return ""


def _attributes(pairs: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        text = value.string_value
        attributes[NAMES[pair.key]] = text.decode("utf-8", "surrogateescape") if text else _value(value)
    return attributes


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "string_value":
        return text_of(found)
    if kind == "bytes_value":
        return base64.b64encode(found).decode()
    if kind == "array_value":
        return [_value(item) for item in found.values]
    if kind == "kvlist_value":
        return _attributes(found.values)
    return found
