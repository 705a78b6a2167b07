"""From a Kafka record to an envelope, or to a dead letter that says why not. Pure."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, cast

from consumer.copy_format import event_columns, fingerprint, own_id_column
from consumer.envelope import DeadLetter, DeadLetterReason, Envelope, Partition
from consumer.seen_format import number_of
from consumer.seen_format import record as memory_of
from consumer.stored_ids import StoredIds
from shared.event.decode import read_record
from shared.event.explain import RefusalError, not_json
from shared.event.identity import identity_of
from shared.event.json_text import NotJSONError
from shared.wire import trace
from shared.wire.regions import LOGS, origin_of

# What `Envelope(...)` does, without a Python function in between.
_envelope: Final = cast("Callable[[tuple[Any, ...]], Envelope]", partial(tuple.__new__, Envelope))


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


class UnreadableRecord(NamedTuple):
    """
    What stands in a partition where Kafka's client could make no record of the bytes.

    Attributes:
        first: Offset of the first record that it holds, or would.
        offset: Of the last.
        timestamp: Milliseconds since 1970, as far as it is known.
        detail: What is wrong.
        raw: The bytes.
    """

    first: int
    offset: int
    timestamp: int
    detail: str
    raw: bytes
    key: None = None
    value: None = None
    headers: tuple[()] = ()


class Decoder:
    """
    Decodes the records of one partition.

    Args:
        partition: Where they are read.
        region: The region of the Kafka cluster they are read from.
        ids: Under which events of tenants are stored.
    """

    def __init__(self, partition: Partition, region: str, ids: StoredIds | None = None) -> None:
        self._ids = ids or StoredIds()
        self._partition = partition
        self._origin = origin_of(partition.topic, region)
        self._mirrored = partition.topic != LOGS
        self._log = number_of(region, partition)

    def decode(self, record: Record) -> Envelope | DeadLetter:
        """Decode one record."""
        value = record.value
        if value is None:
            if isinstance(record, UnreadableRecord):
                return self._unreadable(record)
            return self._dead_letter(record, "empty", "the record has no value")
        try:
            event, event_id, time_us, received_us = read_record(value)
        except NotJSONError as exc:
            return self._dead_letter(record, "malformed", str(not_json(exc)))
        except RefusalError as exc:
            why = exc.in_full()
            return self._dead_letter(record, "invalid" if why.problems[0].field else "malformed", str(why))
        own_id = b""
        if event.tenant is not None:
            own_id, event_id = own_id_column(event_id), self._ids.of(event.tenant, event_id)
        columns, offset = event_columns(event, event_id, time_us, received_us) + own_id, record.offset
        said = fingerprint(columns)
        return _envelope(
            (
                time_us,
                self._origin,
                self._partition.number,
                offset,
                self._partition,
                self._mirrored,
                identity_of(event_id, time_us),
                received_us,
                record.timestamp * 1000,
                columns,
                memory_of(event_id, time_us, said, self._log, offset),
                record.key,
                value,
                trace.of_record(record.headers) if record.headers else None,
                event.tenant,
            )
        )

    def _unreadable(self, record: UnreadableRecord) -> DeadLetter:
        return DeadLetter(
            self._partition, record.offset, None, record.raw, "unreadable", record.detail, first_offset=record.first
        )

    def _dead_letter(self, record: Record, reason: DeadLetterReason, detail: str) -> DeadLetter:
        traceparent = trace.of_record(record.headers) if record.headers else None
        return DeadLetter(self._partition, record.offset, record.key, record.value, reason, detail, traceparent)
