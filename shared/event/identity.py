"""
What makes an event the same event: its id and its time, together in 24 bytes. Pure.

Only this module knows which of the bytes are what.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final, NewType, cast

Identity = NewType("Identity", bytes)

EVENT_ID_BYTES: Final = 16
_PARTS: Final = Struct(f">{EVENT_ID_BYTES}sQ")

identity_of: Final = cast("Callable[[bytes, int], Identity]", _PARTS.pack)
"""Return the identity of an event id of 16 bytes and an event time in microseconds since 1970."""


def event_id_of(identity: Identity) -> bytes:
    """Return the 16 bytes of the event id."""
    return identity[:EVENT_ID_BYTES]


def event_time_us_of(identity: Identity) -> int:
    """Return the event time, microseconds since 1970."""
    return int.from_bytes(identity[EVENT_ID_BYTES:], "big")
