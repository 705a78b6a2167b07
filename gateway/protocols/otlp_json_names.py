"""
OpenTelemetry's JSON with the names of the protocol's definition, `resource_logs` for `resourceLogs`. Pure.

The specification asks for the second ones. Tools that print a message as JSON write the first ones, and the collector takes both.
"""

import re

from collections.abc import Generator
from typing import Final

_ASKED_FOR: Final = (
    *("resourceLogs", "scopeLogs", "logRecords", "schemaUrl", "timeUnixNano", "observedTimeUnixNano"),
    *("severityNumber", "severityText", "droppedAttributesCount", "traceId", "spanId", "eventName"),
    *("stringValue", "intValue", "boolValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"),
)
_NAMES: Final = {re.sub("[A-Z]", lambda big: f"_{big[0].lower()}", name).encode(): name.encode() for name in _ASKED_FOR}
# Within a text, quotes have a backslash in front of them: what is found is a name.
_FOUND: Final = re.compile(rb'(?<!\\)"(' + b"|".join(_NAMES) + rb')"(?=[ \t\r\n]*:)')
_FIRST: Final = b'"resource_logs"'
# The first name of a body is among so many bytes.
_BEGIN_BYTES: Final = 256
_STEP_BYTES: Final = 64 * 1024
_LONGEST: Final = 64


def are_of_the_definition(body: bytes) -> bool:
    """Return whether a body has these names."""
    return _FIRST in body[:_BEGIN_BYTES]


def as_asked_for(body: bytes) -> Generator[None, None, bytes]:
    """Return the body with the names that the specification asks for; None is a pause."""
    parts: list[bytes] = []
    at = 0
    for begin in range(0, len(body), _STEP_BYTES):
        # One that begins in this step may end behind it.
        for found in _FOUND.finditer(body, begin, min(begin + _STEP_BYTES + _LONGEST, len(body))):
            if found.start() < at:
                continue
            parts += (body[at : found.start(1)], _NAMES[found[1]])
            at = found.end(1)
        yield None
    parts.append(body[at:])
    return b"".join(parts)
