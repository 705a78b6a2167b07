"""
Rows in the binary format of PostgreSQL's COPY. Pure.

The driver encodes any row of any types; here it is known which they are, and that times are microseconds already. The format
is in PostgreSQL's manual under COPY, "Binary Format": times are microseconds since 2000, `jsonb` begins with its version.
"""

import struct

from collections.abc import Sequence
from typing import Final

from consumer.envelope import Row

# The table that rows are copied into before they are inserted; `read_rows` names its columns in this order.
COLUMNS: Final = (
    "ord",
    "event_id",
    "event_time",
    "received_at",
    "late_by_ms",
    "late_reason",
    "service_name",
    "level",
    "message",
    "correlation_id",
    "attributes",
    "origin_region",
)
STAGE: Final = """
    CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
        ord integer, event_id uuid, event_time timestamptz, received_at timestamptz, late_by_ms bigint, late_reason text,
        service_name text, level text, message text, correlation_id text, attributes jsonb, origin_region text
    ) ON COMMIT DELETE ROWS
"""

_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_EPOCH_US: Final = 946_684_800_000_000
# Number of fields, then each with its length: ord, event_id, event_time, received_at.
_PLACE: Final = ">hiii16siqiq"
_IN_ORDER: Final = struct.Struct(_PLACE + "ii")
_LATE: Final = struct.Struct(_PLACE + "iqi")
_NULL: Final = -1
_JSONB_VERSION: Final = b"\x01"
_NAMES_KEPT: Final = 4096


class _Texts(dict[str, bytes]):
    """Encoded texts that come again and again: names of services, levels, regions."""

    def __missing__(self, text: str) -> bytes:
        if len(self) >= _NAMES_KEPT:
            self.clear()
        encoded = text.encode()
        field = self[text] = len(encoded).to_bytes(4, "big") + encoded
        return field


_texts: Final = _Texts()


def copy_rows(rows: Sequence[Row]) -> bytes:
    """Return rows as COPY takes them, `ord` being their index."""
    parts = [_BEGIN]
    texts, count = _texts, len(COLUMNS)
    for index, (envelope, lateness) in enumerate(rows):
        time_us, received_us = envelope.time_us - _EPOCH_US, envelope.received_us - _EPOCH_US
        message, correlation_id = envelope.message.encode(), envelope.correlation_id.encode()
        attributes = envelope.attributes
        if lateness is None:
            head = _IN_ORDER.pack(count, 4, index, 16, envelope.identity[:16], 8, time_us, 8, received_us, _NULL, _NULL)
        else:
            reason = lateness.reason.encode()
            head = (
                _LATE.pack(
                    count,
                    4,
                    index,
                    16,
                    envelope.identity[:16],
                    8,
                    time_us,
                    8,
                    received_us,
                    8,
                    lateness.by_ms,
                    len(reason),
                )
                + reason
            )
        parts += (
            head,
            texts[envelope.service_name],
            texts[envelope.level],
            len(message).to_bytes(4, "big"),
            message,
            len(correlation_id).to_bytes(4, "big"),
            correlation_id,
            (len(attributes) + 1).to_bytes(4, "big"),
            _JSONB_VERSION,
            attributes,
            texts[envelope.origin_region],
        )
    parts.append(_END)
    return b"".join(parts)
