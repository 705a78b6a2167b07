"""
What a client asks for, from the parameters of its request. Pure: now is an argument.

Unknown parameters are refused by name: one that is misspelt would otherwise be a filter that does nothing.
"""

import re

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from console.filter import EVERYTHING, Attribute, Filter
from console.parameters import ATTRIBUTE, Parameters, echo
from shared.event.fields import check_attribute
from shared.event.json_text import NotJSONError, parse_json
from shared.event.levels import LEVELS, parse_level
from shared.event.times import epoch_us, parse_time
from shared.wire.problem import BadRequestError

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
DEFAULT_FROM: Final = "-15m"
DEFAULT_TO: Final = "now"

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_RELATIVE: Final = re.compile(r"-(\d{1,9})([smhdw])", re.ASCII)
FILTERS: Final = (
    "service", "level", "levels", "correlationId", "region", "late", "lateReason", "storedBy", "text", "-text",
)  # fmt: skip
RANGE: Final = ("from", "to")
SEARCH: Final = (*RANGE, *FILTERS, "order", "by", "limit", "cursor", "full")


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
        raise BadRequestError(f"from must be before to; from={echo(first)}, to={echo(beyond)}")
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
        raise BadRequestError(f"{name}={echo(text)} {exc}; {forms}") from None


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
        raise BadRequestError(f"{name}={echo(value or '')} {exc}") from None
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
        raise BadRequestError(f"{ATTRIBUTE}{echo(name)}: {exc}") from None
    return Attribute(name, value.strip())


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').translate(_CONTROLS) + '"'


_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x20)}


def _set_of(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def _is_relative(text: str) -> bool:
    return text == "now" or _RELATIVE.fullmatch(text) is not None
