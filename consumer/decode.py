"""From a Kafka record to an envelope, or to a dead letter that says why not. Pure."""

from collections.abc import Sequence
from typing import Protocol

from consumer.envelope import DeadLetter, DeadLetterReason, Envelope, Partition
from shared import trace
from shared.event import InvalidEventError, decode_record
from shared.regions import LOGS, origin_of


class Record(Protocol):
    """The part of a Kafka client's record that is used here."""

    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...  # noqa: D102


def decode(record: Record, partition: Partition, region: str) -> Envelope | DeadLetter:
    """
    Decode one record.

    Args:
        record: As Kafka delivered it.
        partition: Where it was read.
        region: The region of the Kafka cluster it was read from.
    """
    traceparent = trace.of_record(record.headers) if record.headers else None
    if record.value is None:
        return DeadLetter(partition, record.offset, record.key, None, "empty", "the record has no value", traceparent)
    try:
        event = decode_record(record.value)
    except InvalidEventError as exc:
        reason: DeadLetterReason = "malformed" if not exc.problems[0].field else "invalid"
        return DeadLetter(partition, record.offset, record.key, record.value, reason, str(exc), traceparent)
    return Envelope(
        event,
        partition,
        record.offset,
        origin_of(partition.topic, region),
        partition.topic != LOGS,
        record.key,
        record.value,
        record.timestamp * 1000,
        traceparent,
    )
