"""
W3C trace context, passed on as it is; nothing here makes one.

The `traceparent` that a client sends travels with its events, first to the producer. From there it is Kafka's record header
of the same name, through MirrorMaker to the consumer, and on to the dead letter if the event becomes one. A value that is no
traceparent is left out, as the recommendation asks: a trace is never a reason to refuse an event.
"""

import re

from collections.abc import Iterable
from typing import Final

HEADER: Final = "traceparent"
_RAW_HEADER: Final = HEADER.encode()
# Of version 00, or of a later one that looks the same; neither id may be all zeros.
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(value: bytes) -> bool:
    """Tell whether this is one."""
    return _TRACEPARENT.fullmatch(value) is not None


def of_request(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the one among an HTTP request's raw headers; None if there is none, or more than one."""
    found = None
    for name, value in headers:
        if name == _RAW_HEADER:
            if found is not None or not is_traceparent(value):
                return None
            found = value
    return found


def of_record(headers: Iterable[tuple[str, bytes | None]]) -> bytes | None:
    """Return the one among a Kafka record's headers."""
    return next((value for name, value in headers if name == HEADER and value and is_traceparent(value)), None)
