"""
The log event and its one codec: what the gateway accepts, Kafka carries and the consumer stores.

Every service decodes through this module, so the next one can decode every event that one of them accepts. Whatever passes
here can be inserted into PostgreSQL as it is (`shared/tests/test_event.py`, `integration-tests/test_bad_input.py`).

Three stages of the same event, each adding what its stage knows:

* `LogEvent`       what a client sends; identity optional
* `ReceivedEvent`  has its identity (`event_id`, `event_time`) and the time the gateway took it
* `LogRecord`      the value of a Kafka record: also names the region whose producer wrote it

Times are timezone-aware UTC with microsecond precision. Further digits of a timestamp are cut off, always the same way,
so a retry keeps its identity.

* InvalidEventError       one or more fields are wrong; says which, and what to change
"""

import re
import sys

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NoReturn, cast
from uuid import UUID

import msgspec

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from shared.event.json_text import BOM, NotJSONError, parse_json, write_decimal
from shared.event.levels import DESCRIPTION as LEVEL_DESCRIPTION
from shared.event.levels import LEVELS, LevelName, parse_level
from shared.event.times import EPOCH, FIRST_TIME, LAST_TIME, epoch_us, format_time, from_epoch_us, parse_time

__all__ = [
    "EPOCH",
    "FIRST_TIME",
    "LAST_TIME",
    "LEVELS",
    "MAX_ATTRIBUTES",
    "MAX_BATCH_EVENTS",
    "MAX_EVENT_BYTES",
    "MAX_NAME_CHARS",
    "FieldProblem",
    "InvalidEventError",
    "LevelName",
    "LogEvent",
    "LogRecord",
    "ReceivedEvent",
    "decode_array",
    "decode_event",
    "decode_lines",
    "decode_received",
    "decode_record",
    "epoch_us",
    "format_time",
    "from_epoch_us",
    "parse_time",
    "split_lines",
]

MAX_EVENT_BYTES: Final = 256 * 1024
MAX_ATTRIBUTES: Final = 64
MAX_NAME_CHARS: Final = 256
MAX_BATCH_EVENTS: Final = 10_000

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
# An error names what the client sent, but must not become a way to make a large answer out of it.
_MAX_PROBLEMS: Final = 10
_MAX_ECHO_CHARS: Final = 64
# Signed and unsigned numbers of 64 bits, whichever a client's language has.
_INT64: Final = range(-(2**63), 2**64)
# PostgreSQL keeps every digit of a number, so one of few characters can become one of millions.
_MAX_FRACTION_DIGITS: Final = 1000
_LARGEST: Final = Decimal(sys.float_info.max)

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """
    One thing that is wrong with an event.

    Attributes:
        field: Path of the field as the client wrote it, empty for the event as a whole.
        message: What is wrong and what to change, a sentence without the field's name.
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidEventError(Exception):
    """An event that breaks the contract; `problems` names every field that does."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


def _parse_id(value: object) -> UUID:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError("must be a UUID of 36 characters, like 01934c9e-7e6f-7c1a-9d53-0242ac120002")
    return UUID(value)


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain the character U+0000, which PostgreSQL cannot store")
    # pydantic's JSON parser refuses lone surrogates itself; elements of an array may come from the standard library's.
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds a lone surrogate, which is no character") from None
    return value


def _check_attributes(value: dict[str, Any]) -> dict[str, Any]:
    if len(value) > MAX_ATTRIBUTES:
        raise ValueError(f"must have at most {MAX_ATTRIBUTES} entries, has {len(value)}")
    for key, item in value.items():
        if len(key) > MAX_NAME_CHARS:
            raise ValueError(f"keys must have at most {MAX_NAME_CHARS} characters")
        _storable(key)
        _check_attribute(key, item)
    return value


def _check_attribute(key: str, item: object) -> None:
    kind = type(item)
    name = _shown(key)
    if kind is str:
        try:
            _storable(cast("str", item))
        except ValueError as exc:
            raise ValueError(f"value of {name} {exc}") from None
    elif kind is int:
        if item not in _INT64:
            raise ValueError(f"value of {name} must fit into 64 bits; send larger numbers as strings")
    elif kind is float or kind is Decimal:
        _check_decimal(name, Decimal(cast("float | Decimal", item)))
    elif item is not None and kind is not bool:
        raise ValueError(f"value of {name} must be a string, a number, true, false or null; flatten nested values")


def _check_decimal(name: str, value: Decimal) -> None:
    if not value.is_finite() or abs(value) > _LARGEST or value.adjusted() > _LARGEST.adjusted():
        raise ValueError(f"value of {name} must be a finite number, and fit into a double")
    if int(value.as_tuple().exponent) < -_MAX_FRACTION_DIGITS:
        raise ValueError(f"value of {name} must have at most {_MAX_FRACTION_DIGITS} digits after the point")


