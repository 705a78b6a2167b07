"""
What a client asks for, from the parameters of its request. Pure: now is an argument.

Unknown parameters are refused by name: one that is misspelt would otherwise be a filter that does nothing.
"""

import re

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote_to_bytes

from console.filter import EVERYTHING, Attribute, Filter
from shared.event.fields import MAX_NAME_CHARS, check_attribute, check_text
from shared.event.json_text import NotJSONError, parse_json
from shared.event.levels import LEVELS, parse_level
from shared.event.times import epoch_us, parse_time
from shared.wire.problem import BadRequestError

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
DEFAULT_FROM: Final = "-15m"
DEFAULT_TO: Final = "now"
MAX_TEXT_CHARS: Final = 4096
MAX_PARAMETERS: Final = 100

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_RELATIVE: Final = re.compile(r"-(\d{1,9})([smhdw])", re.ASCII)
_ECHO: Final = 64
ATTRIBUTE: Final = "attr."
FILTERS: Final = (
    "service", "level", "levels", "correlationId", "region", "late", "lateReason", "storedBy", "text", "-text",
)  # fmt: skip
RANGE: Final = ("from", "to")
SEARCH: Final = (*RANGE, *FILTERS, "order", "by", "limit", "cursor", "full")
_MANY: Final = frozenset({"service", "text", "-text"})


class Order(StrEnum):
    """Which rows come first."""

    ASC = "asc"
    DESC = "desc"


class By(StrEnum):
    """What the order is of: event times, or the order in which rows were written."""

    TIME = "time"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Span:
    """
    A range of event times, in microseconds since 1970; `end` is not in it.

    Attributes:
        written: As the client wrote it: `-15m` stays the same from page to page, although what it means does not.
    """

    begin: int
    end: int
    written: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """One search: what is wanted, in which order, and how much of it."""

    span: Span
    filter: Filter = EVERYTHING
    order: Order = Order.DESC
    by: By = By.TIME
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    full: bool = False

    @property
    def fingerprint(self) -> bytes:
        """Eight bytes that differ for searches of which one cannot go on with a cursor of the other."""
        said = self.filter.fingerprint + f"{self.order} {self.by} {self.span.written}".encode()
        return blake2b(said, digest_size=8).digest()


