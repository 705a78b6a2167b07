"""
Envelopes and histories of them, for property tests.

Ranges are small, so that ties and boundaries happen: times are a few microseconds after 1970, windows a few long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from hypothesis import strategies as st

from consumer.decode import Decoder
from consumer.envelope import Envelope, Partition
from shared.event.model import LogRecord, from_epoch_us
from shared.wire.regions import LOGS


@dataclass(frozen=True, slots=True)
class Read:
    """A record as it was read."""

    offset: int
    value: bytes | None
    key: bytes | None = b"trace"
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes | None]] = ()


REGION = "region-a"
OWN = Partition(LOGS, 0)
OWN_TOO = Partition(LOGS, 1)
MIRRORED = Partition(f"region-b.{LOGS}", 0)
# The message of what a store is told to refuse for ever.
POISON = "poison"
PARTITIONS = (OWN, OWN_TOO, MIRRORED)


def a_record(
    number: int = 0,
    *,
    time_us: int = 0,
    received_us: int | None = None,
    correlation_id: str = "trace",
    message: str = "Hello",
    origin_region: str = REGION,
    tenant: str | None = None,
) -> LogRecord:
    """Return a valid event; `number` becomes its id."""
    return LogRecord.model_construct(
        None,
        event_id=UUID(int=number),
        timestamp=from_epoch_us(time_us),
        service_name="checkout",
        level="INFO",
        message=message,
        correlation_id=correlation_id,
        attributes={},
        received_at=from_epoch_us(time_us if received_us is None else received_us),
        origin_region=origin_region,
        tenant=tenant,
    )


def an_envelope(
    offset: int = 0,
    *,
    number: int | None = None,
    time_us: int = 0,
    received_us: int | None = None,
    produced_us: int | None = None,
    partition: Partition = OWN,
    region: str = REGION,
    message: str = "Hello",
    size: int | None = None,
    tenant: str | None = None,
) -> Envelope:
    """
    Return an envelope read at `offset`.

    Args:
        offset: Its offset, and its id unless `number` is given.
        number: Its id.
        time_us: Event time.
        received_us: When a gateway took it; the event time if None.
        produced_us: When a producer wrote it; the receipt if None.
        partition: Where it was read.
        region: Whose consumer reads.
        message: The log line.
        size: Bytes its value is said to have.
        tenant: Whose it is.
    """
    record = a_record(
        offset if number is None else number, time_us=time_us, received_us=received_us, message=message, tenant=tenant
    )
    envelope = Decoder(partition, region).decode(Read(offset, record.encode()))
    assert isinstance(envelope, Envelope), envelope
    return envelope._replace(
        produced_us=envelope.received_us if produced_us is None else produced_us,
        value=envelope.value if size is None else bytes(size),
    )


def is_poison(envelope: Envelope) -> bool:
    """Say whether its message is `POISON`."""
    return f'"message":"{POISON}"'.encode() in envelope.value


def read_fields(columns: bytes) -> list[bytes]:
    """Return the fields of some bytes of COPY's binary format; NULL reads as empty."""
    fields: list[bytes] = []
    at = 0
    while at < len(columns):
        size = int.from_bytes(columns[at : at + 4], "big", signed=True)
        fields.append(columns[at + 4 : at + 4 + max(size, 0)])
        at += 4 + max(size, 0)
    return fields


moments = st.integers(0, 40)
windows = st.integers(0, 8)
partitions = st.sampled_from(PARTITIONS)
