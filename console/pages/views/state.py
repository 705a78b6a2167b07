"""
The state of a page, which is all in its address. PURE.

A page's parameters are those of the API, under the same names, so a link to a view is the request for its data. A page has
a few more of its own: `in` is the search that an event was opened from.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from console.pages.views.visible import visible

Parameters = tuple[tuple[str, str], ...]

LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
RANGES: Final = (("-5m", "5 min"), ("-15m", "15 min"), ("-1h", "1 h"), ("-6h", "6 h"), ("-1d", "24 h"), ("-7d", "7 d"))
DEFAULT_FROM: Final = "-15m"
# Parameters that select no events.
_OF_THE_VIEW: Final = frozenset({"from", "to", "order", "by", "limit", "cursor", "full", "interval"})
_WORDS: Final = {
    "service": "service",
    "level": "at least",
    "levels": "levels",
    "correlationId": "correlation id",
    "region": "region",
    "late": "late",
    "lateReason": "late because",
    "storedBy": "stored by",
    "text": "contains",
    "-text": "without",
}


class Chip(NamedTuple):
    """A filter that is set: what it is about, its value, and the address without it."""

    about: str
    value: str
    href: str


class Choice(NamedTuple):
    """One of several values: what it is called, where it leads, and whether it is chosen."""

    label: str
    href: str
    chosen: bool


def read(query: str) -> Parameters:
    """Read a query string; parameters without a value are those of empty fields of a form, and count as left out."""
    return tuple((name, value) for name, value in parse_qsl(query.lstrip("?"), keep_blank_values=True) if value.strip())


def canonical(parameters: Parameters) -> Parameters:
    """Leave out what holds anyway: a search of the last quarter of an hour needs no span."""
    parameters = tuple(pair for pair in parameters if pair != ("to", "now"))
    spans = only(parameters, ["from", "to"])
    return without(parameters, "from") if spans == (("from", DEFAULT_FROM),) else parameters


def write(parameters: Parameters, path: str = "/") -> str:
    """Return the address of a page."""
    # A lone surrogate has no place in an address.
    query = urlencode(parameters, quote_via=quote, safe=":,*-", errors="replace")
    return f"{path}?{query}" if query else path


def get(parameters: Parameters, name: str, default: str = "") -> str:
    """Return the first value."""
    return next((value for key, value in parameters if key == name), default)


def values(parameters: Parameters, name: str) -> list[str]:
    """Return all values."""
    return [value for key, value in parameters if key == name]


def without(parameters: Parameters, *names: str) -> Parameters:
    """Leave parameters out."""
    return tuple(pair for pair in parameters if pair[0] not in names)


def with_(parameters: Parameters, name: str, value: str) -> Parameters:
    """Set a parameter, and begin at the first page again."""
    return (*without(parameters, name, "cursor"), (name, value))


def also(parameters: Parameters, name: str, value: str) -> Parameters:
    """Add a value to those that the parameter has, and begin at the first page again."""
    kept = without(parameters, "cursor")
    return kept if (name, value) in kept else (*kept, (name, value))


def only(parameters: Parameters, names: Iterable[str]) -> Parameters:
    """Keep parameters of these names."""
    kept = frozenset(names)
    return tuple(pair for pair in parameters if pair[0] in kept)


def filters(parameters: Parameters) -> Parameters:
    """Return what selects events, apart from their time."""
    return tuple(pair for pair in parameters if pair[0] not in _OF_THE_VIEW)


def chips(parameters: Parameters, path: str = "/") -> list[Chip]:
    """Return the filters that no field of the form shows: the form has the level and the first text."""
    found, text_seen = [], False
    for name, value in filters(parameters):
        if name == "level" and value.upper() in LEVELS:
            continue
        if name == "text" and not text_seen:
            text_seen = True
            continue
        rest = tuple(pair for pair in without(parameters, "cursor") if pair != (name, value))
        about = name.removeprefix("attr.") if name.startswith("attr.") else _WORDS.get(name, name)
        found.append(Chip(visible(about), visible(value), write(rest, path)))
    return found


def hidden(parameters: Parameters) -> Parameters:
    """Return what a form has to send along because none of its fields shows it."""
    kept, text_seen = [], False
    for name, value in parameters:
        if name in ("cursor", "limit") or (name == "level" and value.upper() in LEVELS):
            continue
        if name == "text" and not text_seen:
            text_seen = True
            continue
        kept.append((name, value))
    return tuple(kept)


def ranges(parameters: Parameters) -> list[Choice]:
    """Return the spans of time that are one click away."""
    chosen = get(parameters, "from", DEFAULT_FROM) if get(parameters, "to", "now") == "now" else ""
    bare = without(parameters, "from", "to", "cursor")
    return [Choice(label, write(canonical((("from", begin), *bare))), begin == chosen) for begin, label in RANGES]


def excluded_level(parameters: Parameters, level: str) -> Parameters | None:
    """Return the search without that level; None if it would find nothing."""
    exact = get(parameters, "levels")
    least = get(parameters, "level", LEVELS[0])
    kept: Sequence[str] = exact.split(",") if exact else LEVELS[LEVELS.index(least) if least in LEVELS else 0 :]
    rest = [name for name in kept if name != level]
    return with_(without(parameters, "level"), "levels", ",".join(rest)) if rest else None
