"""
The one decoder: it alone decides whether bytes are an event, and what they become. Pure.

The gateway, the producer and the consumer read through this module, so the next service takes what one of them took.
Whatever passes here can be inserted into PostgreSQL as it is (`shared/tests/test_sealed.py`,
`integration-tests/test_bad_input.py`).

msgspec checks the types and lengths while it parses; the rest is checked here. What msgspec does not take is parsed once more
into plain values, in which a bad value spoils its own event only and the last of two equal keys counts. Values are held to the
same types and checks. So nothing is decided twice in different ways.

* NotJSONError     the bytes are no JSON
* RefusalError     they are JSON, and no event
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

import msgspec

from pydantic import BaseModel

from shared.event.canonical import canonical_time, time_us, uuid_bytes
from shared.event.explain import RefusalError, first_problem
from shared.event.fields import MAX_ATTRIBUTES, MAX_NAME_CHARS, FieldProblem, check_attribute, check_text
from shared.event.json_text import as_written, parse_json, write_decimal
from shared.event.levels import USUAL, parse_level
from shared.event.model import LogEvent, LogRecord, ReceivedEvent
from shared.event.tenant import tenant_of

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Key = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)]
# A decimal is among them as `as_written` left it.
Attributes = Annotated[dict[Key, Any], msgspec.Meta(max_length=MAX_ATTRIBUTES)]

_BACKSLASH: Final = ord("\\")
_NUL: Final = b"\\u0000"
_HALF_AN_IDENTITY: Final = "is required when eventId is sent: both together are the event's identity"
# What `as_written` left as it is written is a number of a usual size.
_PLAIN: Final = frozenset({bool, type(None), msgspec.Raw})


class Sent(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """An event as a client sends it; what `read_sent` returns is in canonical form."""

    service_name: Name
    level: str
    message: str
    correlation_id: Name
    timestamp: Any = None
    event_id: str | None = None
    attributes: Attributes | None = None


class Received(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """
    An event with its whole identity, as gateways pass it on; its fields are in the order in which it is written.

    One of the default tenant has no `tenant`.
    """

    event_id: str
    timestamp: Any
    service_name: Name
    level: str
    message: str
    correlation_id: Name
    attributes: Attributes | None
    received_at: Any
    tenant: str | None = None


class Record(Received, kw_only=True, gc=False):
    """The value of a Kafka record."""

    origin_region: Name


Event = TypeVar("Event", Sent, Received, Record)


class _WrongFieldError(ValueError):
    """A field of the right type has a wrong value."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.problem = FieldProblem(field, message)


_decode_sent: Final = msgspec.json.Decoder(Sent, float_hook=as_written).decode
_decode_received: Final = msgspec.json.Decoder(Received, float_hook=as_written).decode
_decode_record: Final = msgspec.json.Decoder(Record, float_hook=as_written).decode
# msgspec's errors are ValueErrors; deep nesting ends in the other one.
_WRONG: Final = (ValueError, RecursionError)
# A time that is no text in canonical form may be a number.
_UNUSUAL: Final = (*_WRONG, TypeError)


def read_sent(raw: bytes) -> Sent:
    """
    Read an event as sent by a client.

    Raises:
        NotJSONError: The bytes are no JSON.
        RefusalError: They are no event.
    """
    try:
        sent = _decode_sent(raw)
        if has_nul(raw):
            check_texts(sent)
        check_sent(sent)
    except _WRONG:
        return read_sent_value(parse_json(raw))
    return sent


def read_sent_value(value: object) -> Sent:
    """
    Read an event from a JSON value, as `parse_json` returns it.

    Raises:
        RefusalError: It is no event.
    """
    return _of_value(value, Sent, LogEvent, check_sent)


def read_received(raw: bytes) -> Received:
    """
    Read an event as a gateway hands it on.

    Raises:
        NotJSONError: The bytes are no JSON.
        RefusalError: They are no event.
    """
    try:
        event = _decode_received(raw)
        if has_nul(raw):
            check_texts(event)
        _check_content(event)
        uuid_bytes(event.event_id)
        event.event_id = event.event_id.lower()
        time_us(event.timestamp)
        time_us(event.received_at)
        if event.tenant is not None:
            event.tenant = tenant_of(event.tenant)
    except _UNUSUAL:
        return _of_value(parse_json(raw), Received, ReceivedEvent, _check_received)
    return event


