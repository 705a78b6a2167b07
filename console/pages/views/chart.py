"""
The number of events over time: bars that are links, and the same as a table. PURE.

The bars are drawn by the server, so they need no script. A click on one narrows the search to its span.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from console.pages.views.moments import Moment, count, iso, moment, parse, span
from console.pages.views.rows import tone
from console.pages.views.state import LEVELS, Parameters, with_, write

WIDTH: Final = 1000
HEIGHT: Final = 100
# A bar with events is seen, however many others have.
_LEAST: Final = 2.5
_GAP: Final = 0.16
_MS: Final = timedelta(milliseconds=1)
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Segment(NamedTuple):
    """A part of a bar: the events of one level."""

    tone: str
    y: float
    height: float


class Bar(NamedTuple):
    """One span of time with events."""

    x: float
    width: float
    segments: Sequence[Segment]
    title: str
    href: str
    begin: Moment
    end: Moment
    counts: Mapping[str, int]
    total: int


class Share(NamedTuple):
    """How many events of a level there are in all."""

    level: str
    tone: str
    number: str


@dataclass(frozen=True, slots=True)
class Chart:
    """
    A histogram.

    Attributes:
        begin: Where it begins.
        end: Where it ends.
        begin_ms: The same as milliseconds since 1970, for the script.
        end_ms: Likewise.
        bars: Spans with events, oldest first.
        shares: Sums by level, the most severe first.
        levels: Levels that occur, the most severe first.
        total: The number of events, in words.
        most: The largest bar's number.
        each: How long one bar is.
        complete: Whether the whole range was counted.
        looked_from: Where counting stopped if it was not.
    """

    begin: Moment
    end: Moment
    begin_ms: int
    end_ms: int
    bars: Sequence[Bar]
    shares: Sequence[Share]
    levels: Sequence[str]
    total: str
    most: int
    each: str
    complete: bool
    looked_from: Moment


def chart(answer: Mapping[str, Any], search: Parameters) -> Chart | None:
    """Draw the API's answer; None if it has no range to draw."""
    begin, end = parse(answer.get("from")), parse(answer.get("to"))
    width_ms = interval_ms(answer)
    if begin is None or end is None or end <= begin or not width_ms:
        return None
    found = [(at, _counts(bucket)) for bucket in answer.get("buckets", ()) if (at := parse(bucket.get("at")))]
    width = timedelta(milliseconds=width_ms)
    found = sorted((at, counts) for at, counts in found if sum(counts.values()) and begin - width < at < end)
    most = max((sum(counts.values()) for _, counts in found), default=0)
    levels = _by_severity({level for _, counts in found for level in counts})
    bars = [_bar(at, counts, (begin, end, width_ms, most), levels, search) for at, counts in found]
    sums = {level: sum(counts.get(level, 0) for _, counts in found) for level in levels}
    return Chart(
        begin=moment(iso(begin)),
        end=moment(iso(end)),
        begin_ms=_epoch_ms(begin),
        end_ms=_epoch_ms(end),
        bars=bars,
        shares=[Share(level, tone(level), f"{number:,}") for level, number in sums.items()],
        levels=levels,
        total=count(sum(sums.values()), "event"),
        most=most,
        each=span(width_ms),
        complete=bool(answer.get("complete", True)),
        looked_from=moment(answer.get("searchedFrom")),
    )


def interval_ms(answer: Mapping[str, Any]) -> int:
    """Return how long a bar is; 0 if the answer does not say it."""
    exact = answer.get("intervalMs")
    if isinstance(exact, int) and exact > 0:
        return exact
    written = str(answer.get("interval", ""))
    digits = written.rstrip("dhms")
    unit = _UNITS_MS.get(written[len(digits) :], 0)
    return int(digits) * unit if digits.isascii() and digits.isdigit() else 0


def _bar(
    at: datetime,
    counts: Mapping[str, int],
    frame: tuple[datetime, datetime, int, int],
    levels: Sequence[str],
    search: Parameters,
) -> Bar:
    begin, end, width_ms, most = frame
    until = at + timedelta(milliseconds=width_ms)
    shown_begin, shown_end = max(at, begin), min(until, end)
    whole = (end - begin) / _MS
    x = WIDTH * ((shown_begin - begin) / _MS) / whole
    width = WIDTH * ((shown_end - shown_begin) / _MS) / whole
    total = sum(counts.values())
    height = max(_LEAST, HEIGHT * total / most)
    segments, y = [], float(HEIGHT)
    # The most severe level stands on the ground, where bars can be compared.
    for level in levels:
        part = height * counts.get(level, 0) / total
        if part:
            y -= part
            segments.append(Segment(tone(level), round(y, 2), round(part, 2)))
    narrowed = with_(with_(search, "from", iso(shown_begin)), "to", iso(shown_end))
    words = ", ".join(f"{counts[level]:,} {level}" for level in levels if counts.get(level))
    edges = moment(iso(shown_begin)), moment(iso(shown_end))
    return Bar(
        x=round(x + width * _GAP / 2, 2),
        width=max(round(width * (1 - _GAP), 2), 0.5),
        segments=segments,
        title=f"{edges[0].clock} to {edges[1].clock} UTC: {words}",
        href=write(narrowed),
        begin=edges[0],
        end=edges[1],
        counts=counts,
        total=total,
    )


def _counts(bucket: Mapping[str, Any]) -> dict[str, int]:
    counts = bucket.get("counts")
    if not isinstance(counts, Mapping):
        return {"all": int(bucket.get("count", 0))}
    return {str(level): int(number) for level, number in counts.items() if number}


def _by_severity(levels: set[str]) -> list[str]:
    return sorted(levels, key=lambda level: (-LEVELS.index(level) if level in LEVELS else 1, level))


def _epoch_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
