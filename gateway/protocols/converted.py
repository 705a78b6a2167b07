"""Records, each with its group, as events. Pure."""

import base64

from collections.abc import Iterator
from typing import Any, Final

from gateway.protocols.convert import Converter
from gateway.protocols.record import Group, Record, Repair
from gateway.protocols.source import Source
from shared.event.sealed import SealedEvent

Items = Iterator[tuple[Group, Record] | None]
"""Records in the order of the request, each with its group; None is a pause."""

RAW: Final = "_raw"
_SOURCES_KEPT: Final = 1000


def converted(items: Items, converter: Converter) -> Iterator[SealedEvent | None]:
    """Yield the event of each record, and None for a pause."""
    sources: dict[tuple[Any, ...], Source] = {}
    last: Group | None = None
    source: Source | None = None
    convert = converter.convert
    for item in items:
        if item is None:
            yield None
            continue
        group, record = item
        if group is not last or source is None:
            last = group
            known = (group.key, group.service, group.host)
            if (source := sources.get(known)) is None:
                if len(sources) >= _SOURCES_KEPT:
                    sources.clear()
                source = sources[known] = converter.source(group)
        yield convert(source, record)


def unreadable(raw: bytes) -> Record:
    """Return what becomes of a record whose bytes cannot be read: nothing of it is lost."""
    attributes = {RAW: base64.b64encode(raw).decode()}
    return Record(raw=raw, message=raw, attributes=attributes, repairs=(Repair.RECORD,))
