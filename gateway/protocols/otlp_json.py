"""
OpenTelemetry's logs as JSON. Pure.

64-bit integers come as strings or as numbers, ids as hexadecimal digits, enumerations as numbers or, of some clients, as
names. Each record is read by itself. So a broken one costs only itself, and its bytes as sent are there for its identity.
"""

from contextlib import suppress
from typing import Any, Final

import msgspec

from gateway.protocols.converted import MAX_RECORD_BYTES, Items, vast
from gateway.protocols.otlp_json_loose import (
    SPAN_CHARS,
    TRACE_CHARS,
    identifier,
    loosely,
    loosely_described,
    schema,
    severity_number,
)
from gateway.protocols.otlp_json_names import are_of_the_definition, as_asked_for
from gateway.protocols.otlp_json_walk import Scope, walked
from gateway.protocols.otlp_record import Described, group, record, vast_group
from gateway.protocols.record import Record
from shared.event.json_text import BOM

# A larger body is walked: finding its records at once would hold the loop.
WALKED_BYTES: Final = 12 * 1024 * 1024
_FIRST_INT, _LAST_INT = -(2**63), 2**63 - 1
_WRONG: Final = (ValueError, RecursionError)


class _Any(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    int_value: int | str | None = None
    bool_value: bool | None = None
    double_value: float | str | None = None
    array_value: "_Array | None" = None
    kvlist_value: "_Pairs | None" = None
    bytes_value: str | None = None


class _Array(msgspec.Struct, gc=False):
    values: list[_Any | None] | None = None


class _Pair(msgspec.Struct, gc=False):
    key: str = ""
    value: _Any | None = None


class _Pairs(msgspec.Struct, gc=False):
    values: list[_Pair] | None = None


class _Log(msgspec.Struct, rename="camel", gc=False):
    time_unix_nano: int | str = 0
    observed_time_unix_nano: int | str = 0
    severity_number: int | str = 0
    severity_text: str = ""
    body: _Any | None = None
    attributes: list[_Pair] = []
    dropped_attributes_count: int = 0
    flags: int = 0
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""


class _Resource(msgspec.Struct, rename="camel", gc=False):
    attributes: list[_Pair] = []
    dropped_attributes_count: int = 0
    name: str = ""
    version: str = ""


class _Scoped(msgspec.Struct, rename="camel", gc=False):
    log_records: list[msgspec.Raw] = []
    scope: msgspec.Raw = msgspec.Raw()
    schema_url: str = ""


class _Resourced(msgspec.Struct, rename="camel", gc=False):
    scope_logs: list[_Scoped] = []
    resource: msgspec.Raw = msgspec.Raw()
    schema_url: str = ""


class _Request(msgspec.Struct, rename="camel", gc=False):
    resource_logs: list[_Resourced] = []


_decode_request: Final = msgspec.json.Decoder(_Request).decode
_decode_log: Final = msgspec.json.Decoder(_Log).decode
_decode_described: Final = msgspec.json.Decoder(_Resource).decode


def read(body: bytes) -> Items:
    """
    Yield all records of a body.

    Raises:
        BadRequestError: It is no JSON, or no request.
    """
    body = body.removeprefix(BOM)
    if are_of_the_definition(body):
        body = yield from as_asked_for(body)
    request: _Request | None = None
    if len(body) <= WALKED_BYTES:
        with suppress(*_WRONG):  # else one of its values is odd, or it is no JSON at all: who walks it finds out
            request = _decode_request(body)
    if request is None:
        yield from _walked(body)
        return
    del body
    for resourced in request.resource_logs:
        resource = _described(bytes(resourced.resource), resourced.schema_url)
        for scoped in resourced.scope_logs:
            common = group(resource, _described(bytes(scoped.scope), scoped.schema_url))
            for raw in scoped.log_records:
                yield common, _read(bytes(raw))


def _walked(body: bytes) -> Items:
    last: Scope | None = None
    for found in walked(body):
        if found is None:
            yield None
            continue
        scope, begin, end = found
        if scope is not last:
            last = scope
            common = group(
                _described(scope.resource, schema(scope.resource_schema)),
                _described(scope.scope, schema(scope.scope_schema)),
            )
        yield common, _read(body[begin:end]) if end - begin <= MAX_RECORD_BYTES else vast(body, begin, end)


def _described(raw: bytes, schema: str) -> Described:
    """Return a resource or a scope; one that is broken is kept as it is."""
    if not raw:
        return Described(schema=schema)
    if len(raw) > MAX_RECORD_BYTES:
        return vast_group(raw, schema)
    try:
        sent = _decode_described(raw)
        attributes = {pair.key: _value(pair.value) for pair in sent.attributes}
    except _WRONG:
        return loosely_described(raw, schema)
    return Described(raw, attributes, sent.name, sent.version, sent.dropped_attributes_count, schema)


def _read(raw: bytes) -> Record:
    if len(raw) > MAX_RECORD_BYTES:
        return vast(raw, 0, len(raw))
    try:
        sent = _decode_log(raw)
        time_ns = int(sent.time_unix_nano) or int(sent.observed_time_unix_nano)
        attributes: dict[str, Any] = {}
        is_plain = True
        for pair in sent.attributes:
            value = pair.value
            # Most are texts, and most others integers.
            if value is None:
                attributes[pair.key] = None
            elif (text := value.string_value) is not None:
                attributes[pair.key] = text
            elif (integer := value.int_value) is not None:
                attributes[pair.key] = integer = int(integer)
                is_plain = is_plain and _FIRST_INT <= integer <= _LAST_INT
            else:
                attributes[pair.key] = _value(value)
                is_plain = False
        number: Any = sent.severity_number
        if type(number) is not int:
            number = severity_number(number)
        said = sent.body
        body = text if said is not None and (text := said.string_value) is not None else _value(said)
    except _WRONG:
        return loosely(raw)
    trace, span = sent.trace_id, sent.span_id
    return record(
        raw,
        time_ns,
        number,
        sent.severity_text,
        body,
        attributes,
        identifier(trace, TRACE_CHARS, attributes, "otlp.trace_id") if trace else "",
        identifier(span, SPAN_CHARS, attributes, "otlp.span_id") if span else "",
        sent.flags,
        sent.dropped_attributes_count,
        sent.event_name,
        (),
        is_plain,
    )


def _value(value: _Any | None) -> Any:  # noqa: PLR0911 - one for each kind of value
    if value is None:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return int(value.int_value)
    if value.bool_value is not None:
        return value.bool_value
    if value.double_value is not None:
        return float(value.double_value)
    if value.kvlist_value is not None:
        return {pair.key: _value(pair.value) for pair in value.kvlist_value.values or ()}
    if value.array_value is not None:
        return [_value(item) for item in value.array_value.values or ()]
    return value.bytes_value
