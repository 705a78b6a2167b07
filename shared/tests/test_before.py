"""The one decoder against what there was before: pydantic that decided, and fast ways beside it."""

import json

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shared.tests.before.model as old_model
import shared.tests.before.sealed as old_sealed

from shared.event import decode, explain, json_text, sealed
from shared.event.fields import InvalidEventError
from shared.event.opened import decode_received
from shared.tests import odd_json, profiles, strategies
from shared.tests.before import consumer_canonical

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
NEW_ID = UUID("019ab0c4-52a0-7c1a-9d53-0242ac120002")
USUAL = b'{"serviceName":"checkout","level":"INFO","message":"Hello","correlationId":"trace-1"}'


def said(call: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        result = call(raw)
    except (InvalidEventError, old_model.InvalidEventError) as exc:
        return [(p.field, p.message) for p in exc.problems]
    return list(map(known, result)) if isinstance(result, list) else known(result)


def known(event: Any) -> Any:
    if isinstance(event, InvalidEventError | old_model.InvalidEventError):
        return [(p.field, p.message) for p in event.problems]
    return event.event_id, event.timestamp, event.correlation_id, event.encoded


def same(old: Any, new: Any) -> None:
    if old == new:
        return
    if isinstance(old, list) and isinstance(new, list) and any(len(one) != 2 for one in old):
        assert len(old) == len(new)
        for one, other in zip(old, new, strict=True):
            same(one, other)
        return
    if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == 4:
        # What the two old ways wrote differently: leap seconds, decimals below a millionth.
        (old_id, old_time, old_key, old_bytes), (new_id, new_time, new_key, new_bytes) = old, new
        assert (old_id, old_key) == (new_id, new_key)
        if ":60." in old_time:
            old_bytes = old_bytes.replace(old_time.encode(), new_time.encode())
        else:
            assert old_time == new_time
        if old_bytes == new_bytes:
            return
        assert (b"E-" in old_bytes) or (b"0.000000" in old_bytes), (old_bytes, new_bytes)
        old_event, new_event = decode_received(old_bytes), decode_received(new_bytes)
        assert old_event == new_event
        assert str(old_event.attributes) == str(new_event.attributes)
        return
    raise AssertionError((old, new))


def intake() -> sealed.Intake:
    return sealed.Intake(NOW, lambda: NEW_ID)


def old_intake() -> old_sealed.Intake:
    return old_sealed.Intake(NOW, lambda: NEW_ID)


def agree(raw: bytes) -> None:
    same(said(lambda r: old_intake().seal(r), raw), said(lambda r: intake().seal(r), raw))
    array = b"[" + b",".join([USUAL, raw, USUAL]) + b"]"
    same(said(lambda r: old_intake().seal_array(r), array), said(lambda r: intake().seal_array(r), array))
    lines = b"\n".join([USUAL, raw, USUAL])
    same(said(lambda r: old_intake().seal_lines(r), lines), said(lambda r: intake().seal_lines(r), lines))


MANY = settings(profiles.times(20), suppress_health_check=list(HealthCheck), deadline=None)


@MANY
@given(odd_json.events(odd_json.USUAL))
def test_odd_events_are_taken_as_before(raw: bytes) -> None:
    agree(raw)


@MANY
@given(event=strategies.client_events() | strategies.spoilt_events(), escape=st.booleans())
def test_events_are_taken_as_before(*, event: dict[str, Any], escape: bool) -> None:
    agree(json.dumps(event, ensure_ascii=escape).encode(errors="surrogatepass"))


@MANY
@given(st.data())
def test_damaged_events_are_taken_as_before(data: st.DataObject) -> None:
    raw = bytearray(data.draw(odd_json.events(odd_json.USUAL)))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    agree(bytes(raw))


def handed(decode_one: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        event = decode_one(raw)
    except (InvalidEventError, old_model.InvalidEventError) as exc:
        return [(p.field, p.message) for p in exc.problems]
    return event.event_id.lower(), event.timestamp, event.correlation_id, decode_received(event.encoded)


@MANY
@given(odd_json.events(odd_json.RECEIVED))
def test_odd_hand_offs_are_taken_as_before(raw: bytes) -> None:
    old, new = handed(old_sealed.decode_handoff, raw), handed(sealed.decode_handoff, raw)
    if isinstance(old, tuple) and ":60." in old[1]:
        old = (old[0], new[1], *old[2:])
    assert old == new


def old_record(raw: bytes) -> Any:
    known: Any = consumer_canonical.read(raw) or consumer_canonical.read_with_decimals(raw)
    if known is None:
        try:
            event = old_model.decode_record(raw)
        except old_model.InvalidEventError as exc:
            return [(p.field, p.message) for p in exc.problems]
        known = event, event.event_id.bytes, old_model.epoch_us(event.timestamp), old_model.epoch_us(event.received_at)
    event, *rest = known
    attributes = json.loads(consumer_canonical.encode_attributes(event.attributes), parse_float=Decimal)
    attributes = {key: strategies.scaled(value) for key, value in attributes.items()}
    return [
        event.service_name,
        event.level,
        event.message,
        event.correlation_id,
        attributes,
        event.origin_region,
        *rest,
    ]


def new_record(raw: bytes) -> Any:
    try:
        event, *rest = decode.read_record(raw)
    except explain.RefusalError as exc:
        return [(p.field, p.message) for p in exc.in_full().problems]
    except json_text.NotJSONError as exc:
        return [("", f"not valid JSON: {exc}")]
    attributes = json.loads(sealed._encode(event.attributes), parse_float=Decimal)
    attributes = {key: strategies.scaled(value) for key, value in attributes.items()}
    return [
        event.service_name,
        event.level,
        event.message,
        event.correlation_id,
        attributes,
        event.origin_region,
        *rest,
    ]


@MANY
@given(odd_json.events(odd_json.RECORD))
def test_odd_records_are_taken_as_before(raw: bytes) -> None:
    assert old_record(raw) == new_record(raw)