def read_record(raw: bytes) -> tuple[Record, bytes, int, int]:
    """
    Read the value of a Kafka record.

    Returns:
        The record, the bytes of its event id, and its event time and its receipt in microseconds since 1970.

    Raises:
        NotJSONError: The bytes are no JSON.
        RefusalError: They are no event.
    """
    try:
        record = _decode_record(raw)
        if has_nul(raw):
            check_texts(record)
        _check_content(record)
        if record.tenant is not None:
            record.tenant = tenant_of(record.tenant)
        return record, uuid_bytes(record.event_id), time_us(record.timestamp), time_us(record.received_at)
    except _UNUSUAL:
        record = _of_value(parse_json(raw), Record, LogRecord, _check_received)
    return record, uuid_bytes(record.event_id), time_us(record.timestamp), time_us(record.received_at)


def _of_value(value: object, kind: type[Event], model: type[BaseModel], check: Callable[[Event], None]) -> Event:
    try:
        event = msgspec.convert(value, kind)
        check_texts(event)
        check(event)
    except _WRONG as exc:
        reason = exc.problem if isinstance(exc, _WrongFieldError) else first_problem(exc)
        raise RefusalError(model, value, reason) from None
    return event


def check_sent(sent: Sent) -> None:
    """
    Check what the types leave open, and put it into canonical form.

    Raises:
        ValueError: A field has a wrong value.
    """
    _check_content(sent)
    event_id, timestamp = sent.event_id, sent.timestamp
    if timestamp is None:
        if event_id is not None:
            raise _WrongFieldError("timestamp", _HALF_AN_IDENTITY)
        return
    field = "timestamp"
    try:
        sent.timestamp = canonical_time(timestamp)
        field = "eventId"
        if event_id is not None:
            uuid_bytes(event_id)
            sent.event_id = event_id.lower()
    except ValueError as exc:
        raise _WrongFieldError(field, str(exc)) from None


def _check_received(event: Received) -> None:
    _check_content(event)
    field = "eventId"
    try:
        uuid_bytes(event.event_id)
        event.event_id = event.event_id.lower()
        field = "timestamp"
        event.timestamp = canonical_time(event.timestamp)
        field = "receivedAt"
        event.received_at = canonical_time(event.received_at)
        field = "tenant"
        event.tenant = tenant_of(event.tenant)
    except ValueError as exc:
        raise _WrongFieldError(field, str(exc)) from None


def _check_content(event: Sent | Received) -> None:
    """Check level and attributes, and put them into the form in which they are passed on."""
    field = "level"
    try:
        event.level = USUAL.get(event.level) or parse_level(event.level)
        field = "attributes"
        if not (attributes := event.attributes):
            event.attributes = {}
            return
        for key, item in attributes.items():
            kind = type(item)
            if kind is str or (kind is int and -(2**63) <= item < 2**64) or kind in _PLAIN:
                continue
            check_attribute(key, item)
            if kind is Decimal:
                attributes[key] = write_decimal(item)
    except ValueError as exc:
        raise _WrongFieldError(field, str(exc)) from None


def has_nul(raw: bytes) -> bool:
    """Return whether a text may hold U+0000, the one wrong character that the parser lets through."""
    return _BACKSLASH in raw and _NUL in raw


def check_texts(event: Sent | Received) -> None:
    """
    Check characters that a parser lets through.

    Raises:
        ValueError: One of them cannot be stored.
    """
    texts = [("serviceName", event.service_name), ("message", event.message), ("correlationId", event.correlation_id)]
    if isinstance(event, Record):
        texts.append(("originRegion", event.origin_region))
    for key, item in (event.attributes or {}).items():
        texts.append(("attributes", key))
        if isinstance(item, str):
            texts.append(("attributes", item))
    for field, text in texts:
        try:
            check_text(text)
        except ValueError as exc:
            raise _WrongFieldError(field, str(exc)) from None
