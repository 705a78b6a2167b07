"""
What the fast ways of reading events have in common: the field types, and times and ids that are checked as text. Pure.

A fast way takes the usual form and leaves everything else to `shared.event.model`, which alone decides what an event is.
Property tests hold that no fast way differs from it (`consumer/tests/test_decode.py`, `shared/tests/test_sealed.py`).
"""

from typing import Annotated, Any, Final

import msgspec

from shared.event.levels import LevelName
from shared.event.model import MAX_ATTRIBUTES, MAX_NAME_CHARS
from shared.event.times import epoch_us, parse_time

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Key = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)]
Attributes = Annotated[dict[Key, str | Int64 | bool | None], msgspec.Meta(max_length=MAX_ATTRIBUTES)]
AnyAttributes = Annotated[dict[Key, Any], msgspec.Meta(max_length=MAX_ATTRIBUTES)]


class Received(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """A received event without decimals, all of it checked but its times and its id."""

    event_id: str
    timestamp: str
    service_name: Name
    level: LevelName
    message: str
    correlation_id: Name
    attributes: Attributes
    received_at: str


class ReceivedWithDecimals(Received, gc=False):
    """The same, with attributes that `are_flat` has to check, and decimals among them as `as_written` left them."""

    attributes: AnyAttributes


# Longer than any that a double needs, and short enough to be harmless.
_DECIMAL_CHARS: Final = 25
_FLAT: Final = frozenset({str, bool, type(None), msgspec.Raw})


def as_written(number: str) -> msgspec.Raw:
    """
    Keep the text of a decimal, for a decoder that would make a double of it.

    Raises:
        ValueError: It is unusual; `shared.event.model` decides about it.
    """
    if len(number) > _DECIMAL_CHARS or "e" in number or "E" in number:
        raise ValueError("left to shared.event.model")
    return msgspec.Raw(number)


def are_flat(attributes: dict[str, Any]) -> bool:
    """Tell whether attributes that may be anything are what they usually are."""
    for value in attributes.values():
        kind = type(value)
        if kind is int:
            if not -(2**63) <= value < 2**64:
                return False
        elif kind not in _FLAT:
            return False
    return True


SECOND_CHARS: Final = len("2026-11-23T12:00:00")
_UUID_CHARS: Final = 36
_UUID_BYTES: Final = 16
_DASHES: Final = slice(8, 24, 5)
_SECONDS_KEPT: Final = 4096


class _Seconds(dict[str, int]):
    """Microseconds since 1970 of seconds written as text: most events share theirs with many others."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _SECONDS_KEPT:
            self.clear()
        us = self[text] = epoch_us(parse_time(text + "Z"))
        return us


SECONDS: Final = _Seconds()
"""By a time without its fraction and zone; raises ValueError for what is none, or is not taken."""


def has_escapes(raw: bytes) -> bool:
    """Tell whether a character is escaped by number: it may be one that PostgreSQL cannot store."""
    return b"\\" in raw and b"\\u" in raw  # most have not even the one byte


def uuid_bytes(text: str) -> bytes | None:
    """Return the bytes of a UUID in its usual form of 36 characters, None for anything else."""
    if len(text) != _UUID_CHARS or text[_DASHES] != "----":
        return None
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return raw if len(raw) == _UUID_BYTES else None
