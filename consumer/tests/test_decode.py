import json

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st
from uuid_utils import uuid7

from consumer.copy_format import fingerprint
from consumer.decode import Decoder
from consumer.envelope import DeadLetter, Envelope, Partition
from consumer.tests.strategies import MIRRORED, OWN, REGION, Read, a_record, read_fields
from shared.event.model import MAX_ATTRIBUTES, LogRecord, epoch_us
from shared.event.sealed import Intake, to_record
from shared.tests import odd_json, profiles
from shared.tests.described import described
from shared.tests.strategies import client_texts, log_records, scaled

VALID = a_record(7, time_us=12, received_us=15, correlation_id="trace")


def decode(record: Read, partition: Partition = OWN) -> Envelope | DeadLetter:
    return Decoder(partition, REGION).decode(record)


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(VALID.encode()) | fields, ensure_ascii=False).encode()


def without(field: str) -> bytes:
    event = json.loads(VALID.encode())
    del event[field]
    return json.dumps(event).encode()


def test_a_record_becomes_an_envelope_that_knows_where_it_was_read() -> None:
    envelope = decode(Read(3, VALID.encode(), b"trace", timestamp=20))

    assert isinstance(envelope, Envelope)
    assert envelope.event_id == VALID.event_id.bytes
    _, _, _, origin, service_name, level, message, *others = read_fields(envelope.columns)
    assert (service_name.decode(), level, message.decode()) == (VALID.service_name, b"INFO", VALID.message)
    assert others == [b"trace", b"\x01{}"]
    assert origin == REGION.encode()
    assert (envelope.partition, envelope.offset, envelope.key, envelope.value) == (OWN, 3, b"trace", VALID.encode())
    assert (envelope.origin, envelope.mirrored) == (REGION, False)
    assert (envelope.time_us, envelope.received_us, envelope.produced_us) == (12, 15, 20_000)
    assert envelope.order == (12, REGION, OWN.number, 3)


def test_redis_is_told_the_checksum_by_which_contents_are_told_apart() -> None:
    envelope = decode(Read(0, VALID.encode()))

    assert isinstance(envelope, Envelope)
    assert envelope.memory[-8:-4] == fingerprint(envelope.columns).to_bytes(4, "big")


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
    assert decode(Read(3, value, None, headers=headers)).traceparent == known


def test_a_dead_letter_says_about_its_event_what_can_be_made_out() -> None:
    letter = decode(Read(3, changed(level="LOUD"), headers=[("traceparent", TRACEPARENT)]))

    assert isinstance(letter, DeadLetter)
    assert letter.about() == {
        "correlationId": "trace",
        "eventId": str(VALID.event_id),
        "traceparent": TRACEPARENT.decode(),
    }


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]", b'{"eventId": 7}'])
def test_a_dead_letter_of_which_nothing_can_be_made_out_says_nothing(value: bytes | None) -> None:
    letter = decode(Read(3, value, None))

    assert isinstance(letter, DeadLetter)
    assert letter.about() == {}


def test_the_origin_of_a_mirrored_record_is_the_cluster_it_was_copied_from() -> None:
    envelope = decode(Read(3, VALID.encode(), None), MIRRORED)

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
    letter = decode(Read(9, value, b"key"))

    assert isinstance(letter, DeadLetter)
    assert (letter.partition, letter.offset, letter.key, letter.value) == (OWN, 9, b"key", value)
    assert letter.reason == reason
    assert detail in letter.detail


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_no_bytes_raise(value: bytes) -> None:
    assert isinstance(decode(Read(0, value, None)), DeadLetter)


def agree(value: bytes) -> None:
    """Check that a record is decoded as the model describes it."""
    decoded = decode(Read(3, value))
    expected = described(LogRecord, value)
    if isinstance(expected, str):
        assert isinstance(decoded, DeadLetter)
        assert decoded.detail == expected
        return
    assert isinstance(decoded, Envelope), decoded
    record = LogRecord.model_construct(**expected)
    assert (decoded.time_us, decoded.received_us) == (epoch_us(record.timestamp), epoch_us(record.received_at))
    assert decoded.identity == record.event_id.bytes + decoded.time_us.to_bytes(8, "big")
    event_id, _, _, *texts, attributes = read_fields(decoded.columns)
    assert event_id == decoded.event_id == record.event_id.bytes
    assert [text.decode() for text in texts] == [
        record.origin_region, record.service_name, record.level, record.message, record.correlation_id,
    ]  # fmt: skip
    kept = json.loads(attributes[1:], parse_float=Decimal)
    assert {k: scaled(v) for k, v in kept.items()} == {k: scaled(v) for k, v in record.attributes.items()}


