"""What a query in LogQL demands of a row, in memory and in PostgreSQL alike. Pure."""

import re

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

from console.filter import Filter, Values
from console.loki.fields import OWN, attribute_column, attribute_text
from console.loki.pattern import Pattern
from console.loki.syntax import Relation
from console.row import Row

_NUMBER: Final = re.compile(r"[+-]?\d{1,100}(\.\d{0,100})?", re.ASCII)
_NUMBER_HERE: Final = r"^[+-]?[0-9]{1,100}(\.[0-9]{0,100})?$"
_COMPARE: Final = {
    Relation.EQUAL: "=", Relation.UNEQUAL: "<>", Relation.MORE: ">", Relation.AT_LEAST: ">=", Relation.LESS: "<", Relation.AT_MOST: "<=",
}  # fmt: skip


class Condition(Protocol):
    """Something that holds for a row, or does not; equal ones are equal, and their `repr` too."""

    def matches(self, row: Row) -> bool:
        """Tell whether it holds."""
        ...

    def condition(self, values: Values) -> str:
        """Return what a statement's WHERE has to demand: never NULL, and to be joined by AND as it is."""
        ...


@dataclass(frozen=True)
class LokiFilter(Filter):
    """
    A filter that knows conditions of LogQL besides.

    Attributes:
        also: All of them have to hold.
    """

    also: tuple[Condition, ...] = ()

    def matches(self, row: Row) -> bool:
        """See `Filter`."""
        return super().matches(row) and all(condition.matches(row) for condition in self.also)

    def conditions(self, values: Values) -> list[str]:
        """See `Filter`."""
        return super().conditions(values) + [condition.condition(values) for condition in self.also]


@dataclass(frozen=True, slots=True)
class Always:
    """Holds for all rows, or for none."""

    value: bool

    def matches(self, _: Row) -> bool:
        """See `Condition`."""
        return self.value

    def condition(self, _: Values) -> str:
        """See `Condition`."""
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True)
class Not:
    """What holds when another one does not."""

    of: Condition

    def matches(self, row: Row) -> bool:
        """See `Condition`."""
        return not self.of.matches(row)

    def condition(self, values: Values) -> str:
        """See `Condition`."""
        return f"NOT ({self.of.condition(values)})"


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of them hold."""

    of: tuple[Condition, ...]

    def matches(self, row: Row) -> bool:
        """See `Condition`."""
        return all(one.matches(row) for one in self.of)

    def condition(self, values: Values) -> str:
        """See `Condition`."""
        return _joined(self.of, "AND", values)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of them holds."""

    of: tuple[Condition, ...]

    def matches(self, row: Row) -> bool:
        """See `Condition`."""
        return any(one.matches(row) for one in self.of)

    def condition(self, values: Values) -> str:
        """See `Condition`."""
        return _joined(self.of, "OR", values)


@dataclass(frozen=True, slots=True)
class LevelIn:
    """The level is one of these."""

    levels: tuple[str, ...]

    def matches(self, row: Row) -> bool:
        """See `Condition`."""
        return row.level in self.levels

    def condition(self, values: Values) -> str:
        """See `Condition`."""
        return f"level = ANY({values.add(list(self.levels))}::text[])"


@dataclass(frozen=True, slots=True)
class TextIs:
    """A part of the event, or an attribute, is exactly this; what is not there is an empty text."""

    name: str
    value: str

    def matches(self, row: Row) -> bool:
        """See `Condition`."""
        return _text(self.name, row) == self.value

    def condition(self, values: Values) -> str:
        """See `Condition`."""
        return f"{_column(self.name, values)} = {values.add(self.value)}"


@dataclass(frozen=True, slots=True)
class TextMatches:
    """All of a part of the event, or of an attribute, matches an expression."""

    name: str
    pattern: Pattern

    def matches(self, row: Row) -> bool:
        """See `Condition`."""
        return self.pattern.is_all_of(_text(self.name, row))

    def condition(self, values: Values) -> str:
        """See `Condition`."""
        return f'({_column(self.name, values)}) COLLATE "C" ~ {values.add(self.pattern.postgres_whole)}'


@dataclass(frozen=True, slots=True)
class NumberIs:
    """A part of the event, or an attribute, is a number that compares so."""

    name: str
    relation: Relation
    number: Decimal

    def matches(self, row: Row) -> bool:
        """See `Condition`."""
        text = _text(self.name, row)
        if not _NUMBER.fullmatch(text):
            return False
        order = Decimal(text).compare(self.number)
        return {
            Relation.EQUAL: order == 0,
            Relation.UNEQUAL: order != 0,
            Relation.MORE: order > 0,
            Relation.AT_LEAST: order >= 0,
            Relation.LESS: order < 0,
            Relation.AT_MOST: order <= 0,
        }[self.relation]

    def condition(self, values: Values) -> str:
        """See `Condition`."""
        text = _column(self.name, values)
        number = values.add(self.number)
        # Only CASE keeps PostgreSQL from reading a text as a number before it knows that it is one.
        return (
            f"CASE WHEN ({text}) COLLATE \"C\" ~ '{_NUMBER_HERE}' "
            f"THEN ({text})::numeric {_COMPARE[self.relation]} {number}::numeric ELSE false END"
        )


@dataclass(frozen=True, slots=True)
class LineHas:
    """The message contains a text, letter by letter."""

    text: str

    def matches(self, row: Row) -> bool:
        """See `Condition`."""
        return self.text in row.message

    def condition(self, values: Values) -> str:
        """See `Condition`."""
        return f'strpos(message COLLATE "C", {values.add(self.text)}) > 0'


@dataclass(frozen=True, slots=True)
class LineMatches:
    """An expression is found in the message."""

    pattern: Pattern

    def matches(self, row: Row) -> bool:
        """See `Condition`."""
        return self.pattern.is_in(row.message)

    def condition(self, values: Values) -> str:
        """See `Condition`."""
        return f'message COLLATE "C" ~ {values.add(self.pattern.postgres)}'


def _joined(of: Sequence[Condition], word: str, values: Values) -> str:
    return f"({f' {word} '.join(f'({one.condition(values)})' for one in of)})"


def _text(name: str, row: Row) -> str:
    return OWN[name].text(row) if name in OWN else attribute_text(name, row)


def _column(name: str, values: Values) -> str:
    return OWN[name].column if name in OWN else attribute_column(name, values)
