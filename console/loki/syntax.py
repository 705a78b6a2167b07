"""What a query in LogQL says, parsed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Op(StrEnum):
    """How a label's value is compared with a text."""

    EQUAL = "="
    UNEQUAL = "!="
    MATCHES = "=~"
    DIFFERS = "!~"


class Relation(StrEnum):
    """How a label's value is compared with a number."""

    EQUAL = "=="
    UNEQUAL = "!="
    MORE = ">"
    AT_LEAST = ">="
    LESS = "<"
    AT_MOST = "<="


class Line(StrEnum):
    """What a line filter demands."""

    HAS = "|="
    LACKS = "!="
    MATCHES = "|~"
    DIFFERS = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """A label, compared with a text."""

    label: str
    op: Op
    value: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A label, compared with a number."""

    label: str
    relation: Relation
    number: Decimal


@dataclass(frozen=True, slots=True)
class LineFilter:
    """What the line must be: for one of the texts, or, where it must lack them, for each of them."""

    line: Line
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """All of them hold."""

    of: tuple["Stage", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of them holds."""

    of: tuple["Stage", ...]


Stage = Matcher | Compared | LineFilter | Every | Either


@dataclass(frozen=True, slots=True)
class Logs:
    """Which lines are wanted: what is between the braces, and the stages behind them."""

    matchers: Sequence[Matcher]
    stages: Sequence[Stage] = ()


@dataclass(frozen=True, slots=True)
class Counting:
    """
    How many lines there are in a window of time that ends at each step.

    Attributes:
        logs: Which lines.
        window_us: How wide it is, in microseconds.
        a_second: Divide by the window's seconds.
        by: Labels by which series are told apart; None: by all that there are.
    """

    logs: Logs
    window_us: int
    a_second: bool
    by: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Constant:
    """A number."""

    value: float
    is_vector: bool = False


Asked = Logs | Counting | Constant
