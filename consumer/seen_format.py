"""
An event's record in Redis. Pure.

The record is made once, when the event is decoded and all that goes into it is at hand; those of a batch are then only joined.
In 16 bytes it says which event it is, and in two from which Kafka record the event was stored. The 16 are the event's id, with
its time and a checksum of its content mixed in. So an id with another time, or with another content, is another record.
"""

from struct import Struct
from typing import Final
from zlib import crc32

from consumer.envelope import Partition

EVENT_BYTES: Final = 16
RECORD_BYTES: Final = EVENT_BYTES + 2
# The part of a time that is passed: a slot is of one minute, and these bits differ for an hour.
TIME_MASK: Final = 0xFFFFFFFF
# A record, then the checksum and the time, which are to be mixed into its id.
_PLAIN: Final = Struct(">16sHII")
_plain: Final = _PLAIN.pack
PASSED_BYTES: Final = _PLAIN.size
_MIXED_IN: Final = bytes(RECORD_BYTES) + b"\xff" * 8
_TO_THE_ID: Final = 8 * (PASSED_BYTES - EVENT_BYTES)
# The golden ratio's digits, odd: so no two products agree in their lower half, which is as long as this.
_SCATTER: Final = 0x9E3779B97F4A7C15


def number_of(region: str, partition: Partition) -> int:
    """Return a number for a partition in the Kafka of a region."""
    return crc32(f"{region}/{partition.topic}/{partition.number}".encode())


def record(event_id: bytes, time_us: int, said: int, log: int, offset: int) -> bytes:
    """
    Return the record of an event, before anything is mixed into its id.

    Args:
        event_id: 16 bytes.
        time_us: When it happened, microseconds since 1970.
        said: Checksum of what it says, 32 bits; see `consumer.copy_format.fingerprint`.
        log: Where it was read; see `number_of`.
        offset: Its offset there.
    """
    # Fibonacci hashing of the offset: that of a copy differs from the original's by the same all along.
    source = (offset * 0x9E3779B1 >> 11 ^ log) & 0xFFFF
    return _plain(event_id, source, said, time_us & TIME_MASK)


def mixed(records: bytes) -> bytes:
    """
    Mix checksum and time into the ids of records, and return what is passed to Redis.

    All at once, in one long number: each record has a place of its own, which no product is too long for.
    """
    numbers = int.from_bytes(records, "big")
    mixed_in = numbers & int.from_bytes(_MIXED_IN * (len(records) // PASSED_BYTES), "big")
    return (numbers ^ mixed_in * _SCATTER << _TO_THE_ID).to_bytes(len(records), "big")