@given(log_records())
def test_a_record_is_read_as_it_was_written(record: LogRecord) -> None:
    agree(record.encode())


@profiles.times(8)
@given(odd_json.events(odd_json.RECORD))
def test_a_record_in_another_form_is_judged_as_it_is_described(value: bytes) -> None:
    agree(value)


ODD: dict[str, list[Any]] = {
    "eventId": [
        str(VALID.event_id).upper(),
        VALID.event_id.hex,
        f"{{{VALID.event_id}}}",
        str(VALID.event_id).replace("-", " "),
        "-" * 36,
        "0-0000000-0000-0000-0000-000000000000-",
        " 0000000-0000-0000-0000-000000000007",
        "\u06600000000-0000-0000-0000-000000000007",
        7,
        None,
    ],
    "timestamp": [
        "1970-01-01t00:00:00.000012z",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00.000012+00:00",
        "1970-01-01T00:00:00.0000121Z",
        "1970-01-01T00:00:00.\u0660\u0660\u0660\u066012Z",
        "1970-01-01T00:00:00.1_0_12Z",
        "1970-01-01T00:00:00.     1Z",
        "1970-01-01 00:00:00.000012Z",
        "1970-02-30T00:00:00.000012Z",
        "1970-01-01T00:00:60.000012Z",
        "1969-12-31T23:59:59.999999Z",
        "2200-12-31T23:59:59.999999Z",
        "2201-01-01T00:00:00.000000Z",
        100_000_000_001,
        None,
    ],
    "level": ["info", "WARNING", "LOUD", "", None],
    "message": ["", "\x00", "\x1f", "\ud83d", "\U0001f469", 7, None],
    "serviceName": ["", "x" * 256, "x" * 257, "\x00", "e\u0301", None],
    "correlationId": ["", "x" * 256, "é" * 256, "é" * 257, None],
    "attributes": [
        {"": 1},
        {"k" * 256: 1},
        {"k" * 257: 1},
        {"a": 2**63 - 1, "b": -(2**63)},
        {"a": 2**63},
        {"a": -(2**63) - 1},
        {"a": 2**70},
        {"a": 1e300, "b": -0.0, "c": 1e16, "d": 5e-324},
        {"a": float("inf")},
        {"a": float("nan")},
        {"a": [1]},
        {"a": {}},
        {"a": "\x00"},
        {"\x00": 1},
        {str(n): n for n in range(MAX_ATTRIBUTES)},
        {str(n): n for n in range(MAX_ATTRIBUTES + 1)},
        [],
        None,
    ],
    "originRegion": ["", "x" * 257, None],
    "unheardOf": [1],
}


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("field", ODD)
def test_what_is_unusual_is_judged_as_it_is_described(field: str, ascii_only: bool) -> None:  # noqa: FBT001
    event = json.loads(VALID.encode())
    for odd in ODD[field]:
        raw = json.dumps(event | {field: odd}, ensure_ascii=ascii_only).encode(errors="surrogatepass")
        agree(raw)
        agree(raw[:-1] + b"," + json.dumps({field: event.get(field)}).encode()[1:])


@given(st.data())
def test_what_was_damaged_is_judged_as_it_is_described(data: st.DataObject) -> None:
    raw = bytearray(data.draw(log_records()).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    agree(bytes(raw))


@given(client_texts())
def test_whatever_a_gateway_takes_the_consumer_reads_as_it_was_written(sent: bytes) -> None:
    sealed = Intake(datetime(2026, 11, 23, 12, tzinfo=UTC), uuid7).seal(sent)

    envelope = decode(Read(3, to_record(sealed, REGION).value))

    assert isinstance(envelope, Envelope)
    written = json.loads(sent, parse_float=Decimal).get("attributes", {})
    attributes = read_fields(envelope.columns)[-1]
    # PostgreSQL keeps all digits, those behind the point too, and makes no difference between 15 and 1.5e1.
    kept = json.loads(attributes[1:], parse_float=Decimal)
    assert {k: scaled(v) for k, v in kept.items()} == {k: scaled(v) for k, v in written.items()}
