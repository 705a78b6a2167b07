"""
OpenTelemetry's logs as JSON. Pure.

64-bit integers come as strings or as numbers, ids as hexadecimal digits, enumerations as numbers or, of some clients, as
names. Each record is read by itself. So a broken one costs only itself, and its bytes as sent are there for its identity.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from gateway.protocols.attributes import free_name, text_of, to_json
from gateway.protocols.converted import Items, unreadable
from gateway.protocols.lenient_json import read_json
from gateway.protocols.otlp_json_walk import Scope, walked
from gateway.protocols.otlp_record import Described, group, record
from gateway.protocols.record import Record, Repair
from shared.event.json_text import BOM, NotJSONError

# A larger body is walked: finding its records at once would hold the loop.
WALKED_BYTES: Final = 12 * 1024 * 1024
_TRACE_CHARS: Final = 32
_SPAN_CHARS: Final = 16
_HEX: Final = frozenset("0123456789abcdef")
_KINDS: Final = frozenset(f"{kind}Value" for kind in ("string", "bool", "int", "double", "array", "kvlist", "bytes"))
_WRONG: Final = (ValueError, RecursionError)
_SEVERITY: Final = "SEVERITY_NUMBER_"
_LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_SEVERITIES: Final = {
    f"{_SEVERITY}{name}{number or ''}": 4 * level + max(number, 1)
    for level, name in enumerate(_LEVELS)
    for number in (0, 2, 3, 4)
}


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
                _described(scope.resource, _schema(scope.resource_schema)),
                _described(scope.scope, _schema(scope.scope_schema)),
            )
        yield common, _read(body[begin:end])


def _schema(raw: bytes) -> str:
    with suppress(NotJSONError):
        return _loose_text(read_json(raw or b"null")[0])
    return text_of(raw)


def _described(raw: bytes, schema: str) -> Described:
    """Return a resource or a scope; one that is broken is kept as it is."""
    if not raw:
        return Described(schema=schema)
    try:
        sent = _decode_described(raw)
        attributes = {pair.key: _value(pair.value) for pair in sent.attributes}
    except _WRONG:
        return _loosely_described(raw, schema)
    return Described(raw, attributes, sent.name, sent.version, sent.dropped_attributes_count, schema)


def _read(raw: bytes) -> Record:
    try:
        sent = _decode_log(raw)
        time_ns = int(sent.time_unix_nano) or int(sent.observed_time_unix_nano)
        attributes = {}
        for pair in sent.attributes:
            value = pair.value
            # Most are texts.
            text = value.string_value if value is not None else None
            attributes[pair.key] = text if text is not None else _value(value)
        number: Any = sent.severity_number
        if type(number) is not int:
            number = _severity(number)
        body = _value(sent.body)
    except _WRONG:
        return _loosely(raw)
    trace, span = sent.trace_id, sent.span_id
    return record(
        raw,
        time_ns,
        number,
        sent.severity_text,
        body,
        attributes,
        _identifier(trace, _TRACE_CHARS, attributes, "otlp.trace_id") if trace else "",
        _identifier(span, _SPAN_CHARS, attributes, "otlp.span_id") if span else "",
        sent.flags,
        sent.dropped_attributes_count,
        sent.event_name,
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


def _severity(name: str) -> int:
    return _SEVERITIES.get(name.upper(), 0) or int(name)


def _identifier(text: str, length: int, attributes: dict[str, Any], otherwise: str) -> str:
    """Return an id of the right length in lower case; one of all zeros says that there is none."""
    low = text.lower()
    if not low.strip("0"):
        return ""
    if len(low) == length and _HEX.issuperset(low):
        return low
    attributes[otherwise] = text
    return ""


def _loosely(raw: bytes) -> Record:
    """Return what can be read of a record that is not as it should be; all of it where that is nothing."""
    try:
        sent, repairs = read_json(raw)
    except NotJSONError:
        return unreadable(raw)
    if not isinstance(sent, Mapping):
        return unreadable(raw)
    attributes = _loose_pairs(sent.get("attributes"))
    number, severity = sent.get("severityNumber"), _loose_text(sent.get("severityText"))
    if isinstance(number, str) and number.upper() in _SEVERITIES:
        number = _SEVERITIES[number.upper()]
    times = [sent.get("timeUnixNano"), sent.get("observedTimeUnixNano")]
    known = [_loose_int(time) for time in times]
    found = record(
        raw,
        next(filter(None, known), 0),
        _loose_int(number) or 0,
        severity or (number if isinstance(number, str) and not _loose_int(number) else ""),
        _loose_value(sent.get("body")),
        attributes,
        _identifier(_loose_text(sent.get("traceId")), _TRACE_CHARS, attributes, "otlp.trace_id"),
        _identifier(_loose_text(sent.get("spanId")), _SPAN_CHARS, attributes, "otlp.span_id"),
        _loose_int(sent.get("flags")) or 0,
        _loose_int(sent.get("droppedAttributesCount")) or 0,
        _loose_text(sent.get("eventName")),
        repairs,
    )
    if not any(known):
        written = next((time for time, ns in zip(times, known, strict=True) if ns is None and time is not None), None)
        if written is not None:
            found.time_written = _loose_text(written)
    return found


def _loosely_described(raw: bytes, schema: str) -> Described:
    try:
        sent, repairs = read_json(raw)
    except NotJSONError:
        sent, repairs = None, (Repair.RECORD,)
    if not isinstance(sent, Mapping):
        kept = {} if sent is None and not repairs else {"_raw": text_of(raw)}
        return Described(raw, kept, schema=schema, repairs=(Repair.RECORD,) if kept else ())
    return Described(
        raw,
        _loose_pairs(sent.get("attributes")),
        _loose_text(sent.get("name")),
        _loose_text(sent.get("version")),
        _loose_int(sent.get("droppedAttributesCount")) or 0,
        schema,
        repairs,
    )


def _loose_pairs(pairs: Any) -> dict[str, Any]:
    if isinstance(pairs, Mapping):  # as some write them by hand
        return {name: _loose_value(value) for name, value in pairs.items()}
    attributes: dict[str, Any] = {}
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, Mapping):
            attributes[_loose_text(pair.get("key"))] = _loose_value(pair.get("value"))
        elif pair is not None:
            attributes[free_name("", attributes)] = pair
    if pairs is not None and not isinstance(pairs, list):
        attributes[""] = pairs
    return attributes


def _loose_value(value: Any) -> Any:
    """Return what an AnyValue holds; what is none is taken as the value itself."""
    if not isinstance(value, Mapping):
        return value
    found = next(((name, item) for name, item in value.items() if name in _KINDS and item is not None), None)
    if found is None:
        return dict(value) or None
    name, item = found
    values = item.get("values") if isinstance(item, Mapping) else None
    if name == "kvlistValue":
        item = _loose_pairs(values)
    elif name == "arrayValue":
        item = [_loose_value(one) for one in values] if isinstance(values, list) else values
    elif name == "intValue":
        number = _loose_int(item)
        item = item if number is None else number
    elif name == "doubleValue":
        item = _loose_float(item)
    return item


def _loose_int(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str | msgspec.Raw):
        return None
    try:
        return int(bytes(value) if isinstance(value, msgspec.Raw) else value)
    except ValueError:
        return None


def _loose_float(value: Any) -> Any:
    try:
        return float(bytes(value) if isinstance(value, msgspec.Raw) else value)
    except (TypeError, ValueError, OverflowError):
        return value


def _loose_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bytes):
        return text_of(value)
    return to_json(value, set())
