"""Whose an event is, from the door to the record: the default tenant's bytes stay what they were."""

import json

from datetime import UTC, datetime
from uuid import UUID

import pytest

from shared.event.fields import InvalidEventError
from shared.event.opened import decode_record
from shared.event.sealed import Intake, SealedEvent, decode_handoff, to_record
from shared.event.tenant import DEFAULT, NO_NAME, kafka_key, tenant_of
from shared.ingest.receipt import example

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
NEW_ID = UUID("019ab0c4-52a0-7c1a-9d53-0242ac120002")
SENT = b'{"serviceName":"checkout","level":"INFO","message":"Hello","correlationId":"trace-1"}'
# As releases without tenants wrote it.
GOLDEN = (
    b'{"eventId":"019ab0c4-52a0-7c1a-9d53-0242ac120002","timestamp":"2026-11-23T12:00:00.123456Z","serviceName":"checkout",'
    b'"level":"INFO","message":"Hello","correlationId":"trace-1","attributes":{},"receivedAt":"2026-11-23T12:00:00.123456Z",'
    b'"originRegion":"region-a"}'
)


def sealed(owner: str | None) -> SealedEvent:
    return Intake(NOW, lambda: NEW_ID, owner=owner).seal(SENT)


def test_a_record_of_the_default_tenant_has_the_bytes_that_it_always_had() -> None:
    event = sealed(None)

    assert to_record(event, "region-a").value == GOLDEN
    assert to_record(decode_handoff(event.encoded), "region-a").value == GOLDEN
    assert kafka_key(event.tenant, event.correlation_id) == "trace-1"


def test_a_tenant_is_in_the_hand_off_the_record_and_its_key() -> None:
    event = sealed("acme")
    handed_on = decode_handoff(event.encoded)
    record = to_record(handed_on, "region-a")

    assert handed_on == event
    assert record.value == GOLDEN.replace(b',"originRegion"', b',"tenant":"acme","originRegion"')
    assert decode_record(record.value).tenant == "acme"
    assert decode_record(record.value).encode() == record.value
    assert kafka_key(record.tenant, record.correlation_id) == "acme\0trace-1"


def test_a_receipt_takes_its_owner_from_the_key_and_not_from_what_the_request_says() -> None:
    event = example(now=NOW, new_id=lambda: NEW_ID, tenant="theirs", owner="acme").seal(SENT)

    assert event.tenant == "acme"


def test_a_client_cannot_name_its_tenant() -> None:
    with pytest.raises(InvalidEventError, match="tenant"):
        Intake(NOW, lambda: NEW_ID).seal(SENT[:-1] + b',"tenant":"acme"}')


@pytest.mark.parametrize("written", [None, DEFAULT])
def test_the_default_tenant_in_a_record_is_none(written: str | None) -> None:
    raw = json.dumps(json.loads(GOLDEN) | {"tenant": written}).encode()

    assert decode_record(raw).tenant is None
    assert decode_record(raw).encode() == GOLDEN


@pytest.mark.parametrize("name", ["", "a b", "A", "a.b", "-a", "a\0b", "a/b", "ä", "a" * 64, "a\n"])
def test_what_can_be_no_name_is_refused_and_the_error_says_what_to_change(name: str) -> None:
    with pytest.raises(ValueError, match="must be the name of a tenant"):
        tenant_of(name)
    with pytest.raises(InvalidEventError) as refused:
        decode_record(json.dumps(json.loads(GOLDEN) | {"tenant": name}).encode())
    assert str(refused.value) == f"tenant: {NO_NAME}"
