"""Records, each with its group, as events. Pure."""

import base64

from collections.abc import Iterator
from typing import Any, Final

from gateway.protocols.convert import Converter
from gateway.protocols.cutting import CUT
from gateway.protocols.record import RAW, Group, Record, Repair
from gateway.protocols.source import Source
from shared.event.sealed import SealedEvent

Items = Iterator[tuple[Group, Record] | None]
"""Records in the order of the request, each with its group; None is a pause."""

MAX_RECORD_BYTES: Final = 1024 * 1024
"""A record with more bytes is not taken apart: that would hold the loop for long, and most of it would be cut anyway."""
_KEPT_BYTES: Final = 128 * 1024
_SOURCES_KEPT: Final = 1000


class Events:
    """Makes records events, each with what its group shares, which is kept for the next ones."""

    def __init__(self, converter: Converter) -> None:
        self._converter = converter
        self._convert = converter.convert
        self._sources: dict[tuple[Any, ...], Source] = {}
        self._last: Group | None = None
        self._source: Source

    def of(self, group: Group, record: Record) -> SealedEvent:
        """Return the event of a record."""
        if group is not self._last:
            self._last = group
            known = (group.key, group.service, group.host)
            if (source := self._sources.get(known)) is None:
                if len(self._sources) >= _SOURCES_KEPT:
                    self._sources.clear()
                source = self._sources[known] = self._converter.source(group)
            self._source = source
        return self._convert(self._source, record)


def converted(items: Items, converter: Converter) -> Iterator[SealedEvent | None]:
    """Yield the event of each record, and None for a pause."""
    event = Events(converter).of
    for item in items:
        yield None if item is None else event(*item)


def unreadable(raw: bytes) -> Record:
    """Return what becomes of a record whose bytes cannot be read: nothing of it is lost, unless it is vast."""
    if len(raw) > MAX_RECORD_BYTES:
        return vast(raw, 0, len(raw))
    attributes = {RAW: base64.b64encode(raw).decode()}
    return Record(raw=raw, message=raw, attributes=attributes, repairs=(Repair.RECORD,))


def vast(body: bytes | memoryview, begin: int, end: int) -> Record:
    """Return what becomes of a record that is too large to be taken apart: its first bytes are the message."""
    attributes = {CUT: f"record {end - begin}"}
    message = bytes(body[begin : min(begin + _KEPT_BYTES, end)])
    return Record(raw=b"", message=message, attributes=attributes, repairs=(Repair.RECORD, Repair.CUT))
