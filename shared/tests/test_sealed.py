"""Events as they are passed on: one decoder takes them, the model finds the same wrong, and no way in differs."""

import json

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from shared.event.fields import MAX_BATCH_EVENTS, MAX_EVENT_BYTES, FieldProblem, InvalidEventError
from shared.event.long_events import LONG_BYTES
from shared.event.model import LogEvent, LogRecord, ReceivedEvent
from shared.event.opened import decode_received, decode_record
from shared.event.sealed import Intake, SealedEvent, decode_handoff, to_record
from shared.tests import odd_json, profiles, strategies
from shared.tests.described import described

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
NEW_ID = UUID("019ab0c4-52a0-7c1a-9d53-0242ac120002")
USUAL = b'{"serviceName":"checkout","level":"INFO","message":"Hello","correlationId":"trace-1"}'
HALF = FieldProblem("timestamp", "is required when eventId is sent: both together are the event's identity")


def intake(explained: int = MAX_BATCH_EVENTS) -> Intake:
    return Intake(NOW, lambda: NEW_ID, explained)


def outcome(decode: Callable[[bytes], SealedEvent], raw: bytes) -> SealedEvent | str:
    try:
        return decode(raw)
    except InvalidEventError as exc:
        return str(exc)


def known(event: SealedEvent | InvalidEventError) -> SealedEvent | str:
    return str(event) if isinstance(event, InvalidEventError) else event


def agree(raw: bytes) -> None:
    """Check that the decoder takes what the model finds nothing wrong with, and that all ways in are alike."""
    alone, expected = outcome(intake().seal, raw), described(LogEvent, raw)
    if isinstance(expected, str):
        # Of a long event that is no JSON the sentence is another parser's.
        other = len(raw) > LONG_BYTES and expected.startswith("not valid JSON: ")
        assert alone == expected or (other and str(alone).startswith("not valid JSON: "))
    elif expected["event_id"] is not None and expected["timestamp"] is None:
        assert alone == str(HALF)
    else:
        assert isinstance(alone, SealedEvent), alone
        given = {name: value for name, value in expected.items() if value is not None}
        left_out = {"event_id": NEW_ID, "timestamp": NOW, "received_at": NOW, "tenant": None}
        assert dict(decode_received(alone.encoded)) == left_out | given
    lines = b"\n".join([USUAL, raw, USUAL])
    if b"\n" not in raw:
        usual = intake().seal(USUAL)
        assert list(map(known, intake().seal_lines(lines))) == [usual, alone, usual]
    if isinstance(alone, str) and alone.startswith("not valid JSON"):
        return
    array = b"[" + b",".join([USUAL, raw.removeprefix(odd_json.BOM), USUAL]) + b"]"
    assert [opened(event) for event in intake().seal_array(array)][1] == opened(alone)


def opened(event: SealedEvent | InvalidEventError | str) -> object:
    return decode_received(event.encoded) if isinstance(event, SealedEvent) else str(event)


@profiles.times(8)
@given(odd_json.events(odd_json.USUAL))
def test_the_model_finds_wrong_what_the_decoder_refuses_and_nothing_else(raw: bytes) -> None:
    agree(raw)


@profiles.times(8)
@given(event=strategies.client_events() | strategies.spoilt_events(), escape=st.booleans())
@example(event=json.loads(USUAL) | {"eventId": None, "timestamp": None}, escape=False)
@example(
    event=json.loads(USUAL) | {"eventId": str(NEW_ID).upper(), "timestamp": "2026-01-01T00:00:00.5Z"}, escape=False
)
@example(event=json.loads(USUAL) | {"eventId": str(NEW_ID)}, escape=False)
@example(event=json.loads(USUAL) | {"attributes": {"k": float("nan")}}, escape=False)
@example(event=json.loads(USUAL) | {"attributes": {"k": 10**100}}, escape=False)
def test_what_clients_send_is_judged_as_it_is_described(*, event: dict[str, Any], escape: bool) -> None:
    agree(json.dumps(event, ensure_ascii=escape).encode(errors="surrogatepass"))


@given(strategies.client_texts())
def test_numbers_are_judged_as_they_are_described(raw: bytes) -> None:
    agree(raw)


@given(st.data())
def test_damaged_bytes_are_judged_as_they_are_described(data: st.DataObject) -> None:
    raw = bytearray(data.draw(odd_json.events(odd_json.USUAL)))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    agree(bytes(raw))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[" + USUAL, b"[" + USUAL + b",]", b'["\xff"]', b"[" + USUAL + b"] x", b"[" * 10_000,
        b'["\\x"]', b'[{"a":"\xff"}]', b"null", b"[" + b",".join([b"0"] * (MAX_BATCH_EVENTS + 1)) + b"]",
    ],
)  # fmt: skip
def test_what_is_no_array_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(InvalidEventError):
        intake().seal_array(body)


