"""
Which region an event was meant for, where another one took it: from the gateway to the record in Kafka. PURE.

A hand-off says it in an HTTP header, beside the events, and the producer writes it as a header of the record. Producers of
earlier releases know neither and leave both out. It is for a person who looks where an event went: no component acts on it, and
what cannot be read is left out. An event that is where it was meant to be costs nothing.

The HTTP header names a region with its events' places in the body, counted from 0: `region-a=0-49,60;region-c=70`.
"""

import re

from collections.abc import Iterable, Sequence
from typing import Final

HEADER: Final = "Wanted-Regions"
RECORD_HEADER: Final = "wanted-region"
MAX_HEADER_CHARS: Final = 8192

Stretch = tuple[int, int, str]
"""Where a run of events begins, how many it has, and the region that they were meant for."""

_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_PLACES: Final = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")


def stretches(runs: Iterable[tuple[int, str | None]]) -> list[Stretch]:
    """Return where the events are that were meant for another region, from how many follow each other and what they were meant for."""
    found: list[Stretch] = []
    begin = 0
    for count, region in runs:
        if region is not None:
            if found and (last := found[-1])[0] + last[1] == begin and last[2] == region:
                found[-1] = (last[0], last[1] + count, region)
            else:
                found.append((begin, count, region))
        begin += count
    return found


def write(stretches: Iterable[Stretch]) -> str:
    """Write the header; what does not fit into it is left out."""
    by_region: dict[str, list[str]] = {}
    size = 0
    for begin, count, region in stretches:
        places = str(begin) if count == 1 else f"{begin}-{begin + count - 1}"
        size += len(places) + 1 + (0 if region in by_region else len(region) + 1)
        if size > MAX_HEADER_CHARS:
            break
        by_region.setdefault(region, []).append(places)
    return ";".join(f"{region}={','.join(places)}" for region, places in by_region.items())


def read(header: str, events: int) -> Sequence[bytes | None] | None:
    """Return the region that each of so many events was meant for; None in place of all that cannot be read."""
    if len(header) > MAX_HEADER_CHARS:
        return None
    wanted: list[bytes | None] = [None] * events
    for part in header.split(";"):
        region, _, places = part.partition("=")
        if _REGION.fullmatch(region) is None:
            return None
        for place in places.split(","):
            found = _PLACES.fullmatch(place)
            if found is None:
                return None
            begin, end = int(found[1]), int(found[2] or found[1]) + 1
            if not begin < end <= events:
                return None
            wanted[begin:end] = [region.encode()] * (end - begin)
    return wanted


def of_record(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """Return the one among a Kafka record's headers."""
    for name, value in headers:
        if name == RECORD_HEADER and value and _REGION.fullmatch(said := value.decode(errors="replace")):
            return said
    return None
