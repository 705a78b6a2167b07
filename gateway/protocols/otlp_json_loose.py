"""
What can be read of OpenTelemetry's JSON where it is not as it should be. Pure.

Numbers and names of the wrong type, values that are no AnyValue, bad UTF-8: none of them costs more than itself.
"""

import re

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from gateway.protocols.attributes import free_name, text_of, to_json
from gateway.protocols.converted import unreadable
from gateway.protocols.lenient_json import read_json
from gateway.protocols.levels import LEVELS
from gateway.protocols.otlp_record import Described, record
from gateway.protocols.record import Record, Repair
from shared.event.json_text import NotJSONError

TRACE_CHARS: Final = 32
SPAN_CHARS: Final = 16
_HEX: Final = re.compile("[0-9a-f]+")
_KINDS: Final = frozenset(f"{kind}Value" for kind in ("string", "bool", "int", "double", "array", "kvlist", "bytes"))
_SEVERITY: Final = "SEVERITY_NUMBER_"
_SEVERITIES: Final = {
    f"{_SEVERITY}{name}{number or ''}": 4 * level + max(number, 1)
    for level, name in enumerate(LEVELS)
    for number in (0, 2, 3, 4)
}


def severity_number(name: str) -> int:
    """
    Return the number of a severity that is written as a name, or as a number in quotes.

    Raises:
        ValueError: It is neither.
    """
    return _SEVERITIES.get(name.upper(), 0) or int(name)


def identifier(text: str, length: int, attributes: dict[str, Any], otherwise: str) -> str:
    """Return an id of the right length in lower case; one of all zeros says that there is none."""
    low = text.lower()
    if not low.strip("0"):
        return ""
    if len(low) == length and _HEX.fullmatch(low):
        return low
    attributes[otherwise] = low
    return ""


def schema(raw: bytes) -> str:
    """Return the URL of a schema as it was written."""
    with suppress(NotJSONError):
        return _loose_text(read_json(raw or b"null")[0])
    return text_of(raw)


def loosely(raw: bytes) -> Record:
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
        identifier(_loose_text(sent.get("traceId")), TRACE_CHARS, attributes, "otlp.trace_id"),
        identifier(_loose_text(sent.get("spanId")), SPAN_CHARS, attributes, "otlp.span_id"),
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


def loosely_described(raw: bytes, schema: str) -> Described:
    """Return what can be read of a resource or a scope; all of it where that is nothing."""
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
