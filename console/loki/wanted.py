"""
Which rows a query in LogQL wants. Pure.

What the console's own filter can say is said with it, so that the same indexes serve both. The rest becomes further conditions.
"""

from dataclasses import dataclass, field
from typing import Final

from console.caseless import lower_ascii
from console.loki.conditions import (
    AllOf,
    Always,
    AnyOf,
    Condition,
    LevelIn,
    LineHas,
    LineMatches,
    LokiFilter,
    Not,
    NumberIs,
    TextIs,
    TextMatches,
)
from console.loki.fields import DETECTED_LEVEL, LABELS
from console.loki.logql import IGNORED_LABELS
from console.loki.pattern import Pattern, parse_pattern
from console.loki.syntax import Compared, Either, Every, Line, LineFilter, Logs, Matcher, Op, Stage
from shared.event.fields import check_text
from shared.event.levels import BY_NAME, LEVELS, parse_level
from shared.wire.problem import BadRequestError

_LATE: Final = ("true", "false")
_NEGATIVE: Final = frozenset({Op.UNEQUAL, Op.DIFFERS})


def filter_of(logs: Logs) -> LokiFilter:
    """
    Return the filter for what a query wants.

    Raises:
        BadRequestError: It names a label that there is not, or an expression that is none.
    """
    wanted = _Wanted()
    for matcher in logs.matchers:
        if matcher.label not in LABELS:
            raise BadRequestError(
                f"{matcher.label!r} is no label here, there are {', '.join(LABELS)}; "
                f'write attributes and {", ".join(("correlation_id", "event_id"))} behind the braces: {{…}} | {matcher.label}="…"'
            )
        wanted.add(matcher)
    for stage in logs.stages:
        wanted.add(stage)
    return wanted.filter()


@dataclass
class _Wanted:
    """Collects what a filter is made of."""

    services: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    levels: set[str] = field(default_factory=lambda: set(LEVELS))
    exact: dict[str, str] = field(default_factory=dict)
    contains: set[str] = field(default_factory=set)
    lacks: set[str] = field(default_factory=set)
    also: list[Condition] = field(default_factory=list)

    def add(self, stage: Stage) -> None:
        """Demand one more thing."""
        match stage:
            case Every(of):
                for one in of:
                    self.add(one)
            case LineFilter(Line.MATCHES | Line.DIFFERS as line, (text,)) if (
                plain := _caseless_text(text)
            ) is not None:
                (self.contains if line is Line.MATCHES else self.lacks).add(plain)
            case Matcher("level" | "detected_level"):
                self.levels &= _levels(stage)
            case Matcher(name, Op.EQUAL, value) if self._is_free(name, value):
                self.exact[name] = value
            case Matcher("service_name", op, value) if self.services is None and (names := _names(op, value)):
                self.services = names
            case _:
                self.also.append(condition_of(stage))

    def filter(self) -> LokiFilter:
        """Return what was demanded."""
        services, prefixes = self.services or ((), ())
        late = self.exact.get("late")
        return LokiFilter(
            services=services,
            service_prefixes=prefixes,
            levels=None if self.levels == set(LEVELS) else tuple(level for level in LEVELS if level in self.levels),
            correlation_id=self.exact.get("correlation_id"),
            region=self.exact.get("region"),
            late=None if late is None else late == "true",
            late_reason=self.exact.get("late_reason"),
            stored_by=self.exact.get("stored_by"),
            contains=tuple(sorted(self.contains)),
            lacks=tuple(sorted(self.lacks)),
            also=tuple(self.also),
        )

    def _is_free(self, name: str, value: str) -> bool:
        if name not in ("correlation_id", "region", "late", "late_reason", "stored_by") or name in self.exact:
            return False
        # What has no reason has an empty text here, and nothing there.
        return bool(value) and (name != "late" or value in _LATE)


def condition_of(stage: Stage) -> Condition:
    """
    Return what a stage demands.

    Raises:
        BadRequestError: It has an expression that is none.
    """
    match stage:
        case Every(of):
            return AllOf(tuple(map(condition_of, of)))
        case Either(of):
            return AnyOf(tuple(map(condition_of, of)))
        case Compared(label, relation, number):
            return NumberIs(label, relation, number)
        case LineFilter(line, texts):
            found = [_line(line, _checked(text)) for text in texts]
            has = found[0] if len(found) == 1 else AnyOf(tuple(found))
            return Not(has) if line in (Line.LACKS, Line.DIFFERS) else has
        case Matcher(label, op, value):
            return _matcher(label, op, _checked(value), stage)


def _matcher(label: str, op: Op, value: str, matcher: Matcher) -> Condition:
    if label in ("level", DETECTED_LEVEL):
        return LevelIn(tuple(level for level in LEVELS if level in _levels(matcher)))
    if op in (Op.MATCHES, Op.DIFFERS):
        pattern = parse_pattern(value, of_label=True)
        found: Condition = Always(pattern.is_all_of("")) if label in IGNORED_LABELS else TextMatches(label, pattern)
    else:
        found = Always(not value) if label in IGNORED_LABELS else TextIs(label, value)
    return Not(found) if op in _NEGATIVE else found


def _line(line: Line, text: str) -> Condition:
    if line in (Line.HAS, Line.LACKS):
        return LineHas(text) if text else Always(value=True)
    pattern = parse_pattern(text)
    if pattern.literal is not None and not pattern.caseless:
        return LineHas(pattern.literal) if pattern.literal else Always(value=True)
    return LineMatches(pattern)


def _caseless_text(text: str) -> str | None:
    """Return the text that an expression looks for in any case, if that is all it does."""
    pattern = parse_pattern(_checked(text))
    return pattern.literal if pattern.caseless and pattern.literal else None


def _names(op: Op, value: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return names of services, and beginnings of them, if that is all that a matcher asks for."""
    if op is Op.EQUAL:
        return ((_checked(value),), ()) if value else None
    names = parse_pattern(_checked(value), of_label=True).names if op is Op.MATCHES else None
    if names is None or "" in names[0] or "" in names[1]:
        return None
    return tuple(sorted(set(names[0]))), tuple(sorted(set(names[1])))


def _levels(matcher: Matcher) -> set[str]:
    """Return the levels that match: their names are known in any case, and by what other systems call them."""
    value = _checked(matcher.value)
    if matcher.op in (Op.EQUAL, Op.UNEQUAL):
        try:
            found: set[str] = {parse_level(value)}
        except ValueError:
            found = set()
    else:
        pattern = parse_pattern(value, of_label=True)
        found = _of_pattern(pattern)
    return {str(level) for level in LEVELS if (level in found) is not (matcher.op in _NEGATIVE)}


def _of_pattern(pattern: Pattern) -> set[str]:
    names, prefixes = pattern.names or ((), ())
    found = {level for name in names if not prefixes and (level := BY_NAME.get(lower_ascii(name)))}
    return {str(level) for level in LEVELS if level in found or _is_either(pattern, level)}


def _is_either(pattern: Pattern, level: str) -> bool:
    return pattern.is_all_of(level) or pattern.is_all_of(lower_ascii(level))


def _checked(text: str) -> str:
    try:
        return check_text(text)
    except ValueError as exc:
        raise BadRequestError(f"the text {text[:64]!r} {exc}; no event has such a character") from None
