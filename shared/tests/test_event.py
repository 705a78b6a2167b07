"""What is taken as an event is carried exactly, and all ways in judge alike."""

import contextlib
import json

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from shared.event.model import (
    MAX_ATTRIBUTES,
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    InvalidEventError,
    LogRecord,
    ReceivedEvent,
    epoch_us,
    format_time,
    from_epoch_us,
)
from shared.event.opened import decode_received, decode_record
from shared.event.sealed import Intake, SealedEvent, decode_handoff
from shared.tests import profiles, strategies

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
NEW_ID = UUID("019ab0c4-52a0-7c1a-9d53-0242ac120002")
LONGEST_SENTENCE = 1200


def raw_event(**changes: Any) -> bytes:
    event = {"serviceName": "checkout", "level": "INFO", "message": "Hello", "correlationId": "trace-1"}
    return json.dumps(event | changes).encode()


def intake(new_id: Callable[[], UUID] = lambda: NEW_ID) -> Intake:
    return Intake(NOW, new_id)


def opened(taken: SealedEvent | InvalidEventError) -> ReceivedEvent | InvalidEventError:
    return taken if isinstance(taken, InvalidEventError) else decode_received(taken.encoded)


def decode_event(raw: bytes) -> ReceivedEvent:
    return decode_received(intake().seal(raw).encoded)


def decode_array(raw: bytes) -> list[ReceivedEvent | InvalidEventError]:
    return list(map(opened, intake().seal_array(raw)))


def decode_lines(raw: bytes) -> list[ReceivedEvent | InvalidEventError]:
    return list(map(opened, intake().seal_lines(raw)))


def verdict(raw: bytes) -> ReceivedEvent | None:
    try:
        return decode_event(raw)
    except InvalidEventError:
        return None


@given(strategies.received_events())
def test_a_received_event_survives_the_hop_unchanged(event: ReceivedEvent) -> None:
    assert decode_received(event.encode()) == event


@given(strategies.log_records())
def test_a_record_survives_kafka_unchanged(record: LogRecord) -> None:
    assert decode_record(record.encode()) == record


@given(strategies.log_records())
def test_the_hand_written_encoder_agrees_with_the_model(record: LogRecord) -> None:
    """`encode` names the fields itself; a field added to the model only must not go missing unnoticed."""
    modelled = json.loads(record.model_dump_json(by_alias=True))
    written = json.loads(record.encode(), parse_float=Decimal)

    assert written.pop("attributes") == record.attributes
    # The default tenant has no name on the wire.
    assert "tenant" not in written if record.tenant is None else written["tenant"] == record.tenant
    assert {"tenant": None} | written | {"attributes": modelled["attributes"]} == modelled
    assert set(modelled) == {
        "tenant",
        "eventId",
        "timestamp",
        "serviceName",
        "level",
        "message",
        "correlationId",
        "attributes",
        "receivedAt",
        "originRegion",
    }


@given(strategies.log_records())
def test_the_canonical_form_is_canonical(record: LogRecord) -> None:
    """Decoded and encoded again it is the same bytes, whatever service did it."""
    assert decode_record(record.encode()).encode() == record.encode()


@given(strategies.log_records())
def test_an_encoded_event_is_one_line(record: LogRecord) -> None:
    """The hand-off separates events by line breaks."""
    assert b"\n" not in record.encode()


@given(strategies.client_events())
def test_what_is_accepted_is_carried_exactly(sent: dict[str, Any]) -> None:
    event = decode_event(json.dumps(sent).encode())
    stored = decode_record(event.to_record("region-a").encode())

    assert stored.service_name == sent["serviceName"]
    assert stored.message == sent["message"]
    assert stored.correlation_id == sent["correlationId"]
    attributes = strategies.exactly(sent.get("attributes", {}))
    assert stored.attributes == attributes
    assert [type(v) for v in stored.attributes.values()] == [type(v) for v in attributes.values()]
    assert str(stored.event_id) == sent.get("eventId", str(NEW_ID))
    assert stored.received_at == NOW
    if isinstance(sent.get("timestamp"), str):
        assert format_time(stored.timestamp) == sent["timestamp"]


@profiles.times(6)
@given(event=strategies.client_events() | strategies.spoilt_events(), escape=st.booleans())
@example(event={"serviceName": "\ud800", "level": "INFO", "message": "", "correlationId": "c"}, escape=True)
@example(event={"serviceName": "a", "level": "INFO", "message": "", "correlationId": "c", "\ud800": 1}, escape=True)
@example(
    event={"serviceName": "a", "level": "INFO", "message": "", "correlationId": "c", "attributes": {"\udfff": 1}},
    escape=True,
)
@example(
    event={"serviceName": "a", "level": "INFO", "message": "", "correlationId": "c", "attributes": {"k": float("nan")}},
    escape=True,
)
@example(
    event={"serviceName": "a", "level": "INFO", "message": "", "correlationId": "c", "attributes": {"k": 10**100}},
    escape=True,
)
@example(
    event={"serviceName": "a", "level": "INFO", "message": "", "correlationId": "c", "timestamp": 10**70}, escape=True
)
@example(event={"serviceName": "a", "level": float("inf"), "message": "", "correlationId": "c"}, escape=False)
def test_alone_in_an_array_or_on_a_line_an_event_is_judged_alike(*, event: dict[str, Any], escape: bool) -> None:
    raw = json.dumps(event, ensure_ascii=escape).encode(errors="surrogatepass")
    good = raw_event()

    alone = verdict(raw)
    in_array, neighbour = decode_array(b"[" + raw + b"," + good + b"]")
    on_line, next_line = decode_lines(raw + b"\n" + good)

    assert isinstance(in_array, ReceivedEvent) == isinstance(on_line, ReceivedEvent) == (alone is not None)
    if alone is not None:
        assert in_array == on_line == alone
    assert neighbour == next_line == decode_event(good)


