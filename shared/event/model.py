"""
The log event in Python's types, and in the words that document it and explain what is wrong with one. Pure.

`shared.event.decode` decides what is an event. The models here make the reference of the API and find the words for what
was refused (`shared.event.explain`). Tests and tools make and compare events with them.

Three stages of the same event, each adding what its stage knows:

* `LogEvent`       what a client sends; identity optional
* `ReceivedEvent`  has its identity (`event_id`, `event_time`) and the time the gateway took it
* `LogRecord`      the value of a Kafka record: also names the region whose producer wrote it

Times are timezone-aware UTC with microsecond precision. Further digits of a timestamp are cut off, always the same way,
so a retry keeps its identity.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from shared.event.canonical import NO_UUID, uuid_bytes
from shared.event.fields import (
    MAX_ATTRIBUTES,
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    MAX_NAME_CHARS,
    FieldProblem,
    InvalidEventError,
    check_attributes,
    check_text,
)
from shared.event.json_text import write_decimal
from shared.event.levels import DESCRIPTION as LEVEL_DESCRIPTION
from shared.event.levels import LEVELS, LevelName, parse_level
from shared.event.tenant import Tenant
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
    "epoch_us",
    "format_time",
    "from_epoch_us",
    "parse_time",
]

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


def _parse_id(value: object) -> UUID:
    if not isinstance(value, str):
        raise ValueError(NO_UUID)  # noqa: TRY004 - pydantic reports no other
    return UUID(bytes=uuid_bytes(value))


Text = Annotated[str, AfterValidator(check_text)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(check_text)]
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
    AfterValidator(check_attributes),
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
    tenant: Tenant = None

    def to_record(self, origin_region: str) -> "LogRecord":
        """Return the record that `origin_region`'s producer writes for this event."""
        return LogRecord.model_construct(None, **self.__dict__ | {"origin_region": origin_region})

    def encode(self) -> bytes:
        """Return canonical UTF-8 JSON, the form that every service passes on."""
        # Written out, because field serialisers in Python cost four times as much; `test_event.py` holds the two together.
        fields: dict[str, Any] = {
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
        if self.tenant is not None:
            fields["tenant"] = self.tenant
        return _encode(fields)


class LogRecord(ReceivedEvent):
    """The value of a record on topic `logs`."""

    origin_region: Name

    def encode(self) -> bytes:
        """Return canonical UTF-8 JSON."""
        return super().encode()[:-1] + b',"originRegion":' + _encode(self.origin_region) + b"}"
