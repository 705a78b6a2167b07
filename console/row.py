"""
A row of table `logs`, and how the API shows it. Pure.

A list of rows shows the beginning of what is long, with `"cut": true`; a single event, and `full=true`, show all of it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from shared.event.times import epoch_us, format_time

MAX_SHOWN_MESSAGE: Final = 2048
"""Bytes of a message that a list shows."""
MAX_SHOWN_ATTRIBUTES: Final = 4096
"""Bytes of JSON that a list shows of a row's attributes."""

_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_decode_text: Final = msgspec.json.Decoder(str).decode


@dataclass(frozen=True, slots=True)
class Row:
    """
    One stored event.

    Attributes:
        attributes: JSON text, as PostgreSQL writes it.
        cut: `message` is only its beginning.
    """

    event_id: UUID
    event_time: datetime
    seq: int
    service_name: str
    level: str
    message: str
    correlation_id: str
    attributes: str
    origin_region: str
    received_at: datetime
    stored_at: datetime
    stored_by: str
    late: bool
    late_by_ms: int | None = None
    late_reason: str | None = None
    cut: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """Where the row stands in the order of events: microseconds since 1970, and then the order of writing."""
        return epoch_us(self.event_time), self.seq


COLUMNS: Final = tuple(name for name in Row.__slots__ if name != "cut")
"""Columns of `logs`, in the order of `Row`'s arguments."""


def shown(row: Row, *, full: bool = False) -> dict[str, Any]:
    """
    Return the row as the API shows it, ready to be encoded by `encode`.

    Args:
        row: What is shown.
        full: Leave nothing out.
    """
    message, is_cut = row.message, row.cut
    attributes: Any = msgspec.Raw(row.attributes.encode())
    if not full:
        message, is_short = _beginning(row.message, MAX_SHOWN_MESSAGE)
        attributes, has_fewer = _some_of(row.attributes)
        is_cut = is_cut or is_short or has_fewer
    item: dict[str, Any] = {
        "eventId": str(row.event_id),
        "timestamp": format_time(row.event_time),
        "serviceName": row.service_name,
        "level": row.level,
        "message": message,
        "correlationId": row.correlation_id,
        "attributes": attributes,
        "region": row.origin_region,
        "receivedAt": format_time(row.received_at),
        "storedAt": format_time(row.stored_at),
        "storedBy": row.stored_by,
        "seq": row.seq,
        "late": row.late,
    }
    if row.late:
        item |= {"lateReason": row.late_reason, "lateByMs": row.late_by_ms}
    if is_cut:
        item["cut"] = True
    return item


def encode(shown: Any) -> bytes:
    """Return JSON of what `shown` made, or of a structure that contains it."""
    return _encode(shown)


def _beginning(text: str, most: int) -> tuple[str, bool]:
    """Return as much of `text` as has `most` bytes, and whether that is less than all of it."""
    if len(text) * 4 <= most:
        return text, False
    raw = text[: most + 1].encode()
    if len(raw) <= most:
        return text, False
    return raw[:most].decode(errors="ignore"), True


def _some_of(attributes: str) -> tuple[Any, bool]:
    """Return attributes with those left out that are too much to show, and whether there are any."""
    raw = attributes.encode()
    if len(raw) <= MAX_SHOWN_ATTRIBUTES:
        return msgspec.Raw(raw), False
    shown: dict[str, Any] = {}
    left = MAX_SHOWN_ATTRIBUTES
    for name, value in _decode_members(raw).items():
        written = bytes(value)
        size = len(_encode(name)) + len(written)
        if size <= left:
            shown[name] = value
            left -= size
        elif written.startswith(b'"') and (room := left - len(_encode(name))) > 0:
            shown[name], _ = _beginning(_decode_text(written), room)
            left = 0
    return shown, True