@pytest.mark.parametrize("digits", [21, 64, 65, 400, 5000])
def test_a_number_too_large_spoils_its_own_event_only(digits: int) -> None:
    bad = raw_event(attributes={"k": 0}).replace(b'"k": 0', b'"k": ' + b"9" * digits)

    spoilt, good = decode_array(b"[" + bad + b"," + raw_event() + b"]")

    assert isinstance(spoilt, InvalidEventError)
    assert isinstance(good, ReceivedEvent)
    assert verdict(bad) is None


@profiles.times(6)
@given(strategies.spoilt_events())
def test_a_refusal_echoes_little_of_the_input(event: dict[str, Any]) -> None:
    [result] = decode_lines(json.dumps(event).encode())

    if isinstance(result, InvalidEventError):
        assert len(str(result)) < LONGEST_SENTENCE


@pytest.mark.parametrize(
    "raw",
    [
        raw_event(**{"u" * 100_000: 1}),
        raw_event(**{f"unknown-{i}": 1 for i in range(10_000)}),
        raw_event(attributes={"k" * 250: []}),
        raw_event(level="L" * 100_000),
        raw_event(timestamp="1" * 100_000),
        raw_event(timestamp="2026-99-01T00:00:00." + "1" * 100_000 + "Z"),
        raw_event(eventId="e" * 100_000),
        raw_event(serviceName="s" * 100_000),
        b'"' + b"x" * 100_000 + b'"',
        b"x" * 100_000,
        b"x" * (MAX_EVENT_BYTES + 1),
    ],
    ids=lambda raw: f"{raw[:20]!r}",
)
def test_a_huge_mistake_gets_a_short_sentence(raw: bytes) -> None:
    with pytest.raises(InvalidEventError) as caught:
        decode_event(raw)

    assert len(str(caught.value)) < LONGEST_SENTENCE
    assert all(len(problem.field) < 100 and len(problem.message) < 200 for problem in caught.value.problems)


@given(strategies.times, st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_the_zone_a_time_is_written_in_makes_no_difference(time: datetime, offset_minutes: int) -> None:
    elsewhere = time.astimezone(timezone(timedelta(minutes=offset_minutes)))

    event = decode_event(raw_event(timestamp=elsewhere.isoformat()))

    assert event.timestamp == time


@given(strategies.times)
def test_epoch_microseconds_keep_every_microsecond(time: datetime) -> None:
    assert from_epoch_us(epoch_us(time)) == time


def test_the_last_of_two_equal_keys_wins() -> None:
    """As in every JSON parser that does not refuse them; pinned, so that no service ever reads the other one."""
    twice = raw_event()[:-1] + b', "message": "second", "attributes": {"k": 1, "k": 2}}'

    for event in (decode_event(twice), *decode_array(b"[" + twice + b"]"), *decode_lines(twice)):
        assert isinstance(event, ReceivedEvent)
        assert event.message == "second"
        assert event.attributes == {"k": 2}


def test_identity_is_given_only_where_it_is_missing() -> None:
    def never() -> UUID:
        pytest.fail("an id was made for an event that has one")

    mine = intake(never).seal(raw_event(eventId=str(NEW_ID).upper(), timestamp="2020-01-01T00:00:00Z"))
    without = intake().seal(raw_event())
    half = intake().seal(raw_event(timestamp="2020-01-01T00:00:00Z"))

    assert (mine.event_id, mine.timestamp) == (str(NEW_ID), "2020-01-01T00:00:00.000000Z")
    assert (without.event_id, without.timestamp) == (str(NEW_ID), format_time(NOW))
    assert (half.event_id, half.timestamp) == (str(NEW_ID), "2020-01-01T00:00:00.000000Z")


@pytest.mark.parametrize(
    "changes",
    [
        {"message": "a\x00b"},
        {"serviceName": "\x00"},
        {"correlationId": "\x00"},
        {"attributes": {"k": "\x00"}},
        {"attributes": {"\x00": 1}},
    ],
)
def test_what_postgresql_cannot_store_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidEventError, match=r"U\+0000"):
        decode_event(raw_event(**changes))