@pytest.mark.parametrize("spoilt", [b'"\\ud83d"', b"NaN", b"1" * 5000, b"[" * 400 + b"]" * 400])
def test_one_bad_value_spoils_its_own_event_only(spoilt: bytes) -> None:
    bad = USUAL[:-1] + b',"attributes":{"k":' + spoilt + b"}}"

    first, refused, last = intake().seal_array(b"[" + b",".join([USUAL, bad, USUAL]) + b"]")

    assert isinstance(refused, InvalidEventError)
    assert first == last == intake().seal(USUAL)


def test_an_element_is_measured_without_its_blanks() -> None:
    blanks = b" " * MAX_EVENT_BYTES
    long = USUAL.replace(b"Hello", b"x" * MAX_EVENT_BYTES)

    padded, too_long = intake().seal_array(b"[" + USUAL[:-1] + blanks + b"}," + long + b"]")
    with_nan = intake().seal_array(b"[" + USUAL[:-1] + blanks + b"}," + long + b",NaN]")

    assert padded == with_nan[0] == intake().seal(USUAL)
    assert str(too_long) == str(with_nan[1])
    assert str(too_long).startswith(f"an event may have {MAX_EVENT_BYTES} bytes, this one has ")


@pytest.mark.parametrize("written", ["2016-12-31T23:59:60Z", "2016-12-31T23:59:60.000000Z", "2016-12-31T23:59:60.0Z"])
def test_a_leap_second_is_kept_as_the_second_after_it(written: str) -> None:
    event = intake().seal(USUAL[:-1] + f',"timestamp":"{written}"}}'.encode())

    assert event.timestamp == "2017-01-01T00:00:00.000000Z"
    assert b"23:59:60" not in event.encoded


@given(strategies.received_events(), strategies.regions)
def test_what_is_handed_over_and_written_is_the_event_itself(event: ReceivedEvent, region: str) -> None:
    over = decode_handoff(event.encode())

    assert over.encoded == event.encode()
    assert (over.event_id, over.correlation_id) == (str(event.event_id), event.correlation_id)
    record = to_record(over, region)
    assert record.correlation_id == event.correlation_id
    assert decode_record(record.value) == LogRecord.model_construct(None, **event.__dict__ | {"origin_region": region})


@profiles.times(8)
@given(odd_json.events(odd_json.RECEIVED))
def test_what_is_handed_over_in_another_form_is_judged_as_described_and_made_canonical(raw: bytes) -> None:
    over, expected = outcome(decode_handoff, raw), described(ReceivedEvent, raw)

    if isinstance(over, str):
        assert over == expected
    else:
        assert dict(decode_received(over.encoded)) == expected
        assert decode_handoff(over.encoded) == over


def test_an_event_in_canonical_form_has_one_way_to_be_written() -> None:
    over = decode_handoff(
        b'{ "timestamp" : "2016-12-31T23:59:60.000000Z", "eventId":"019AB0C4-52A0-7C1A-9D53-0242AC120002","serviceName":"s",'
        b'"level":"info","message":"\\u0041","correlationId":"c","attributes":null,"receivedAt":1795435200123}'
    )

    assert over.encoded == (
        b'{"eventId":"019ab0c4-52a0-7c1a-9d53-0242ac120002","timestamp":"2017-01-01T00:00:00.000000Z","serviceName":"s",'
        b'"level":"INFO","message":"A","correlationId":"c","attributes":{},"receivedAt":"2026-11-23T12:00:00.123000Z"}'
    )


@pytest.mark.parametrize("many", [b"[" + b",".join([b"{}"] * 5) + b"]", b"\n".join([b"{}"] * 5)])
def test_of_so_many_refused_events_every_mistake_is_named_and_of_further_ones_the_first(many: bytes) -> None:
    opened = intake(explained=2)
    refused = opened.seal_array(many) if many.startswith(b"[") else opened.seal_lines(many)

    assert all(isinstance(error, InvalidEventError) for error in refused)
    assert [str(error) for error in refused] == [
        "serviceName: is required; level: is required; message: is required; correlationId: is required"
    ] * 2 + ["serviceName: is required"] * 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"level": 7}, "level: Expected `str`, got `int`"),
        ({"level": "LOUD"}, "level: must be one of TRACE"),
        ({"serviceName": ""}, "serviceName: Expected `str` of length >= 1"),
        ({"attributes": {"k" * 257: 1}}, "attributes: Expected `str` of length <= 256"),
        ({"attributes": {"k": [1]}}, "attributes: value of 'k' must be a string"),
        ({"u" * 1000: 1}, f"{'u' * 64}…: is not a field of an event"),
        ({"message": "\x00"}, "message: must not contain the character U+0000"),
        ({"attributes": {"k": "\x00"}}, "attributes: must not contain the character U+0000"),
        ({"timestamp": "yesterday"}, "timestamp: must be RFC 3339"),
        ({"timestamp": NOW.isoformat(), "eventId": "7"}, "eventId: must be a UUID"),
        ({"eventId": str(NEW_ID)}, str(HALF)),
    ],
)
def test_the_first_mistake_is_named_with_its_field(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidEventError) as refused:
        intake(explained=0).seal(json.dumps(json.loads(USUAL) | changes).encode())

    assert str(refused.value).startswith(sentence)
    assert len(str(refused.value)) < 300
