"""
An event together with the offset in Kafka that it holds back.

The offset of a record may be committed only once its event is durable, so the two travel together through every step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from pydantic_core import from_json

from shared.event.identity import Identity, event_id_of

LateReason = Literal["delayed", "replication_backlog", "pipeline", "clock_skew", "overtaken"]
LATE_REASONS: Final[Sequence[LateReason]] = get_args(LateReason)
DeadLetterReason = Literal["empty", "malformed", "invalid", "unreadable", "refused_by_store", "conflict"]
DEAD_LETTER_REASONS: Final[Sequence[DeadLetterReason]] = get_args(DeadLetterReason)

# A client that writes poison may write a lot of it.
_SHOWN_CHARS: Final = 300


class Partition(NamedTuple):
    """One partition of one topic, as named in the consumer's own cluster."""

    topic: str
    number: int


class Envelope(NamedTuple):
    """
    A decoded event and where it was read.

    Envelopes are ordered as they are to be written, by their first four fields. Event time comes first; then origin, partition
    and offset, which two regions' consumers agree on. So both insert the same rows in the same order, and their transactions
    cannot deadlock. Events of one correlation id with the same time that one region accepted keep the order in which it did. No
    two envelopes of one consumer agree in all four. An envelope is a tuple, because then sorting needs no key.

    Attributes:
        time_us: Event time, microseconds since 1970.
        origin: The region whose Kafka first held this record; the consumer's own, or the one it was mirrored from.
        number: Of its partition.
        offset: Its offset there.
        partition: Where it was read.
        mirrored: Whether it came through MirrorMaker.
        identity: Event id and time, by which it is remembered; of another tenant than the default one, the id that stands for its own.
        received_us: When a gateway took it, microseconds since 1970.
        produced_us: When the broker that it was read from wrote it, by the broker's clock, microseconds since 1970.
        columns: The event as the table takes it; see `consumer.copy_format`.
        memory: Its record in Redis; see `consumer.seen_format`.
        key: The record's key, for the dead-letter topic.
        value: The record's bytes, likewise.
        traceparent: Of the request that brought it, if it had one.
        tenant: Whose event it is; None: the default one's.
    """

    time_us: int
    origin: str
    number: int
    offset: int
    partition: Partition
    mirrored: bool
    identity: Identity
    received_us: int
    produced_us: int
    columns: bytes
    memory: bytes
    key: bytes | None
    value: bytes
    traceparent: bytes | None = None
    tenant: str | None = None

    @property
    def event_id(self) -> bytes:
        """The 16 bytes of the id that it is stored under."""
        return event_id_of(self.identity)

    @property
    def order(self) -> tuple[int, str, int, int]:
        """What envelopes are ordered by."""
        return self[:4]


@dataclass(frozen=True, slots=True)
class Lateness:
    """
    Why an event is stored out of order.

    Attributes:
        reason: `delayed` was already older than the window when a gateway took it; `replication_backlog` was in time
            at its origin and came late through the mirror; `overtaken` was in time, but an event dated ahead of the clock had
            been stored before it; `pipeline` was held up since (restart, retry, rebalance); `clock_skew` lies too far in the
            future.
        by_ms: Watermark minus event time, rounded up; for `clock_skew` event time minus receipt, or minus the other
            clocks' time where the gateway's is ahead of both.
    """

    reason: LateReason
    by_ms: int


class Row(NamedTuple):
    """
    An event on its way to the table, ordered as its envelope.

    Attributes:
        envelope: The event, with its place.
        lateness: None for one in order.
        order: Name of the order that it is in, or late for; see `consumer.orders`.
    """

    envelope: Envelope
    lateness: Lateness | None = None
    order: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """
    A record that cannot become a row.

    Attributes:
        partition: Where it was read.
        offset: Its offset there.
        key: The original key.
        value: The original bytes, None for a tombstone; for `unreadable` the batch or record as Kafka holds it.
        reason: One of few words, for metrics.
        detail: What exactly is wrong, for the header and a person.
        traceparent: Of the request that brought it, if it had one.
        first_offset: Of the first record, where several are in one letter.
    """

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    reason: DeadLetterReason
    detail: str
    traceparent: bytes | None = None
    first_offset: int | None = None

    def about(self) -> dict[str, str]:
        """Return what a log line needs so that the event can be found, as far as it can be made out."""
        said: dict[str, str] = {}
        if self.key is not None:
            said["correlationId"] = self.key.decode(errors="replace")
        try:
            event = from_json(self.value or b"")
        except ValueError:
            event = None
        if isinstance(event, dict) and isinstance(event.get("eventId"), str):
            said["eventId"] = event["eventId"]
        if self.traceparent is not None:
            said["traceparent"] = self.traceparent.decode()
        return {name: text[:_SHOWN_CHARS] for name, text in said.items()}