def test_limits_are_inclusive() -> None:
    largest = raw_event(message="")
    largest = raw_event(message="x" * (MAX_EVENT_BYTES - len(largest)))

    assert len(largest) == MAX_EVENT_BYTES
    assert verdict(largest) is not None
    assert verdict(largest + b" ") is None
    assert verdict(raw_event(attributes={str(i): i for i in range(MAX_ATTRIBUTES)})) is not None
    assert verdict(raw_event(attributes={str(i): i for i in range(MAX_ATTRIBUTES + 1)})) is None
    assert verdict(raw_event(correlationId="c" * 256)) is not None
    assert verdict(raw_event(correlationId="c" * 257)) is None


def test_an_event_too_large_is_refused_in_a_batch_too() -> None:
    large = raw_event(message="x" * MAX_EVENT_BYTES)

    for results in (decode_array(b"[" + large + b"," + raw_event() + b"]"), decode_lines(large + b"\n" + raw_event())):
        assert isinstance(results[0], InvalidEventError)
        assert isinstance(results[1], ReceivedEvent)


def test_a_batch_of_too_many_is_refused_before_its_events_are_looked_at() -> None:
    """A body of 8 MiB can hold four million elements; checking each would block the service for a minute."""
    with pytest.raises(InvalidEventError, match=f"may have {MAX_BATCH_EVENTS} events, this one has 10001; split it"):
        decode_array(b"[" + b",".join([b"0"] * (MAX_BATCH_EVENTS + 1)) + b"]")
    with pytest.raises(InvalidEventError, match="split it"):
        decode_lines(b"0\n" * (MAX_BATCH_EVENTS + 1))

    assert len(decode_lines(b"0\n" * MAX_BATCH_EVENTS)) == MAX_BATCH_EVENTS


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n\n \n", b"\r", b"\r\r"])
def test_blank_lines_are_no_events(ending: bytes) -> None:
    assert len(decode_lines(raw_event() + ending)) == 1


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_lines_are_lines_whoever_wrote_them(ending: bytes, mark: bytes) -> None:
    """Old and new systems, and files that were put together of several: each may begin with a mark of its own."""
    lines = decode_lines(mark + raw_event() + ending + mark + raw_event() + ending)

    assert lines == [decode_event(raw_event())] * 2


def test_a_mark_of_the_byte_order_is_no_part_of_what_follows() -> None:
    assert decode_event(BOM + raw_event()) == decode_event(raw_event())
    assert decode_array(BOM + b"[" + raw_event() + b"]") == [decode_event(raw_event())]
    assert decode_lines(BOM) == decode_lines(BOM + b"\r\n") == []


@given(strategies.number_texts)
def test_a_number_is_carried_as_it_is_written(text: str) -> None:
    event = decode_event(raw_event(attributes={"k": 0}).replace(b'"k": 0', b'"k": ' + text.encode()))
    stored = decode_record(event.to_record("region-a").encode())

    kept = stored.attributes["k"]
    assert isinstance(kept, int) == text.lstrip("-").isdigit(), kept
    assert text == "-0" or Decimal(kept).as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        ("18446744073709551616", "must fit into 64 bits"),
        ("-9223372036854775809", "must fit into 64 bits"),
        ("1e309", "fit into a double"),
        ("-1.8e308", "fit into a double"),
        ("0e99999", "fit into a double"),
        ("1e99999999999999999999", "must be a finite number"),
        ("NaN", "must be a finite number"),
        ("-Infinity", "must be a finite number"),
        ("1e-1001", "at most 1000 digits"),
        ("0." + "1" * 1001, "at most 1000 digits"),
        ("1e-99999999999999999999", "must be a finite number"),
    ],
)
def test_a_number_of_few_characters_does_not_become_one_of_millions(number: str, sentence: str) -> None:
    raw = raw_event(attributes={"k": 0}).replace(b'"k": 0', b'"k": ' + number.encode())
    with pytest.raises(InvalidEventError, match=sentence):
        decode_event(raw)


def test_no_attributes_are_no_attributes_however_they_are_left_out() -> None:
    assert (
        decode_event(raw_event(attributes=None)) == decode_event(raw_event(attributes={})) == decode_event(raw_event())
    )
    assert decode_event(raw_event(attributes={"": 1})).attributes == {"": 1}


@pytest.mark.parametrize(
    "raw",
    [b"{}", b'"x"', b"1", b"null", b"", b"[", b"[1,]", b"\xef\xbb\xbf{}", b"\xef\xbb\xbf\xef\xbb\xbf[]", b"[1] [2]"],
)
def test_what_is_no_array_is_no_batch(raw: bytes) -> None:
    with pytest.raises(InvalidEventError):
        decode_array(raw)


@given(st.binary(max_size=200))
def test_bytes_from_anywhere_are_decoded_or_refused(raw: bytes) -> None:
    """No decoder may end in anything but its result or `InvalidEventError`."""
    for decode in (decode_event, decode_received, decode_handoff, decode_record, decode_array, decode_lines):
        with contextlib.suppress(InvalidEventError):
            decode(raw)
