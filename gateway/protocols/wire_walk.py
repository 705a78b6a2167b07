"""
Where the fields of a message of Protocol Buffers lie, without an object for each. Pure.

* TruncatedError    the bytes end within a field, or are no message
"""

from collections.abc import Iterator
from typing import Any, Final

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}
_MORE: Final = 0x80
_LONGEST: Final = 70
# The byte before a record, in Loki's and in OpenTelemetry's requests: its field has number 2. With fewer, or larger records, all of
# them at once take less memory than the body does.
_RECORD_MARK: Final = b"\x12"
_FEW: Final = 20_000
_RECORD_BYTES: Final = 16

STEPS: Final = 1000
"""So many fields are walked without a pause."""


class TruncatedError(ValueError):
    """Bytes that are no whole message."""


def is_dense(body: bytes) -> bool:
    """Return whether a body may have far more records than one of log lines."""
    marks = body.count(_RECORD_MARK)
    return marks > _FEW and marks * _RECORD_BYTES > len(body)


def pauses(found: Iterator[Any]) -> Iterator[None]:
    """Walk to the end, for what is wrong with it, and yield only pauses."""
    for count, _ in enumerate(found):
        if not count % STEPS:
            yield None


def fields(raw: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of each field of the kind that has bytes; others are passed over."""
    while at < end:
        tag, at = _varint(raw, at, end)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise TruncatedError("a field has no number")
        if kind == _BYTES:
            length, at = _varint(raw, at, end)
            until = at + length
            if until > end:
                raise TruncatedError("a field is cut off")
            yield number, at, until
            at = until
        elif kind == _VARINT:
            _, at = _varint(raw, at, end)
        else:
            at += _FIXED.get(kind, end)
            if at > end:
                raise TruncatedError("a field is cut off, or of no kind that is known")


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < _LONGEST:
        byte = raw[at]
        at += 1
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return value, at
        shift += 7
    raise TruncatedError("a number is cut off")
