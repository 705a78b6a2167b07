"""Which records of a region's Kafka are an event's: copies of it, and letters of those that were set aside. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from consumer.decode import Record
from consumer.envelope import Partition
from shared.event.canonical import canonical_time, time_us, uuid_bytes
from shared.event.decode import read_record
from shared.event.explain import RefusalError, not_json
from shared.event.json_text import NotJSONError, parse_json
from shared.event.tenant import tenant_of_key
from shared.wire.finding import Copy, Letter, Question
from shared.wire.wanted import of_record

_WRONG_CHARS: Final = 300


def needle(question: Question) -> bytes:
    """Return what a record of the event contains, in lower case; most others do not."""
    return str(question.event_id).encode()


def copy_of(partition: Partition, record: Record, question: Question) -> Copy | None:
    """
    Return the record as a copy of the event, None if it is none.

    A record that cannot be read counts if it speaks of the id and says nothing else of the time: it may be the event.
    """
    value = record.value
    if value is None:
        return None
    received_us = wrong = None
    try:
        event, event_id, event_time_us, received_us = read_record(value)
        if (event.tenant, event_id, event_time_us) != (question.tenant, question.event_id.bytes, question.time_us):
            return None
    except (NotJSONError, RefusalError) as exc:
        if tenant_of_key(record.key) != question.tenant or not _may_be(value, question):
            return None
        wrong = str(not_json(exc) if isinstance(exc, NotJSONError) else exc.in_full())[:_WRONG_CHARS]
    return Copy(
        topic=partition.topic,
        partition=partition.number,
        offset=record.offset,
        at_ms=record.timestamp,
        received_us=received_us,
        wanted=of_record(record.headers),
        wrong=wrong,
    )


def letter_of(partition: Partition, record: Record, question: Question, copies: Collection[Copy]) -> Letter | None:
    """Return the record as a letter of the event or of one of these copies, None if it is neither."""
    headers = dict(record.headers)
    number, first, offset = (
        _number(headers.get(name)) for name in ("source-partition", "source-first-offset", "source-offset")
    )
    topic = (headers.get("source-topic") or b"").decode(errors="replace")
    if number is None or offset is None:
        return None
    # A letter about a batch names its first record, too; one that was too large has no value.
    is_of_copy = any(
        (copy.topic, copy.partition) == (topic, number)
        and (offset if first is None else first) <= copy.offset <= offset
        for copy in copies
    )
    if not is_of_copy and copy_of(partition, record, question) is None:
        return None
    return Letter(
        partition=partition.number,
        offset=record.offset,
        at_ms=record.timestamp,
        source_topic=topic,
        source_partition=number,
        source_offset=offset,
        reason=(headers.get("reason") or b"").decode(errors="replace")[:_WRONG_CHARS],
    )


def needles(question: Question, copies: Iterable[Copy]) -> list[bytes]:
    """Return what a letter of the event, or of one of these copies, contains one of."""
    return [needle(question), *(str(copy.offset).encode() for copy in copies)]


def _may_be(value: bytes, question: Question) -> bool:
    try:
        event = parse_json(value)
    except NotJSONError:
        return needle(question) in value.lower()
    if not isinstance(event, Mapping):
        return needle(question) in value.lower()
    return _is_id(event.get("eventId"), question) and _can_be_time(event.get("timestamp"), question)


def _is_id(said: Any, question: Question) -> bool:
    try:
        return isinstance(said, str) and uuid_bytes(said) == question.event_id.bytes
    except ValueError:
        return False


def _can_be_time(said: Any, question: Question) -> bool:
    try:
        return time_us(canonical_time(said)) == question.time_us
    except (ValueError, TypeError):
        return True


def _number(value: bytes | None) -> int | None:
    text = (value or b"").decode(errors="replace")
    return int(text) if text.isascii() and text.isdigit() else None
