"""Nanoseconds since 1970 as canonical times. Pure."""

from datetime import datetime
from typing import Final

from shared.event.times import EPOCH, LAST_TIME, epoch_us, format_time, from_epoch_us

END_NS: Final = (epoch_us(LAST_TIME) + 1) * 1000
"""The first nanosecond that is too late to be stored."""

_SECOND_NS: Final = 1_000_000_000
_SECONDS_KEPT: Final = 4096
_SECOND_CHARS: Final = len("2026-11-23T12:00:00.")


class _Seconds(dict[int, str]):
    def __missing__(self, second: int) -> str:
        if len(self) >= _SECONDS_KEPT:
            self.clear()
        text = self[second] = format_time(from_epoch_us(second * 1_000_000))[:_SECOND_CHARS]
        return text


_seconds: Final = _Seconds()


def canonical_ns(time_ns: int) -> str:
    """Return a time from 0 to `END_NS`, exclusive, in canonical form; what is finer than a microsecond is cut off."""
    second, rest = divmod(time_ns, _SECOND_NS)
    return f"{_seconds[second]}{rest // 1000:06d}Z"


def ns_of(time: datetime) -> int:
    """Return an aware time as nanoseconds since 1970."""
    return epoch_us(time) * 1000


__all__ = ["END_NS", "EPOCH", "canonical_ns", "ns_of"]
