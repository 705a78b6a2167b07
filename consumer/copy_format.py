"""
Rows in the binary format of PostgreSQL's COPY. Pure.

An event becomes bytes once, when it is decoded; those of a batch are then only joined. The driver would encode rows of any types;
here the types are known, and times are microseconds already. The format is in PostgreSQL's manual under COPY, "Binary Format":
times are microseconds since 2000, `jsonb` begins with its version.
"""

import struct
import zlib

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Final

import msgspec

from consumer.envelope import Envelope, Lateness, Row
from shared.event.decode import Record

# First the columns that all rows in order of one consumer agree in, then, from the id on, those that `event_columns` encodes.
COLUMNS: Final = (
    "stored_by",
    "late",
    "late_by_ms",
    "late_reason",
    "event_id",
    "event_time",
    "received_at",
    "origin_region",
    # From here on the content; two events with one identity that differ in it are in conflict.
    "service_name",
    "level",
    "message",
    "correlation_id",
    "attributes",
)
# Where a batch has rows of other tenants than the default one.
TENANT_COLUMNS: Final = (*COLUMNS[:4], "tenant_id", *COLUMNS[4:], "tenant_event_id")

_envelope, _lateness, _order = map(itemgetter, range(3))  # of a row
_columns, _tenant = (itemgetter(Envelope._fields.index(name)) for name in ("columns", "tenant"))
_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
# A row begins with the number of its fields.
_COUNT_AT: Final = len(_BEGIN)
_FIELDS: Final = len(COLUMNS).to_bytes(2, "big")
_TENANT_FIELDS: Final = len(TENANT_COLUMNS).to_bytes(2, "big")
_EPOCH_US: Final = 946_684_800_000_000
# Each field with its length.
_ID_AND_TIMES: Final = struct.Struct(">i16siqiq")
# Where the name of the origin begins, and the last byte of its length.
ORIGIN_AT: Final = _ID_AND_TIMES.size + 4
_ORIGIN_LENGTH: Final = ORIGIN_AT - 1
_encode: Final = msgspec.json.Encoder().encode
_ID: Final = struct.Struct(">i16s")
_NULL: Final = (-1).to_bytes(4, "big", signed=True)
_JSONB_VERSION: Final = b"\x01"
_NAMES_KEPT: Final = 4096


class _Texts(dict[str, bytes]):
    """Encoded texts that come again and again: names of services, levels, regions."""

    def __missing__(self, text: str) -> bytes:
        if len(self) >= _NAMES_KEPT:
            self.clear()
        field = self[text] = _field(text.encode())
        return field


_texts: Final = _Texts()


def event_columns(event: Record, event_id: bytes, time_us: int, received_us: int) -> bytes:
    """
    Return what a row holds of its event.

    Args:
        event: As sent.
        event_id: Its id, 16 bytes.
        time_us: When it happened, microseconds since 1970.
        received_us: When a gateway took it, likewise.
    """
    message, correlation_id = event.message.encode(), event.correlation_id.encode()
    attributes = _encode(event.attributes) if event.attributes else b"{}"
    return b"".join(
        (
            _ID_AND_TIMES.pack(16, event_id, 8, time_us - _EPOCH_US, 8, received_us - _EPOCH_US),
            _texts[event.origin_region],
            _texts[event.service_name],
            _texts[event.level],
            len(message).to_bytes(4, "big"),
            message,
            len(correlation_id).to_bytes(4, "big"),
            correlation_id,
            (len(attributes) + 1).to_bytes(4, "big"),
            _JSONB_VERSION,
            attributes,
        )
    )


def own_id_column(event_id: bytes) -> bytes:
    """Return what follows the columns of an event that is not stored under its own id: that id."""
    return _ID.pack(16, event_id)


def fingerprint(columns: bytes) -> int:
    """
    Return 32 bits of what an event says, from what `event_columns` made of it.

    Whatever a retry may change is left out: when it was received, and where. Attributes in another order make another
    fingerprint, so one that differs is a reason to look, and no proof.
    """
    # Only the last byte of the origin's length is read: of a longer name than 255 bytes a part counts as content.
    return zlib.crc32(columns[ORIGIN_AT + columns[_ORIGIN_LENGTH] :])


def writer(stored_by: str, order: str) -> str:
    """Return what `stored_by` says of rows in an order of this consumer's."""
    return f"{stored_by}/{order}" if order else stored_by


def columns_of(encoded: bytes) -> tuple[str, ...]:
    """Return the columns of what `copy_rows` made."""
    return COLUMNS if encoded[_COUNT_AT : _COUNT_AT + 2] == _FIELDS else TENANT_COLUMNS


def tenants_of(rows: Sequence[Row]) -> set[str]:
    """Return whose the rows are, but for the default tenant."""
    found = set(map(_tenant, map(_envelope, rows)))
    found.discard(None)
    return found


def copy_rows(rows: Sequence[Row], stored_by: str, tenants: Mapping[str, int] = MappingProxyType({})) -> bytes:
    """
    Return rows as COPY takes them, with `columns_of` them.

    Args:
        rows: Of a batch.
        stored_by: Who stores them.
        tenants: Their numbers in the table.

    Raises:
        KeyError: A tenant has none.
    """
    if tenants_of(rows):
        return _copy_tenants(rows, stored_by, tenants)
    events = list(map(_columns, map(_envelope, rows)))
    latenesses, orders = list(map(_lateness, rows)), list(map(_order, rows))
    if rows and latenesses.count(None) == len(rows) == orders.count(orders[0]):
        body = _place(writer(stored_by, orders[0]), None).join([b"", *events])
    else:
        in_order = {order: _place(writer(stored_by, order), None) for order in set(orders)}
        places = [
            in_order[order] if lateness is None else _place(writer(stored_by, order), lateness)
            for lateness, order in zip(latenesses, orders, strict=True)
        ]
        body = b"".join(chain.from_iterable(zip(places, events, strict=True)))
    return b"".join((_BEGIN, body, _END))


def _copy_tenants(rows: Sequence[Row], stored_by: str, tenants: Mapping[str, int]) -> bytes:
    parts = [_BEGIN]
    for envelope, lateness, order in rows:
        number = 0 if envelope.tenant is None else tenants[envelope.tenant]
        place = _place(writer(stored_by, order), lateness, _TENANT_FIELDS)
        parts += [place, _field(number.to_bytes(2, "big")), envelope.columns]
        if envelope.tenant is None:
            parts.append(_NULL)
    return b"".join([*parts, _END])


def _place(stored_by: str, lateness: Lateness | None, fields: bytes = _FIELDS) -> bytes:
    """Return the beginning of a row: the number of its fields, and the first of them."""
    head = fields + _field(stored_by.encode())
    if lateness is None:
        return head + _field(b"\0") + _NULL + _NULL
    by_ms = lateness.by_ms.to_bytes(8, "big", signed=True)
    return head + _field(b"\1") + _field(by_ms) + _field(lateness.reason.encode())


def _field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value