class Parameters:
    """
    The parameters of one request, all of them known.

    Args:
        pairs: Names and values.
        known: Names that there are.
        attributes: Whether `attr.NAME` is known, too.

    Raises:
        BadRequestError: One is not known, or there twice without need.

    Attributes:
        pairs: All of them.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], known: Sequence[str], *, attributes: bool = False) -> None:
        self.pairs = list(pairs)
        self._found: dict[str, list[str]] = {}
        for count, (name, value) in enumerate(self.pairs, start=1):
            if count > MAX_PARAMETERS:
                raise BadRequestError(f"there may be {MAX_PARAMETERS} parameters")
            is_attribute = attributes and name.startswith(ATTRIBUTE) and name != ATTRIBUTE
            if name not in known and not is_attribute:
                names = [*known, *([f"{ATTRIBUTE}NAME"] if attributes else [])]
                raise BadRequestError(f"{_echo(name)} is no parameter here; there are {', '.join(names)}")
            if value == "" and not is_attribute:  # as a form sends what was not filled in
                continue
            if name in self._found and name not in _MANY and not is_attribute:
                raise BadRequestError(f"{name} is there twice")
            self._found.setdefault(name, []).append(_checked(name, value))

    def many(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return self._found.get(name, [])

    def one(self, name: str) -> str | None:
        """Return the value of a parameter; None if it is not there."""
        return next(iter(self.many(name)), None)

    def is_set(self, name: str) -> bool:
        """
        Return whether a parameter is `true`.

        Raises:
            BadRequestError: It is neither that nor `false`.
        """
        return self.choice(name, ("true", "false"), "false") == "true"

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """
        Return the value of a parameter that has only a few.

        Raises:
            BadRequestError: It is none of them.
        """
        value = self.one(name)
        if value is None:
            return default
        if value not in choices:
            raise BadRequestError(f"{name} must be one of {', '.join(choices)}, and is {_echo(value)}")
        return value

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """
        Return the value of a parameter that is a whole number.

        Raises:
            BadRequestError: It is none, or too small or too large.
        """
        value = self.one(name)
        if value is None:
            return default
        if not re.fullmatch(r"\d{1,9}", value, re.ASCII) or not least <= int(value) <= most:
            raise BadRequestError(f"{name} must be a number from {least} to {most}, and is {_echo(value)}")
        return int(value)

    def attributes(self) -> Iterable[tuple[str, str]]:
        """Return names and values of all `attr.NAME`."""
        for name, values in self._found.items():
            if name.startswith(ATTRIBUTE):
                for value in values:
                    yield name.removeprefix(ATTRIBUTE), value


def split_query(raw: bytes) -> list[tuple[str, str]]:
    """
    Take a URL's query apart.

    Raises:
        BadRequestError: It is not UTF-8.
    """
    try:
        return [
            (_decoded(name), _decoded(value))
            for name, _, value in (part.partition(b"=") for part in raw.split(b"&") if part)
        ]
    except UnicodeDecodeError:
        raise BadRequestError("the query of the URL is not UTF-8; percent-encode it as such") from None


def parse_search(pairs: Iterable[tuple[str, str]], now_us: int) -> Query:
    """
    Read the parameters of `GET /api/logs`.

    Args:
        pairs: Names and values.
        now_us: Microseconds since 1970.

    Raises:
        BadRequestError: One makes no sense; the sentence says which, and what to write.
    """
    given = Parameters(pairs, SEARCH, attributes=True)
    return Query(
        parse_span(given, now_us),
        parse_filter(given),
        Order(given.choice("order", tuple(Order), Order.DESC)),
        By(given.choice("by", tuple(By), By.TIME)),
        given.number("limit", DEFAULT_LIMIT, 1, MAX_LIMIT),
        given.one("cursor"),
        given.is_set("full"),
    )


def parse_span(given: Parameters, now_us: int, *, default_from: str = DEFAULT_FROM) -> Span:
    """
    Read `from` and `to`.

    Raises:
        BadRequestError: One is no time, or they are the wrong way round.
    """
    first, beyond = given.one("from") or default_from, given.one("to") or DEFAULT_TO
    begin, end = parse_moment("from", first, now_us), parse_moment("to", beyond, now_us)
    if begin >= end:
        raise BadRequestError(f"from must be before to; from={_echo(first)}, to={_echo(beyond)}")
    said = [text if _is_relative(text) else str(us) for text, us in ((first, begin), (beyond, end))]
    return Span(begin, end, " ".join(said))


def parse_moment(name: str, text: str, now_us: int) -> int:
    """
    Read a time: `now`, `-15m`, RFC 3339, or milliseconds since 1970.

    Returns:
        Microseconds since 1970.

    Raises:
        BadRequestError: It is none.
    """
    if text == "now":
        return now_us
    if found := _RELATIVE.fullmatch(text):
        return max(0, now_us - int(found[1]) * _UNITS[found[2]] * 1_000_000)
    try:
        # A plus sign that was not percent-encoded has become a blank.
        return epoch_us(parse_time(re.sub(r" (\d\d:?\d\d)$", r"+\1", text)))
    except ValueError as exc:
        forms = "write now, -15m, -2h, -3d, RFC 3339 with a time zone, or milliseconds since 1970"
        raise BadRequestError(f"{name}={_echo(text)} {exc}; {forms}") from None


def parse_filter(given: Parameters) -> Filter:
    """
    Read all that says which rows are wanted.

    Raises:
        BadRequestError: Something makes no sense.
    """
    services = given.many("service")
    prefixes = [name.removesuffix("*") for name in services if name.endswith("*")]
    everything = "" in prefixes
    return Filter(
        services=() if everything else _set_of(name for name in services if not name.endswith("*")),
        service_prefixes=() if everything else _set_of(prefixes),
        levels=_levels(given),
        correlation_id=given.one("correlationId"),
        region=given.one("region"),
        late=None if given.one("late") is None else given.is_set("late"),
        late_reason=given.one("lateReason"),
        stored_by=given.one("storedBy"),
        contains=_set_of(given.many("text")),
        lacks=_set_of(given.many("-text")),
        attributes=tuple(sorted({_attribute(name, value) for name, value in given.attributes()}, key=repr)),
    )


def _levels(given: Parameters) -> tuple[str, ...] | None:
    least, exact = given.one("level"), given.one("levels")
    if least is not None and exact is not None:
        raise BadRequestError("level (at least) and levels (exactly these) cannot both be there")
    try:
        if least is not None:
            wanted = set(LEVELS[[*LEVELS].index(parse_level(least)) :])  # type: ignore[arg-type]
        elif exact is not None:
            wanted = {parse_level(name.strip()) for name in exact.split(",") if name.strip()}  # type: ignore[misc]
        else:
            return None
    except ValueError as exc:
        name, value = ("level", least) if least is not None else ("levels", exact)
        raise BadRequestError(f"{name}={_echo(value or '')} {exc}") from None
    return None if wanted == set(LEVELS) else tuple(level for level in LEVELS if level in wanted)


def _attribute(name: str, value: str) -> Attribute:
    if not value:
        return Attribute(name)
    try:
        read = parse_json(value.encode())
    except NotJSONError:
        read = value
    if isinstance(read, dict | list):
        read = value
    if isinstance(read, str):
        return Attribute(name, _quoted(read))
    try:
        check_attribute(name, read)
    except ValueError as exc:
        raise BadRequestError(f"{ATTRIBUTE}{_echo(name)}: {exc}") from None
    return Attribute(name, value.strip())


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').translate(_CONTROLS) + '"'


_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x20)}


def _checked(name: str, value: str) -> str:
    most = MAX_TEXT_CHARS if name in ("text", "-text") or name.startswith(ATTRIBUTE) else 4 * MAX_NAME_CHARS
    if len(value) > most:
        raise BadRequestError(f"{_echo(name)} may have {most} characters, and has {len(value)}")
    try:
        check_text(name)
        return check_text(value)
    except ValueError as exc:
        raise BadRequestError(f"{_echo(name)} {exc}; no event has such a character") from None


def _decoded(part: bytes) -> str:
    return unquote_to_bytes(part.replace(b"+", b" ")).decode()


def _set_of(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def _is_relative(text: str) -> bool:
    return text == "now" or _RELATIVE.fullmatch(text) is not None


def _echo(text: str) -> str:
    return repr(text if len(text) <= _ECHO else text[:_ECHO] + "…")
