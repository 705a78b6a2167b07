"""
Fast reading of records in the form in which this project's producers write them. Pure.

The consumer reads every event of its region and every one of all others, so the reader of the usual record is written for
speed; see `shared.event.canonical`. Records of any other form are left to `shared.event.model`.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from shared.event.canonical import (
    SECOND_CHARS,
    SECONDS,
    Name,
    Received,
    ReceivedWithDecimals,
    are_flat,
    as_written,
    has_escapes,
    uuid_bytes,
)


class Canonical(Received, gc=False):
    """The value of a record, checked as far as a received event is."""

    origin_region: Name


class CanonicalWithDecimals(ReceivedWithDecimals, gc=False):
    """The same, as far as an event with decimals is checked."""

    origin_region: Name


_decode_with_decimals: Final = msgspec.json.Decoder(CanonicalWithDecimals, float_hook=as_written).decode
_decode: Final = msgspec.json.Decoder(Canonical).decode
_TIME_CHARS: Final = len("2026-11-23T12:00:00.123456Z")
_MARKS: Final = slice(19, 27, 7)
_FRACTION: Final = slice(20, 26)


def _elsewise(value: bytes) -> CanonicalWithDecimals:
    record = _decode_with_decimals(value)
    if not are_flat(record.attributes):
        raise ValueError("left to shared.event.model")
    return record


Known = tuple[Canonical | CanonicalWithDecimals, bytes, int, int]


def _reader(decode: Callable[[bytes], Canonical | CanonicalWithDecimals]) -> Callable[[bytes], Known | None]:
    def read(value: bytes) -> Known | None:
        if has_escapes(value):
            return None
        try:
            record = decode(value)
            time, received = record.timestamp, record.received_at
            fraction, received_fraction = time[_FRACTION], received[_FRACTION]
            if not (
                len(time) == len(received) == _TIME_CHARS
                and time[_MARKS] == received[_MARKS] == ".Z"
                and (digits := fraction + received_fraction).isdecimal()
                and digits.isascii()
            ):
                return None
            time_us = SECONDS[time[:SECOND_CHARS]] + int(fraction)
            received_us = SECONDS[received[:SECOND_CHARS]] + int(received_fraction)
        except (ValueError, RecursionError):  # msgspec's errors are such, too
            return None
        event_id = uuid_bytes(record.event_id)
        return None if event_id is None else (record, event_id, time_us, received_us)

    return read


read: Final = _reader(_decode)
"""Return a record, its event id, its event time and its receipt in microseconds since 1970; None if it is unusual."""

read_with_decimals: Final = _reader(_elsewise)
"""The same for any record that `read` takes, and for those with decimals; a little slower."""
