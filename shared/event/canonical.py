"""
The canonical form of times and ids, and the one place that reads it. Pure.

Whatever a client wrote, an event that was received has its times as `format_time` writes them, and its id in lower case.
Most events are read in this form, by every service, so it is read without a general parser.
"""

from typing import Final

from shared.event.times import epoch_us, format_time, parse_time

_TIME_CHARS: Final = len("2026-11-23T12:00:00.123456Z")
_SECOND_CHARS: Final = len("2026-11-23T12:00:00")
_FRACTION: Final = slice(20, 26)
_MARKS: Final = slice(19, 27, 7)
_NO_FRACTION: Final = len("2026-11-23T12:00:00Z")
_SHORTEST_FRACTION: Final = len("2026-11-23T12:00:00.1Z")
_SECONDS_KEPT: Final = 4096
_UUID_CHARS: Final = 36
_UUID_BYTES: Final = 16
_DASHES: Final = slice(8, 24, 5)
NO_UUID: Final = "must be a UUID of 36 characters, like 01934c9e-7e6f-7c1a-9d53-0242ac120002"
_NOT_CANONICAL: Final = "is not in canonical form"


class _Seconds(dict[str, int]):
    """Microseconds since 1970 of seconds in canonical form, without their zone: most events share theirs with many others."""

    def __missing__(self, text: str) -> int:
        time = parse_time(text + "Z")
        # A leap second is a time, too, and is written as the second after it.
        if format_time(time)[:_SECOND_CHARS] != text:
            raise ValueError(_NOT_CANONICAL)
        if len(self) >= _SECONDS_KEPT:
            self.clear()
        us = self[text] = epoch_us(time)
        return us


_seconds: Final = _Seconds()


def time_us(text: str) -> int:
    """
    Return a time in canonical form as microseconds since 1970.

    Raises:
        ValueError: It is in no canonical form; `canonical_time` makes one of every time.
    """
    fraction = text[_FRACTION]
    # `int` takes more than ASCII digits.
    if len(text) == _TIME_CHARS and text[_MARKS] == ".Z" and fraction.isdecimal() and fraction.isascii():
        return _seconds[text[:_SECOND_CHARS]] + int(fraction)
    raise ValueError(_NOT_CANONICAL)


def canonical_time(written: object) -> str:
    """
    Return a time in canonical form, whichever of the known ones it is written in.

    Raises:
        ValueError: It is none; says what to change.
    """
    if isinstance(written, str):
        time = written if len(written) == _TIME_CHARS else _with_all_digits(written)
        try:
            time_us(time)
        except ValueError:
            pass
        else:
            return time
    return format_time(parse_time(written))


def _with_all_digits(written: str) -> str:
    """Fill up the fraction of a second, of which most clients write less than six digits."""
    if written[-1:] == "Z":
        if len(written) == _NO_FRACTION:
            return written[:-1] + ".000000Z"
        if len(written) >= _SHORTEST_FRACTION:
            return written[:-1].ljust(_TIME_CHARS - 1, "0") + "Z"
    return written


def uuid_bytes(text: str) -> bytes:
    """
    Return the bytes of a UUID in its usual form, in either case.

    Raises:
        ValueError: It is none; says what to change.
    """
    if len(text) != _UUID_CHARS or text[_DASHES] != "----":
        raise ValueError(NO_UUID)
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        raise ValueError(NO_UUID) from None
    if len(raw) != _UUID_BYTES:
        raise ValueError(NO_UUID)
    return raw
