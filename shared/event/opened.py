"""
Events in Python's types, decoded for tools and tests. Pure.

The services pass events on as bytes and never need them so.
"""

from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from shared.event.decode import Received, read_received, read_record
from shared.event.explain import RefusalError, not_json
from shared.event.json_text import NotJSONError
from shared.event.model import LogRecord, ReceivedEvent
from shared.event.times import parse_time


def decode_received(raw: bytes) -> ReceivedEvent:
    """
    Decode one event as handed on by a gateway.

    Raises:
        InvalidEventError: It is none.
    """
    try:
        return ReceivedEvent.model_construct(**_fields(read_received(raw)))
    except RefusalError as exc:
        raise exc.in_full() from None
    except NotJSONError as exc:
        raise not_json(exc) from None


def decode_record(raw: bytes) -> LogRecord:
    """
    Decode the value of a Kafka record.

    Raises:
        InvalidEventError: It is none.
    """
    try:
        record, *_ = read_record(raw)
    except RefusalError as exc:
        raise exc.in_full() from None
    except NotJSONError as exc:
        raise not_json(exc) from None
    return LogRecord.model_construct(**_fields(record), origin_region=record.origin_region)


def _fields(event: Received) -> dict[str, Any]:
    return {
        "event_id": UUID(event.event_id),
        "timestamp": parse_time(event.timestamp),
        "service_name": event.service_name,
        "level": event.level,
        "message": event.message,
        "correlation_id": event.correlation_id,
        "attributes": {key: _opened(item) for key, item in (event.attributes or {}).items()},
        "received_at": parse_time(event.received_at),
        "tenant": event.tenant,
    }


def _opened(value: object) -> object:
    return Decimal(bytes(value).decode()) if isinstance(value, msgspec.Raw) else value
