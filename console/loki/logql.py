"""
Reads the part of LogQL that is supported. Pure.

What is not supported is refused by name: a query that is answered in part would be taken for an answer.
"""

import operator

from collections.abc import Callable
from decimal import Decimal
from math import inf, isfinite
from typing import Final

from console.loki.reader import Reader
from console.loki.syntax import (
    Asked,
    Compared,
    Constant,
    Counting,
    Either,
    Every,
    Line,
    LineFilter,
    Logs,
    Matcher,
    Op,
    Relation,
    Stage,
)
from console.loki.tokens import Token, duration_us
from shared.wire.problem import BadRequestError

MAX_STAGES: Final = 50
_LINES: Final = frozenset(Line)
_RELATIONS: Final = frozenset(Relation)
_LONGEST_WINDOW_US: Final = 10 * 365 * 86_400_000_000
IGNORED_LABELS: Final = frozenset({"__error__", "__error_details__"})
"""Of what Loki's parsers could not read; there are no parsers here, so no line has them."""
_AGGREGATIONS: Final = frozenset(
    {"avg", "min", "max", "count", "stddev", "stdvar", "topk", "bottomk", "approx_topk", "sort", "sort_desc"}
)
_ARITHMETIC: Final[dict[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def parse_query(query: str) -> Asked:
    """
    Read a query.

    Raises:
        BadRequestError: It is none, or asks for what is not supported here; the sentence names it.
    """
    parser = _Parser(query)
    asked = parser.asked()
    parser.end()
    return asked


def parse_selector(query: str) -> Logs:
    """
    Read a query for lines.

    Raises:
        BadRequestError: It is none.
    """
    parser = _Parser(query)
    logs = parser.logs()
    parser.end()
    return logs


class _Parser(Reader):
    def __init__(self, query: str) -> None:
        super().__init__(query)
        self._stages = 0

    def asked(self) -> Asked:
        if self.is_sign("{"):
            return self.logs()
        if self.now.kind == "number" or self.is_sign("(", "-", "+") or self.is_name("vector"):
            return self._sum()
        return self._counting()

    # lines

    def logs(self) -> Logs:
        return Logs(self._matchers(), self._pipeline())

    def _matchers(self) -> list[Matcher]:
        self.expect("{")
        found: list[Matcher] = []
        while not self.skip("}"):
            if found:
                self.expect(",")
                if self.skip("}"):
                    break
            found.append(self._matcher(self.name(), self.take("sign")))
            self._one_more()
        return found

    def _matcher(self, label: str, sign: Token) -> Matcher:
        if sign.text not in frozenset(Op):
            raise self.wrong(sign, "must be =, !=, =~ or !~")
        return Matcher(label, Op(sign.text), self.text())

    def _pipeline(self) -> list[Stage]:
        stages: list[Stage] = []
        while True:
            if self.now.text in _LINES and self.now.kind == "sign":
                stages.append(self._line())
            elif self.skip("|"):
                if (stage := self._stage()) is not None:
                    stages.append(stage)
            else:
                return stages
            self._one_more()

    def _one_more(self) -> None:
        self._stages += 1
        if self._stages > MAX_STAGES:
            raise BadRequestError(f"a query may have {MAX_STAGES} filters")

    def _line(self) -> LineFilter:
        line = Line(self.next().text)
        texts = [self.text()]
        while self.is_name("or"):
            self.next()
            self._one_more()
            texts.append(self.text())
        return LineFilter(line, tuple(texts))

    def _stage(self) -> Stage | None:
        token = self.now
        following = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        is_filter = following.kind == "sign" and following.text in {*Op, *_RELATIONS}
        if self.is_sign("(") or (token.kind == "name" and is_filter):
            return self._either()
        name = self.name()
        if name in ("json", "logfmt"):
            # Attributes are labels already; a line is not taken apart.
            if self.now.kind == "name" or self.is_sign("-"):
                raise self.unsupported(token, f"{name} with arguments")
            return None
        if name in ("drop", "keep"):
            labels = [self.name()]
            while self.skip(","):
                labels.append(self.name())
            if name == "drop" and IGNORED_LABELS.issuperset(labels):
                return None
        raise self.unsupported(token)

    def _either(self) -> Stage:
        found = [self._every()]
        while self.is_name("or"):
            self.next()
            found.append(self._every())
        return found[0] if len(found) == 1 else Either(tuple(found))

    def _every(self) -> Stage:
        found = [self._label_filter()]
        while self.is_name("and") or self.is_sign(","):
            self.next()
            found.append(self._label_filter())
        return found[0] if len(found) == 1 else Every(tuple(found))

    def _label_filter(self) -> Stage:
        self._one_more()
        if self.is_sign("("):
            self.next()
            with_ = self.deeper(self._either)
            self.expect(")")
            return with_
        label, sign = self.name(), self.take("sign")
        if self.now.kind == "string":
            return self._matcher(label, sign)
        is_negative = self.skip("-")
        if self.now.kind in ("duration", "name"):
            raise self.unsupported(self.now, "comparing with anything but a text or a number")
        number = self.take("number")
        relation = "==" if sign.text == "=" else sign.text
        if relation not in _RELATIONS:
            raise self.wrong(sign, "compares with a text, in quotes")
        return Compared(label, Relation(relation), Decimal(number.text) * (-1 if is_negative else 1))

    # counts

    def _counting(self) -> Counting:
        token = self.now
        name = self.name()
        if name == "sum":
            by = self._by()
            self.expect("(")
            inner = self.deeper(self._counting)
            self.expect(")")
            by = by if by is not None else self._by()
            return Counting(inner.logs, inner.window_us, inner.a_second, _both(by or (), inner.by))
        if name not in ("count_over_time", "rate"):
            if name in _AGGREGATIONS or self.is_sign("("):
                raise self.unsupported(token)
            raise self.wrong(token, "begins no query; write {…}, count_over_time({…}[5m]), rate({…}[5m]) or sum of one")
        self.expect("(")
        matchers = self._matchers()
        window = self._window()
        stages = self._pipeline()
        window = self._window() if window is None else window
        if window is None:
            raise self.wrong(self.now, "must be a window of time like [5m]")
        if self.now.kind == "name":
            raise self.unsupported(self.now)
        self.expect(")")
        return Counting(Logs(matchers, stages), window, name == "rate", None)

    def _by(self) -> tuple[str, ...] | None:
        if self.is_name("without"):
            raise self.unsupported(self.now, "without; write by (…)")
        if not self.is_name("by"):
            return None
        self.next()
        self.expect("(")
        labels: list[str] = []
        while not self.skip(")"):
            if labels:
                self.expect(",")
            labels.append(self.name())
            self._one_more()
        return tuple(dict.fromkeys(labels))

    def _window(self) -> int | None:
        if not self.skip("["):
            return None
        token = self.next()
        window = duration_us(token.text) if token.kind == "duration" else None
        if not window or window > _LONGEST_WINDOW_US:
            raise self.wrong(token, "must be a duration like 5m")
        self.expect("]")
        return window

    # numbers

    def _sum(self) -> Constant:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Constant:
        return self._chain(self._number, "*", "/")

    def _chain(self, part: Callable[[], Constant], *signs: str) -> Constant:
        left = part()
        while self.is_sign(*signs):
            sign = self.next()
            right = part()
            try:
                value = _ARITHMETIC[sign.text](left.value, right.value)
            except ArithmeticError:
                value = inf
            if not isfinite(value):
                raise self.wrong(sign, "has no result")
            left = Constant(value, left.is_vector or right.is_vector)
        return left

    def _number(self) -> Constant:
        if self.is_sign("(", "-", "+"):
            sign = self.next().text
            if sign == "(":
                inner = self.deeper(self._sum)
                self.expect(")")
                return inner
            inner = self.deeper(self._number)
            return Constant(-inner.value if sign == "-" else inner.value, inner.is_vector)
        if self.now.kind == "name":
            if not self.is_name("vector"):
                raise self.unsupported(self.now, "calculating with counts")
            self.next()
            self.expect("(")
            inner = self.deeper(self._number)
            self.expect(")")
            return Constant(inner.value, is_vector=True)
        token = self.take("number")
        if not isfinite(value := float(token.text)):
            raise self.wrong(token, "is too large")
        return Constant(value)


def _both(outer: tuple[str, ...], inner: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return by which labels a sum of a sum is told apart: what the inner one has not is not there any more."""
    return outer if inner is None else tuple(label for label in outer if label in inner)
