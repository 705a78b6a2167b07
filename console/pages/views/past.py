"""The past of replication as pictures: what was exposed in each direction, with its splits as bands, and each region's rate. PURE."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from console.pages.views.moments import Moment, between, iso, moment, parse, span
from console.pages.views.rows import region_tone
from console.pages.views.state import Choice, write
from console.pages.views.visible import visible

WIDTH: Final = 1000
HEIGHT: Final = 60
RANGES: Final = (("-1h", "1 h"), ("-6h", "6 h"), ("-1d", "24 h"), ("-7d", "7 d"))
DEFAULT: Final = "-1d"
_AROUND: Final = timedelta(minutes=2)
# Where Prometheus saw nothing for so many moments, a line is broken.
_BREAK: Final = 3


class Band(NamedTuple):
    """A split in a picture."""

    x: float
    width: float
    href: str
    title: str


class Picture(NamedTuple):
    """
    One line over time.

    Attributes:
        title: What it shows.
        tone: The class of the region that it is about.
        area: The filled shape, as a path of SVG.
        most: The largest value, in words.
        bands: Splits of that direction.
    """

    title: str
    tone: str
    area: str
    most: str
    bands: Sequence[Band]


class Split(NamedTuple):
    """A span in which a direction did not copy; until its target had caught up, what was late and what came twice, by region."""

    direction: str
    begin: Moment
    lasted: str
    converged: str
    most: str
    late: Sequence[str]
    duplicates: Sequence[str]
    href: str
    late_href: str


class Past(NamedTuple):
    """What the page shows of a span."""

    begin: Moment
    end: Moment
    exposed: Sequence[Picture]
    accepted: Sequence[Picture]
    splits: Sequence[Split]


class _Stop(NamedTuple):
    source: str
    target: str
    begin: datetime
    until: datetime
    said: Mapping[str, Any]


def ranges(chosen: str) -> list[Choice]:
    """Return the spans that are one click away."""
    return [Choice(label, write((("from", begin),), "/replication"), begin == chosen) for begin, label in RANGES]


def past(answer: Mapping[str, Any]) -> Past | None:
    """Draw the API's answer; None if it has no span."""
    begin, end = parse(answer.get("from")), parse(answer.get("to"))
    if begin is None or end is None or end <= begin:
        return None
    frame = begin, end, float(answer.get("stepSeconds") or 1)
    splits = [_Stop(str(one["source"]), str(one["target"]), *_edges(one, end), one) for one in answer.get("splits", ())]
    exposed = []
    for one in answer.get("directions", ()):
        direction = str(one["source"]), str(one["target"])
        bands = [_band(stop, frame) for stop in splits if (stop.source, stop.target) == direction]
        points = [(at, value) for at, value, *_ in one["points"] if value is not None]
        area, most = _area(points, frame)
        title = f"{visible(str(one['source']))} → {visible(str(one['target']))}"
        exposed.append(Picture(title, region_tone(str(one["source"])), area, f"{most:,.0f}", bands))
    accepted = []
    for one in answer.get("accepted", ()):
        area, most = _area(one["points"], frame)
        name = str(one["region"])
        accepted.append(
            Picture(visible(name), region_tone(name), area, f"{most:,.0f}" if most >= 1 else f"{most:.2g}", ())
        )
    return Past(moment(iso(begin)), moment(iso(end)), exposed, accepted, [_split(stop) for stop in reversed(splits)])


def _edges(split: Mapping[str, Any], end: datetime) -> tuple[datetime, datetime]:
    last = split.get("end")
    return _moment(split["begin"]), end if last is None else _moment(last)


def _band(stop: _Stop, frame: tuple[datetime, datetime, float]) -> Band:
    low, high = _x(stop.begin, frame), _x(stop.until, frame)
    words = f"not copied for {span(between(stop.begin, stop.until))}, at most {stop.said['mostExposed']:,.0f} exposed"
    return Band(low, round(max(2.0, high - low), 2), _closer(stop), words)


def _split(stop: _Stop) -> Split:
    lasted = span(between(stop.begin, stop.until))
    return Split(
        direction=f"{visible(stop.source)} → {visible(stop.target)}",
        begin=moment(iso(stop.begin)),
        lasted=f"{lasted}, goes on" if stop.said.get("end") is None else lasted,
        converged=_converged(stop),
        most=f"{stop.said['mostExposed']:,.0f}",
        late=_by_region(stop.said.get("lateRows", {})),
        duplicates=_by_region(stop.said.get("duplicates", {})),
        href=_closer(stop),
        late_href=write((("from", iso(stop.begin)), ("to", iso(stop.until + _AROUND)), ("late", "true"))),
    )


def _converged(stop: _Stop) -> str:
    at = stop.said.get("convergedAt")
    if at is None:
        return "not yet"
    later = between(stop.until, _moment(at))
    return f"{span(later)} later" if later else "at once"


def _by_region(counts: Mapping[str, int]) -> list[str]:
    return [f"{count:,} in {visible(region)}" for region, count in counts.items()] or ["unknown"]


def _closer(stop: _Stop) -> str:
    return write((("from", iso(stop.begin - _AROUND)), ("to", iso(stop.until + _AROUND))), "/replication")


def _area(points: Sequence[Sequence[float]], frame: tuple[datetime, datetime, float]) -> tuple[str, float]:
    """Return a shape that stands on the ground, and the largest value."""
    most = max((value for _, value in points), default=0.0)
    if not points:
        return "", 0.0
    scale = HEIGHT / most if most else 0.0
    path, before = "", None
    for at, value in points:
        x, y = _x(_moment(at), frame), round(HEIGHT - value * scale, 2)
        if before is None or at - before[0] > _BREAK * frame[2] * 1000:
            path += f"V{HEIGHT}H{x}" if before else f"M{x} {HEIGHT}"
        path += f"L{x} {y}"
        before = at, x
    return f"{path}V{HEIGHT}Z", most


def _x(at: datetime, frame: tuple[datetime, datetime, float]) -> float:
    return round(WIDTH * between(frame[0], at) / between(frame[0], frame[1]), 2)


def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
