"""
Fast reading of records in the form in which this project's producers write them. Pure.

The consumer reads every event of its region and every one of all others, so the way of the usual record is written for
speed; whatever is unusual in any way is left to `shared.event.decode_record`, which decides. The two cannot differ: what
`read` returns is what that function returns, or None (`consumer/tests/test_decode.py`).
"""

from typing import Annotated, Any, Final, Literal

import msgspec

from shared.event import MAX_ATTRIBUTES, MAX_NAME_CHARS, epoch_us, parse_time

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Attributes = Annotated[dict[_Name, str | _Int64 | float | bool | None], msgspec.Meta(max_length=MAX_ATTRIBUTES)]


class Canonical(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """The value of a record, all of it checked but its times and its id."""

    event_id: str
    timestamp: str
    service_name: _Name
    level: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
    message: str
    correlation_id: _Name
    attributes: _Attributes
    received_at: str
    origin_region: _Name


_decode: Final = msgspec.json.Decoder(Canonical).decode
_UUID_CHARS: Final = 36
_UUID_BYTES: Final = 16
_DASHES: Final = slice(8, 24, 5)
_SECOND_CHARS: Final = 19
_MARKS: Final = slice(19, 27, 7)
_FRACTION: Final = slice(20, 26)
_TIME_CHARS: Final = len("2026-11-23T12:00:00.123456Z")
_SECONDS_KEPT: Final = 4096


class _Seconds(dict[str, int]):
    """Microseconds since 1970 of seconds written as text: most events share theirs with many others."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _SECONDS_KEPT:
            self.clear()
        us = self[text] = epoch_us(parse_time(text + "Z"))
        return us


_seconds: Final = _Seconds()


def read(value: bytes) -> tuple[Canonical, bytes, int, int] | None:
    """
    Return a record, its event id, its event time and its receipt in microseconds since 1970; None if it is not canonical.

    An escaped character may be one that PostgreSQL cannot store, so a record that has any is not taken.
    """
    if b"\\" in value and b"\\u" in value:  # looking for one byte is ten times as fast
        return None
    try:
        record = _decode(value)
        time, received, text = record.timestamp, record.received_at, record.event_id
        fraction, received_fraction = time[_FRACTION], received[_FRACTION]
        if not (
            len(time) == len(received) == _TIME_CHARS
            and time[_MARKS] == received[_MARKS] == ".Z"
            and (digits := fraction + received_fraction).isdecimal()
            and digits.isascii()
            and len(text) == _UUID_CHARS
            and text[_DASHES] == "----"
        ):
            return None
        event_id = bytes.fromhex(text.replace("-", ""))
        time_us = _seconds[time[:_SECOND_CHARS]] + int(fraction)
        received_us = _seconds[received[:_SECOND_CHARS]] + int(received_fraction)
    except ValueError:  # msgspec's errors are such, too
        return None
    return (record, event_id, time_us, received_us) if len(event_id) == _UUID_BYTES else None


def encode_attributes(attributes: dict[str, Any]) -> bytes:
    """Return a flat JSON object."""
    return msgspec.json.encode(attributes) if attributes else b"{}"
