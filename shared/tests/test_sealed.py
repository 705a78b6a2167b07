"""The fast ways of reading and writing events never differ from the slow ones, which decide."""

import json

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from shared.event.model import (
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    InvalidEventError,
    LogEvent,
    LogRecord,
    ReceivedEvent,
    decode_array,
    decode_event,
    decode_lines,
    decode_received,
    decode_record,
)
from shared.event.sealed import Intake, SealedEvent, decode_handoff, seal, to_record
from shared.tests import profiles, strategies

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
NEW_ID = UUID("019ab0c4-52a0-7c1a-9d53-0242ac120002")
USUAL = b'{"serviceName":"checkout","level":"INFO","message":"Hello","correlationId":"trace-1"}'


def intake() -> Intake:
    return Intake(NOW, lambda: NEW_ID)


def known(event: SealedEvent | InvalidEventError) -> object:
    """Return what is to be the same, whichever way was taken."""
    if isinstance(event, InvalidEventError):
        return str(event)
    return event.event_id, event.timestamp, event.correlation_id, decode_received(event.encoded)


def slowly(event: LogEvent | InvalidEventError) -> object:
    return known(event if isinstance(event, InvalidEventError) else seal(event.received(NOW, lambda: NEW_ID)))


def outcome(decode: Callable[[bytes], Any], raw: bytes) -> object:
    try:
        decoded = decode(raw)
    except InvalidEventError as exc:
        return f"refused: {exc}"
    return decoded


def agree(raw: bytes) -> None:
    """Check that alone, in an array and on a line, both ways come to the same."""
    assert outcome(lambda r: known(intake().seal(r)), raw) == outcome(lambda r: slowly(decode_event(r)), raw)
    array = b"[" + b",".join([USUAL, raw, USUAL]) + b"]"
    assert outcome(lambda r: list(map(known, intake().seal_array(r))), array) == outcome(
        lambda r: list(map(slowly, decode_array(r))), array
    )
    lines = b"\n".join([USUAL, raw, USUAL])
    assert outcome(lambda r: list(map(known, intake().seal_lines(r))), lines) == outcome(
        lambda r: list(map(slowly, decode_lines(r))), lines
    )


@profiles.times(8)
@given(event=strategies.client_events() | strategies.spoilt_events(), escape=st.booleans())
@example(event=json.loads(USUAL) | {"eventId": None, "timestamp": None}, escape=False)
@example(
    event=json.loads(USUAL) | {"eventId": str(NEW_ID).upper(), "timestamp": "2026-01-01T00:00:00.5Z"}, escape=False
)
@example(event=json.loads(USUAL) | {"eventId": str(NEW_ID)}, escape=False)
@example(event=json.loads(USUAL) | {"attributes": {"k": float("nan")}}, escape=False)
@example(event=json.loads(USUAL) | {"attributes": {"k": 10**100}}, escape=False)
def test_what_a_client_sends_is_judged_and_kept_as_by_the_slow_way(*, event: dict[str, Any], escape: bool) -> None:
    agree(json.dumps(event, ensure_ascii=escape).encode(errors="surrogatepass"))


@given(strategies.client_texts())
def test_numbers_are_judged_and_kept_as_by_the_slow_way(raw: bytes) -> None:
    agree(raw)


@pytest.mark.parametrize(
    "number", ["1e-1001", "0." + "1" * 1001, "1e309", "0e99999", "18446744073709551616", "-0.0", "1.0"]
)
def test_a_number_that_is_unusual_is_judged_as_by_the_slow_way(number: str) -> None:
    event = USUAL[:-1] + b',"attributes":{"k": ' + number.encode() + b"}}"
    agree(event)
    line = seal(decode_event(USUAL).received(NOW, lambda: NEW_ID)).encoded.replace(
        b"{}", b'{"k":' + number.encode() + b"}"
    )
    assert outcome(lambda r: known(decode_handoff(r)), line) == outcome(lambda r: known(seal(decode_received(r))), line)


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-01-01T00:00:00.1Z",
        "2026-01-01T00:00:00.123Z",
        "2026-01-01T00:00:00.123456Z",
        "2026-01-01T00:00:00.1234567Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00.1z",
        "2026-01-01T00:00:00.1z",
        "2026-01-01T00:00:00.1+00:00",
        "2026-01-01T00:00:00,1Z",
        "2026-01-01 00:00:00.1Z",
        "2026-13-01T00:00:00.1Z",
        "2026-01-01T24:00:00.1Z",
        "2026-01-01T00:00:00.1_0Z",
        "2026-01-01T00:00:00.\u0661Z",
        "1969-12-31T23:59:59.999999Z",
        "2200-12-31T23:59:59.999999Z",
        "2201-01-01T00:00:00.000000Z",
        "",
    ],
)
def test_a_time_is_read_as_by_the_slow_way(timestamp: str) -> None:
    agree(json.dumps(json.loads(USUAL) | {"timestamp": timestamp}, ensure_ascii=False).encode())


@given(st.data())
def test_damaged_bytes_are_judged_as_by_the_slow_way(data: st.DataObject) -> None:
    event = json.dumps(data.draw(strategies.client_events()), ensure_ascii=False).encode()
    raw = bytearray(event)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    agree(bytes(raw))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"[" + USUAL,
        b"[" + USUAL + b",]",
        b"[[" + USUAL + b"]]",
        b"[null]",
        b" [ " + USUAL + b" ]\n",
        b"[" + USUAL + b"] x",
        b"[" * 10_000,
        b'["\xff"]',
        b"[" + b",".join([b"0"] * (MAX_BATCH_EVENTS + 1)) + b"]",
        b"[" + USUAL.replace(b"Hello", b"x" * (MAX_EVENT_BYTES + 1)) + b"," + USUAL + b"]",
    ],
)
def test_an_array_is_judged_as_by_the_slow_way(body: bytes) -> None:
    assert outcome(lambda r: list(map(known, intake().seal_array(r))), body) == outcome(
        lambda r: list(map(slowly, decode_array(r))), body
    )


@given(strategies.received_events(), strategies.regions)
def test_what_is_handed_over_and_written_is_the_event_itself(event: ReceivedEvent, region: str) -> None:
    over = decode_handoff(event.encode())

    assert known(over) == known(seal(event))
    record = to_record(over, region)
    assert record.correlation_id == event.correlation_id
    assert decode_record(record.value) == LogRecord.model_construct(None, **event.__dict__ | {"origin_region": region})


@given(st.data())
def test_what_is_handed_over_damaged_is_judged_as_by_the_slow_way(data: st.DataObject) -> None:
    raw = bytearray(data.draw(strategies.received_events()).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    line = bytes(raw)

    assert outcome(lambda r: known(decode_handoff(r)), line) == outcome(lambda r: known(seal(decode_received(r))), line)


def test_the_usual_event_takes_the_fast_way() -> None:
    assert intake()._usual(USUAL) is not None
    with_identity = {"eventId": str(NEW_ID), "timestamp": "2026-01-01T00:00:00.123Z", "attributes": {"a": 1, "b": "é"}}
    raw = json.dumps(json.loads(USUAL) | with_identity, ensure_ascii=False).encode()
    assert intake()._usual(raw) is not None
