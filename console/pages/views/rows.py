"""A list of events as a page shows it. PURE."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from console.pages.views.moments import Moment, moment
from console.pages.views.state import LEVELS, Parameters, also, with_, without, write
from console.pages.views.visible import Piece, pieces, visible

Row = Mapping[str, Any]


class Value(NamedTuple):
    """A value that can be searched for: its text, and the search that has it as a filter."""

    text: str
    href: str
    name: str


class Line(NamedTuple):
    """
    One event in a list.

    Attributes:
        anchor: Its place on the page.
        href: The page of the event.
        at: When it happened.
        level: Its level, and `tone`, the same as a class of the style sheet.
        service: Where it came from.
        region: The region that accepted it, and `region_tone`, the same as a class.
        correlation: What it belongs to.
        message: Its text, as one line.
        cut: Whether the list has only the begin of the text.
        late: Whether it came after its place in the order was passed.
        late_href: The search for such events.
    """

    anchor: str
    href: str
    at: Moment
    level: str
    tone: str
    service: Value
    region: Value
    region_tone: str
    correlation: Value
    message: Sequence[Piece]
    cut: bool
    late: bool
    late_href: str


def lines(items: Sequence[Row], search: Parameters) -> list[Line]:
    """Return the events of an answer; `search` is where a value's filter is added, and where an event leads back to."""
    return [line(item, search) for item in items]


def line(item: Row, search: Parameters) -> Line:
    """Return one event."""
    level = text(item.get("level"))
    return Line(
        anchor=anchor(item),
        href=event_href(item, search),
        at=moment(item.get("timestamp")),
        level=visible(level),
        tone=tone(level),
        service=_value(item, "serviceName", "service", search),
        region=_value(item, "region", "region", search),
        region_tone=region_tone(text(item.get("region"))),
        correlation=_value(item, "correlationId", "correlationId", search),
        message=pieces(text(item.get("message"))),
        cut=bool(item.get("cut")),
        late=bool(item.get("late")),
        late_href=write(with_(search, "late", "true")),
    )


def anchor(item: Row) -> str:
    """Return an identifier of an event's place that is the same wherever it is shown."""
    at = "".join(character for character in text(item.get("timestamp")) if character.isascii() and character.isdigit())
    return f"e-{text(item.get('eventId'))}-{at}"


def event_href(item: Row, search: Parameters) -> str:
    """Return the address of an event's page."""
    parameters: Parameters = (("timestamp", text(item.get("timestamp"))),)
    origin = without(search, "cursor")
    if origin:
        parameters = (*parameters, ("in", write(origin, "").removeprefix("?")))
    return write(parameters, "/events/" + quote(text(item.get("eventId")), safe="", errors="replace"))


def tone(level: str) -> str:
    """Return the class of a level; an unknown one looks like none."""
    return level.lower() if level in LEVELS else "other"


def region_tone(name: str) -> str:
    """Return the class of a region: one of six colours, two regions with names like `region-a` and `region-b` differ."""
    return f"r-{sum(name.encode('utf-8', 'replace')) % 6}"


def text(value: object) -> str:
    """Return a value of a row as text."""
    return "" if value is None else str(value)


def _value(item: Row, field: str, parameter: str, search: Parameters) -> Value:
    value = text(item.get(field))
    added = also(search, parameter, value) if parameter == "service" else with_(search, parameter, value)
    return Value(visible(value), write(added), parameter)
