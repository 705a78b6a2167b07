"""Nanoseconds since 1970 as canonical times. Pure."""

from datetime import datetime
from typing import Final

from shared.event.times import EPOCH, LAST_TIME, epoch_us, format_time, from_epoch_us

END_NS: Final = (epoch_us(LAST_TIME) + 1) * 1000
"""The first nanosecond that is too late to be stored."""

_SECOND_NS: Final = 1_000_000_000
# From 2001 on nanoseconds since 1970 have so many digits: seconds, microseconds, and the rest.
_USUAL_DIGITS: Final = 19
_SECONDS: Final = slice(0, 10)
_MICROSECONDS: Final = slice(10, 16)
_SECONDS_KEPT: Final = 4096
_SECOND_CHARS: Final = len("2026-11-23T12:00:00.")


class _Seconds(dict[str, str]):
    def __missing__(self, second: str) -> str:
        if len(self) >= _SECONDS_KEPT:
            self.clear()
        text = self[second] = format_time(from_epoch_us(int(second) * 1_000_000))[:_SECOND_CHARS]
        return text


_seconds: Final = _Seconds()


def canonical_ns(time_ns: int) -> str:
    """Return a time from 0 to `END_NS`, exclusive, in canonical form; what is finer than a microsecond is cut off."""
    digits = str(time_ns)
    if len(digits) == _USUAL_DIGITS:
        return f"{_seconds[digits[_SECONDS]]}{digits[_MICROSECONDS]}Z"
    second, rest = divmod(time_ns, _SECOND_NS)
    return f"{_seconds[str(second)]}{rest // 1000:06d}Z"


def ns_of(time: datetime) -> int:
    """Return an aware time as nanoseconds since 1970."""
    return epoch_us(time) * 1000


__all__ = ["END_NS", "EPOCH", "canonical_ns", "ns_of"]
