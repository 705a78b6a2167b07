"""
Times as log shippers write them. Pure.

A shipper's record is not refused for its time. So more is taken here than in `/api/logs`: seconds since 1970, since no log
was written in the first months of that year, and a time without a zone, as UTC, which the caller has to mark.
"""

import re

from decimal import Decimal
from typing import Any, Final

import msgspec

from gateway.protocols.attributes import to_json
from shared.event.canonical import canonical_time, time_us

_NS_OF_US: Final = 1000
# A number below the bound counts units of so many nanoseconds: no two readings of it lie in 1973 to 2200.
_UNITS: Final = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))
_NUMBER: Final = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?(?:[eE]\+?\d{1,2})?", re.ASCII)
_FINER: Final = re.compile(r"[.,]\d{6}(\d{1,3})")
_AFTER_YEAR: Final = slice(4, 5)
_WHOLE_US: Final = len("2026-11-23T12:00:00.123456Z")
_SECOND_CHARS: Final = len("2026-11-23T12:00:00Z")


def written_ns(value: Any) -> tuple[int | None, str]:
    """
    Read a time that a client wrote.

    Args:
        value: What JSON has for it.

    Returns:
        Nanoseconds since 1970, None if it is no time; and the time as written if it has to be kept, since it is no time, or
        one whose zone was assumed.
    """
    kind = type(value)
    if kind is str:
        return _of_text(value)
    if kind is int:
        return number_ns(value), ""
    if isinstance(value, float | Decimal | msgspec.Raw):
        text = bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)
        return _of_text(text)
    return None, to_json(value, set())


def number_ns(value: int | Decimal) -> int:
    """Return a number since 1970 as nanoseconds, whichever its unit is."""
    for below, unit in _UNITS:
        if -below < value < below:
            return int(value * unit)
    return int(value)


def _of_text(text: str) -> tuple[int | None, str]:
    # As most clients write it.
    if text[-1:] == "Z" and _SECOND_CHARS < len(text) <= _WHOLE_US:
        try:
            return time_us(text[:-1].ljust(_WHOLE_US - 1, "0") + "Z") * _NS_OF_US, ""
        except ValueError:
            pass
    text = text.strip()
    if text[_AFTER_YEAR] != "-" and _NUMBER.fullmatch(text):
        return number_ns(Decimal(text)), ""
    for zone in ("", "Z"):
        try:
            us = time_us(canonical_time(text + zone))
        except ValueError:
            continue
        return us * _NS_OF_US + _rest_ns(text), text if zone else ""
    return None, text


def _rest_ns(text: str) -> int:
    if len(text) > _WHOLE_US and (finer := _FINER.search(text)):
        return int(finer[1].ljust(3, "0"))
    return 0
