"""One event with everything that is known of it, and its neighbours. PURE."""

import json

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from console.pages.views.moments import Moment, between, moment, parse, span
from console.pages.views.rows import Line, Row, line, text
from console.pages.views.state import Choice, Parameters, also, excluded_level, with_, write
from console.pages.views.visible import Piece, pieces, visible

# Field of an event, what it is called, and the parameter that finds others with the same value.
_FIELDS: Final = (
    ("serviceName", "Service", "service"),
    ("correlationId", "Correlation id", "correlationId"),
    ("region", "Region", "region"),
    ("eventId", "Event id", ""),
    ("timestamp", "Happened", ""),
    ("receivedAt", "Received", ""),
    ("storedAt", "Stored", ""),
    ("storedBy", "Stored by", "storedBy"),
    ("seq", "Number in the store", ""),
    ("lateReason", "Late because", "lateReason"),
)
_MINUS: Final = "\N{MINUS SIGN}"
_TIMES: Final = frozenset({"timestamp", "receivedAt", "storedAt"})
_SAME: Final = (("correlation", "same correlation id"), ("service", "same service"), ("all", "all events"))


class Field(NamedTuple):
    """
    A field with its value.

    Attributes:
        label: What it is called.
        value: Its value, cut into what is plain and what is not.
        copy: The value as it is, to be copied.
        at: The value as a time, if it is one.
        after: How long after the event happened that was.
        more: The search for events with the same value, if there is one.
        less: The search for events without it, if there is one.
    """

    label: str
    value: Sequence[Piece]
    copy: str
    at: Moment | None = None
    after: str = ""
    more: str = ""
    less: str = ""


class Shown(NamedTuple):
    """An event on its page."""

    head: Line
    message: Sequence[Piece]
    level: Field
    fields: Sequence[Field]
    attributes: Sequence[Field]
    raw: str
    without_message: str
    title: str


class Neighbour(NamedTuple):
    """An event near this one: how it is shown in a list, how far away it is, and whether it is the one in the middle."""

    line: Line
    away: str
    here: bool


def shown(item: Row, search: Parameters) -> Shown:
    """Return what the page of an event shows."""
    level, message = text(item.get("level")), text(item.get("message"))
    excluded = excluded_level(search, level)
    attributes = item.get("attributes")
    return Shown(
        head=line(item, search),
        message=pieces(message, breaks=True),
        level=Field(
            "Level",
            pieces(level),
            level,
            more=write(with_(tuple(p for p in search if p[0] != "level"), "levels", level)),
            less=write(excluded) if excluded else "",
        ),
        fields=[_field(item, *field, search) for field in _FIELDS if item.get(field[0]) is not None],
        attributes=[_attribute(name, value, search) for name, value in attributes.items()]
        if isinstance(attributes, Mapping)
        else [],
        raw=visible_block(json.dumps(item, indent=2, ensure_ascii=False, default=str)),
        without_message=write(also(search, "-text", message[:200])) if message else "",
        title=f"{visible(level)} {visible(text(item.get('serviceName')))}: {visible(message[:60])}",
    )


def visible_block(written: str) -> str:
    """Return text of several lines in which nothing is hidden."""
    return "".join(piece.text for piece in pieces(written, breaks=True))


def neighbours(answer: Mapping[str, Any], search: Parameters) -> list[Neighbour]:
    """Return the events around one, oldest first, with that one in the middle."""
    middle = answer.get("event") or {}
    here = parse(middle.get("timestamp"))
    found = []
    for item, is_here in [
        *((item, False) for item in answer.get("before", ())),
        *([(middle, True)] if middle else []),
        *((item, False) for item in answer.get("after", ())),
    ]:
        at = parse(item.get("timestamp"))
        away = between(here, at) if here and at else 0.0
        words = "" if is_here else f"{'+' if away >= 0 else _MINUS}{span(abs(away))}"
        found.append(Neighbour(line(item, search), words, is_here))
    return found


def kinds_of_neighbours(parameters: Parameters, path: str) -> list[Choice]:
    """Return which neighbours can be asked for."""
    chosen = next((value for name, value in parameters if name == "same"), _SAME[0][0])
    return [Choice(label, write(with_(parameters, "same", same), path), same == chosen) for same, label in _SAME]


def _field(item: Row, name: str, label: str, parameter: str, search: Parameters) -> Field:
    value = text(item[name])
    happened, at = parse(item.get("timestamp")), parse(item[name])
    is_time = name in _TIMES and at is not None
    after = between(happened, at) if is_time and happened and at else 0.0
    return Field(
        label,
        pieces(value, breaks=True),
        value,
        at=moment(value) if is_time else None,
        after=f"{span(after)} later" if after > 0 else f"{span(-after)} earlier" if after < 0 else "",
        more=write(with_(search, parameter, value)) if parameter else "",
    )


def _attribute(name: str, value: object, search: Parameters) -> Field:
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # A string that reads as JSON would be taken for a number or the like; in quotes it stays a string.
    asked = written if not isinstance(value, str) or not _reads_as_json(value) else json.dumps(value)
    return Field(visible(name), pieces(written, breaks=True), written, more=write(with_(search, f"attr.{name}", asked)))


def _reads_as_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True
