"""Hypothesis strategies for events, small where smallness makes boundaries likely."""

import json

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from shared.event.levels import BY_NAME
from shared.event.model import FIRST_TIME, LAST_TIME, LEVELS, LogRecord, ReceivedEvent, format_time

# Everything that is a character and that PostgreSQL stores.
storable_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
texts = st.text(storable_characters, max_size=40)
names = st.text(storable_characters, min_size=1, max_size=20)
levels = st.sampled_from(LEVELS)
times = st.datetimes(
    FIRST_TIME.replace(tzinfo=None), LAST_TIME.replace(tzinfo=None), timezones=st.just(UTC)
) | st.sampled_from([FIRST_TIME, LAST_TIME, datetime(2026, 11, 23, 12, tzinfo=UTC)])
attribute_values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
attributes = st.dictionaries(texts, attribute_values, max_size=5)

# A number as it may be written, and many a way of writing it that is none of a double's.
number_texts = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})\.[0-9]{1,25}", fullmatch=True),
    st.from_regex(r"-?(0|[1-9][0-9]{0,5})(\.[0-9]{1,5})?[eE][+-]?[0-9]{1,2}", fullmatch=True),
    st.integers(-(2**63), 2**64 - 1).map(str),
    st.sampled_from(
        [
            "12345678901234567.123",
            "9007199254740993.0",
            "0.10",
            "1.50",
            "-0.0",
            "5e-324",
            "1.7976931348623157e308",
            "0e0",
        ]
    ),
)


def exactly(values: dict[str, Any]) -> dict[str, Any]:
    """The same attributes as they are when they were read from JSON: decimals are no doubles."""
    return {key: Decimal(repr(item)) if isinstance(item, float) else item for key, item in values.items()}


regions = st.sampled_from(["region-a", "region-b", "region-c"])


def scaled(value: Any) -> Any:
    """A number with what PostgreSQL's numeric keeps of how it is written: all digits, also zeros behind the point."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return value
    return Decimal(value), max(0, -int(Decimal(value).as_tuple().exponent))


@st.composite
def client_events(draw: st.DrawFn) -> dict[str, Any]:
    """A valid event as a client would write it, ready for `json.dumps`."""
    event: dict[str, Any] = {
        "serviceName": draw(names),
        "level": draw(
            levels | st.sampled_from([form for name in BY_NAME for form in (name, name.upper(), name.title())])
        ),
        "message": draw(texts),
        "correlationId": draw(names),
    }
    identity = draw(st.sampled_from(["none", "timestamp", "whole"]))
    if identity != "none":
        milliseconds = st.integers(100_000_000_000, 7_289_654_399_999)
        event["timestamp"] = draw(times.map(format_time) | milliseconds)
    if identity == "whole":
        event["eventId"] = str(draw(st.uuids()))
    if draw(st.booleans()):
        event["attributes"] = draw(attributes)
    return event


@st.composite
def client_texts(draw: st.DrawFn) -> bytes:
    """The same as JSON, with numbers that no `json.dumps` would write."""
    event = draw(client_events()) | {"attributes": {}}
    numbers = draw(st.dictionaries(names, number_texts, max_size=4))
    written = ",".join(f"{json.dumps(name)}: {number}" for name, number in numbers.items())
    return json.dumps(event).replace('"attributes": {}', f'"attributes": {{{written}}}').encode()


@st.composite
def received_events(draw: st.DrawFn) -> ReceivedEvent:
    """An event with its identity, as a gateway hands it on."""
    return ReceivedEvent.model_construct(
        event_id=draw(st.uuids()),
        timestamp=draw(times),
        service_name=draw(names),
        level=draw(levels),
        message=draw(texts),
        correlation_id=draw(names),
        attributes=exactly(draw(attributes)),
        received_at=draw(times),
    )


@st.composite
def log_records(draw: st.DrawFn) -> LogRecord:
    """The value of a Kafka record."""
    return draw(received_events()).to_record(draw(regions))


# What may stand in any place of a JSON document, valid there or not.
json_values = st.recursive(
    attribute_values | st.integers() | st.sampled_from(["", "INFO", "2026-01-01T00:00:00Z", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def spoilt_events(draw: st.DrawFn) -> dict[str, Any]:
    """An event with one field changed, added or taken away: often wrong, sometimes right."""
    event = draw(client_events())
    field = draw(st.sampled_from([*event, "timestamp", "eventId", "attributes", "unknown"]))
    if draw(st.booleans()) and field in event:
        del event[field]
    else:
        event[field] = draw(json_values)
    return event
