import json

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.decode import decode
from consumer.envelope import DeadLetter, Envelope
from consumer.tests.strategies import MIRRORED, OWN, REGION, a_record


@dataclass(frozen=True)
class Read:
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 20
    headers: Sequence[tuple[str, bytes | None]] = ()


VALID = a_record(7, time_us=12, received_us=15, correlation_id="trace")


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(VALID.encode()) | fields).encode()


def without(field: str) -> bytes:
    event = json.loads(VALID.encode())
    del event[field]
    return json.dumps(event).encode()


def test_a_record_becomes_an_envelope_that_knows_where_it_was_read() -> None:
    envelope = decode(Read(3, b"trace", VALID.encode()), OWN, REGION)

    assert isinstance(envelope, Envelope)
    assert envelope.record == VALID
    assert (envelope.partition, envelope.offset, envelope.key, envelope.value) == (OWN, 3, b"trace", VALID.encode())
    assert (envelope.origin, envelope.mirrored) == (REGION, False)
    assert (envelope.time_us, envelope.received_us, envelope.produced_us) == (12, 15, 20_000)
    assert envelope.order == (12, REGION, OWN.number, 3)


TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([("traceparent", TRACEPARENT)], TRACEPARENT),
        ([("other", b"x"), ("traceparent", TRACEPARENT)], TRACEPARENT),
        ([("traceparent", b"nonsense")], None),
        ([("traceparent", None)], None),
        ([("other", TRACEPARENT)], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("value", [VALID.encode(), b"poison", None])
def test_a_traceparent_stays_with_the_event_and_with_the_dead_letter(
    headers: Sequence[tuple[str, bytes | None]], known: bytes | None, value: bytes | None
) -> None:
    assert decode(Read(3, None, value, headers=headers), OWN, REGION).traceparent == known


def test_a_dead_letter_says_about_its_event_what_can_be_made_out() -> None:
    letter = decode(Read(3, b"trace", changed(level="LOUD"), headers=[("traceparent", TRACEPARENT)]), OWN, REGION)

    assert isinstance(letter, DeadLetter)
    assert letter.about() == {
        "correlationId": "trace",
        "eventId": str(VALID.event_id),
        "traceparent": TRACEPARENT.decode(),
    }


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]", b'{"eventId": 7}'])
def test_a_dead_letter_of_which_nothing_can_be_made_out_says_nothing(value: bytes | None) -> None:
    letter = decode(Read(3, None, value), OWN, REGION)

    assert isinstance(letter, DeadLetter)
    assert letter.about() == {}


def test_the_origin_of_a_mirrored_record_is_the_cluster_it_was_copied_from() -> None:
    envelope = decode(Read(3, None, VALID.encode()), MIRRORED, REGION)

    assert isinstance(envelope, Envelope)
    assert (envelope.origin, envelope.mirrored) == ("region-b", True)


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, "empty", "no value"),
        (b"", "malformed", "not valid JSON"),
        (b"\xff\xfe", "malformed", "not valid JSON"),
        (b"{", "malformed", "not valid JSON"),
        (b"[" * 100_000, "malformed", "not valid JSON"),
        (b"[]", "malformed", "must be a JSON object"),
        (b"null", "malformed", "must be a JSON object"),
        (b'"text"', "malformed", "must be a JSON object"),
        (b'{"user": 1, "action": "login"}', "invalid", "eventId: is required"),
        (without("originRegion"), "invalid", "originRegion: is required"),
        (without("receivedAt"), "invalid", "receivedAt: is required"),
        (changed(level="LOUD"), "invalid", "level: must be one of"),
        (changed(timestamp="yesterday"), "invalid", "timestamp: must be RFC 3339"),
        (changed(message="\x00"), "invalid", "message: must not contain the character U+0000"),
        (changed(attributes={"a": {"b": 1}}), "invalid", "attributes: "),
        (changed(eventId=7), "invalid", "eventId: must be a UUID"),
    ],
)
def test_what_is_no_event_becomes_a_dead_letter_that_says_why(value: bytes | None, reason: str, detail: str) -> None:
    letter = decode(Read(9, b"key", value), OWN, REGION)

    assert isinstance(letter, DeadLetter)
    assert (letter.partition, letter.offset, letter.key, letter.value) == (OWN, 9, b"key", value)
    assert letter.reason == reason
    assert detail in letter.detail


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_no_bytes_raise(value: bytes) -> None:
    assert isinstance(decode(Read(0, None, value), OWN, REGION), DeadLetter)