def _shown(value: str) -> str:
    cut = value if len(value) <= _MAX_ECHO_CHARS else value[:_MAX_ECHO_CHARS] + "…"
    return repr(cut)


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(_storable)]
Time = Annotated[
    datetime,
    BeforeValidator(parse_time, json_schema_input_type=str | float),
    PlainSerializer(format_time, return_type=str),
]
Level = Annotated[str, BeforeValidator(parse_level, json_schema_input_type=str)]
EventId = Annotated[UUID, BeforeValidator(_parse_id, json_schema_input_type=str)]
Attributes = Annotated[
    dict[str, Any],
    BeforeValidator(lambda value: {} if value is None else value, json_schema_input_type=dict[str, Any] | None),
    AfterValidator(_check_attributes),
]


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=to_camel, allow_inf_nan=False)


class LogEvent(_Fields):
    """A log event as a client sends it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "serviceName": "checkout",
                    "level": "INFO",
                    "message": "Hello",
                    "correlationId": "trace-1",
                    "timestamp": "2026-11-23T12:00:00.123456Z",
                    "eventId": "019ab0c4-52a0-7c1a-9d53-0242ac120002",
                    "attributes": {"k": "v"},
                }
            ]
        }
    )

    event_id: EventId | None = Field(
        default=None,
        description="UUID. With `timestamp` it is the event's identity: a retry with both is the same event. "
        "Refused without `timestamp`. Given by the service when left out.",
    )
    timestamp: Time | None = Field(
        default=None,
        description="When it happened: RFC 3339 with a time zone, also with a blank for T, a comma, without seconds; or "
        "milliseconds since 1970 (micro- or nanoseconds where nothing else can be meant), as a number or as text; "
        "years 1970 to 2200. Microseconds are kept. Now, when left out.",
    )
    service_name: Name = Field(description="Which service logged it.")
    level: Level = Field(description=LEVEL_DESCRIPTION, json_schema_extra={"examples": list(LEVELS)})
    message: Text = Field(description="The log line itself; may be empty.")
    correlation_id: Name = Field(description="What the event belongs to; events that share it keep their order.")
    attributes: Attributes = Field(
        default_factory=dict,
        description=f"Flat JSON object of at most {MAX_ATTRIBUTES} strings, numbers, booleans or nulls. Integers "
        "have up to 64 bits, signed or unsigned; decimals keep all their digits.",
    )

    def received(self, now: datetime, new_id: Callable[[], UUID]) -> "ReceivedEvent":
        """
        Give the event what it lacks of an identity.

        Args:
            now: The time of receipt, aware UTC.
            new_id: Makes a UUIDv7; called only when the client sent none.
        """
        return ReceivedEvent.model_construct(
            event_id=self.event_id or new_id(),
            timestamp=self.timestamp or now,
            service_name=self.service_name,
            level=self.level,
            message=self.message,
            correlation_id=self.correlation_id,
            attributes=self.attributes,
            received_at=now,
        )


class ReceivedEvent(_Fields):
    """A log event with its whole identity, as the gateway hands it to a producer."""

    event_id: EventId
    timestamp: Time
    service_name: Name
    level: Level
    message: Text
    correlation_id: Name
    attributes: Attributes
    received_at: Time

    def to_record(self, origin_region: str) -> "LogRecord":
        """Return the record that `origin_region`'s producer writes for this event."""
        return LogRecord.model_construct(None, **self.__dict__ | {"origin_region": origin_region})

    def encode(self) -> bytes:
        """Return canonical UTF-8 JSON, the form that `decode_received` (and `decode_record` for records) reads."""
        # Written out, because field serialisers in Python cost four times as much; `test_event.py` holds the two together.
        fields = {
            "eventId": str(self.event_id),
            "timestamp": format_time(self.timestamp),
            "serviceName": self.service_name,
            "level": self.level,
            "message": self.message,
            "correlationId": self.correlation_id,
            "attributes": {
                key: write_decimal(item) if type(item) is Decimal else item for key, item in self.attributes.items()
            },
            "receivedAt": format_time(self.received_at),
        }
        return _encode(fields)


class LogRecord(ReceivedEvent):
    """The value of a record on topic `logs`."""

    origin_region: Name

    def encode(self) -> bytes:
        """Return canonical UTF-8 JSON."""
        return super().encode()[:-1] + b',"originRegion":' + _encode(self.origin_region) + b"}"


def decode_event(raw: bytes) -> LogEvent:
    """
    Decode one event as sent by a client.

    Raises:
        InvalidEventError: The bytes are no JSON, or the event breaks the contract.
    """
    _check_size(len(raw))
    return _client_event(_parsed(raw))


