"""Regions and the directions between them, as the gateway sees them. PURE."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from console.pages.views.moments import Moment, between, count, iso, moment, parse, span
from console.pages.views.rows import region_tone
from console.pages.views.state import write
from console.pages.views.visible import visible

_STALE_S: Final = 5.0
_TWO: Final = 2


class Region(NamedTuple):
    """One region: whether it is seen, and what is wrong if it is not."""

    name: str
    tone: str
    seen: bool
    words: str
    trouble: str


class Direction(NamedTuple):
    """
    One direction of replication.

    Attributes:
        source: Where events come from.
        target: Where they are copied to.
        up: Whether they are.
        state: The same in words, with since when.
        since: Since when it is down.
        lag: How far the target is behind, in time.
        records: The same in events.
        exposed: How many events would be lost with the source; a question mark while that is unknown.
        exposed_some: Whether there is any.
        as_of: How old that number is, if it is not of now.
        detail: The gateway's sentence.
        late_href: The search for what came late since the direction went down.
    """

    source: str
    target: str
    up: bool
    state: str
    since: Moment | None
    lag: str
    records: str
    exposed: str
    exposed_some: bool
    as_of: str
    detail: str
    late_href: str


class Map(NamedTuple):
    """All regions and directions; `verdict` says it in a sentence."""

    regions: Sequence[Region]
    directions: Sequence[Direction]
    verdict: str
    well: bool
    pair: bool


def replication_map(answer: Mapping[str, Any], now: datetime) -> Map:
    """Return what the page shows of the gateway's answer."""
    regions = [_region(one) for one in answer.get("regions", ())]
    directions = [_direction(one, now) for one in answer.get("links", ())]
    pair = len(regions) == _TWO and len(directions) == _TWO
    if pair:  # the first direction leads from the left region to the right one
        directions.sort(key=lambda one: one.source != regions[0].name)
    down = [one for one in directions if not one.up]
    unseen = [one.name for one in regions if not one.seen]
    return Map(regions, directions, _verdict(directions, down, unseen), not down and not unseen, pair)


def _verdict(directions: Sequence[Direction], down: Sequence[Direction], unseen: Sequence[str]) -> str:
    if not directions:
        return "The gateway watches no direction of replication."
    parts = []
    if down:
        parts.append("Not copied: " + ", ".join(f"{one.source} → {one.target}" for one in down) + ".")
    if unseen:
        parts.append(" and ".join(unseen) + (" is" if len(unseen) == 1 else " are") + " not seen now.")
    if not parts:
        exposed = [one for one in directions if one.exposed_some]
        parts.append("Every direction copies." if exposed else "Every direction copies, and nothing is exposed.")
    return " ".join(parts)


def _region(raw: Mapping[str, Any]) -> Region:
    age, trouble = raw.get("seenSecondsAgo"), raw.get("trouble")
    seen = isinstance(age, int | float) and age <= _STALE_S
    ago = "" if age is None else f"last seen {span(float(age) * 1000)} ago"
    words = "seen now" if seen else ago or "not seen yet"
    name = str(raw.get("region", ""))
    return Region(visible(name), region_tone(name), seen, words, visible(str(trouble or "")))


def _direction(raw: Mapping[str, Any], now: datetime) -> Direction:
    up = bool(raw.get("up"))
    split, as_of = parse(raw.get("splitSince")), parse(raw.get("exposedAsOf"))
    records, exposed = raw.get("lagRecords"), raw.get("exposedRecords")
    age_ms = between(as_of, now) if as_of else 0.0
    lasted = f" for {span(max(0.0, between(split, now)))}" if split else ""
    return Direction(
        source=visible(str(raw.get("source", ""))),
        target=visible(str(raw.get("target", ""))),
        up=up,
        state="up" if up else f"DOWN{lasted}",
        since=moment(iso(split)) if split else None,
        lag=span(round(float(raw.get("lagSeconds") or 0.0) * 10) * 100),
        records="unknown" if records is None else count(int(records), "event"),
        exposed="?" if exposed is None else f"{int(exposed):,}",
        exposed_some=bool(exposed),
        as_of=f"seen {span(age_ms)} ago" if age_ms > _STALE_S * 1000 else "",
        detail=visible(str(raw.get("detail", ""))),
        late_href=write((("from", iso(split)), ("to", "now"), ("late", "true"))) if split else "",
    )