def decode_received(raw: bytes) -> ReceivedEvent:
    """
    Decode one event as handed on by a gateway.

    Raises:
        InvalidEventError: As `decode_event`.
    """
    try:
        return ReceivedEvent.model_validate(_parsed(raw))
    except ValidationError as exc:
        _refuse(exc)


def decode_record(raw: bytes) -> LogRecord:
    """
    Decode the value of a Kafka record.

    Raises:
        InvalidEventError: As `decode_event`; foreign records end here.
    """
    try:
        return LogRecord.model_validate(_parsed(raw))
    except ValidationError as exc:
        _refuse(exc)


def decode_array(raw: bytes) -> list[LogEvent | InvalidEventError]:
    """
    Decode a JSON array of events, one result an element, in order.

    Raises:
        InvalidEventError: The bytes as a whole are no JSON array, or it has more than `MAX_BATCH_EVENTS` elements.
    """
    items = _parsed(raw)
    if not isinstance(items, list):
        raise InvalidEventError([FieldProblem("", "a batch must be a JSON array of events, or NDJSON")])
    _check_count(len(items))
    # No element can be too large where the whole is not.
    measure = len(raw) > MAX_EVENT_BYTES
    return [_decode_item(item, measure=measure) for item in items]


def decode_lines(raw: bytes) -> list[LogEvent | InvalidEventError]:
    """
    Decode NDJSON, one result a non-empty line, in order.

    Raises:
        InvalidEventError: There are more than `MAX_BATCH_EVENTS` lines.
    """
    return [_decode_line(line) for line in split_lines(raw)]


def split_lines(raw: bytes) -> list[bytes]:
    """
    Return the lines of NDJSON that are not empty, whatever ends them.

    Raises:
        InvalidEventError: There are more than `MAX_BATCH_EVENTS`.
    """
    ending = b"\n" if b"\n" in raw else b"\r"
    lines = [line for line in raw.removeprefix(BOM).split(ending) if line.strip(b" \t\r")]
    _check_count(len(lines))
    return lines


def _decode_line(line: bytes) -> LogEvent | InvalidEventError:
    try:
        return decode_event(line)
    except InvalidEventError as exc:
        return exc


def _decode_item(item: object, *, measure: bool) -> LogEvent | InvalidEventError:
    try:
        event = _client_event(item)
        if measure:
            _check_size(len(_encode(item)))
    except InvalidEventError as exc:
        return exc
    return event


def _client_event(item: object) -> LogEvent:
    try:
        return _checked(LogEvent.model_validate(item))
    except ValidationError as exc:
        _refuse(exc)


def _parsed(raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except NotJSONError as exc:
        raise InvalidEventError([FieldProblem("", f"not valid JSON: {exc}")]) from None


def _check_count(events: int) -> None:
    # Before any event is looked at: a body of the allowed size may hold millions of them.
    if events > MAX_BATCH_EVENTS:
        problem = f"a batch may have {MAX_BATCH_EVENTS} events, this one has {events}; split it"
        raise InvalidEventError([FieldProblem("", problem)])


def _check_size(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise InvalidEventError([FieldProblem("", f"an event may have {MAX_EVENT_BYTES} bytes, this one has {size}")])


def _checked(event: LogEvent) -> LogEvent:
    if event.event_id is not None and event.timestamp is None:
        msg = "is required when eventId is sent: both together are the event's identity"
        raise InvalidEventError([FieldProblem("timestamp", msg)])
    return event


def _refuse(exc: ValidationError) -> NoReturn:
    raise _invalid(exc) from None


def _invalid(exc: ValidationError) -> InvalidEventError:
    errors = exc.errors(include_url=False, include_input=False)
    problems = [_problem(error) for error in errors[:_MAX_PROBLEMS]]
    if len(errors) > _MAX_PROBLEMS:
        problems.append(FieldProblem("", f"and {len(errors) - _MAX_PROBLEMS} more problems"))
    return InvalidEventError(problems)


def _problem(error: ErrorDetails) -> FieldProblem:
    field = ".".join(str(part) for part in error["loc"])
    if len(field) > _MAX_ECHO_CHARS:
        field = field[:_MAX_ECHO_CHARS] + "…"
    context = error.get("ctx", {})
    kind = error["type"]
    messages = {
        "missing": "is required",
        "extra_forbidden": "is not a field of an event; put your own data into attributes",
        "string_type": "must be a string",
        "string_unicode": "holds a lone surrogate, which is no character",
        "string_too_short": "must not be empty",
        "string_too_long": f"must have at most {context.get('max_length')} characters",
        "dict_type": "must be a JSON object",
        "model_type": "an event must be a JSON object",
        "json_invalid": f"not valid JSON: {context.get('error')}",
        "value_error": str(context.get("error")),
    }
    return FieldProblem(field, messages.get(kind, error["msg"]))
