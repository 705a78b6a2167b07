r"""
Regular expressions of LogQL, written anew for PostgreSQL. Pure.

What is read is the part of RE2's syntax that people filter lines with. PostgreSQL gets no text that a client wrote, only what is
made from the parsed expression: it means the same whatever the locale is, and no expression is an error of syntax there.
Whether something matches is all that is asked, so a lazy quantifier is the same as a greedy one.
"""

import re

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from console.caseless import forms_within
from console.loki.expression_parser import parse_expression
from console.loki.expressions import LAST, WORD, Border, Chars, Choice, InOrder, Node, Ranges, Repeat, merged
from console.loki.matching import ends

_BEYOND_ASCII: Final = 0x80
_SURROGATES: Final = (0xD800, 0xDFFF)


@dataclass(frozen=True)
class Pattern:
    """
    A regular expression.

    Attributes:
        text: As it was written.
        node: What it says.
        caseless: Whether letters are alike in any case.
    """

    text: str
    node: Node
    caseless: bool = False

    @cached_property
    def postgres(self) -> str:
        """For PostgreSQL's `~`, found anywhere in a text."""
        return _written(self._node)

    @cached_property
    def postgres_whole(self) -> str:
        """For PostgreSQL's `~`, where all of a text has to match."""
        return f"^(?:{self.postgres})$"

    @cached_property
    def literal(self) -> str | None:
        """The text that is looked for, if that is all the expression says."""
        return _literal(self.node)

    @cached_property
    def names(self) -> tuple[Sequence[str], Sequence[str]] | None:
        """Texts, and beginnings of texts, of which a whole text has to be one, if that is all the expression says."""
        if self.caseless:
            return None
        names, prefixes = [], []
        for branch in self.node.branches if isinstance(self.node, Choice) else (self.node,):
            if (name := _literal(branch)) is not None:
                names.append(name)
            elif (prefix := _prefix(branch)) is not None:
                prefixes.append(prefix)
            else:
                return None
        return names, prefixes

    def is_in(self, text: str) -> bool:
        """Tell whether it is found anywhere in a text."""
        return bool(ends(self._node, text, frozenset(range(len(text) + 1))))

    def is_all_of(self, text: str) -> bool:
        """Tell whether all of a text matches."""
        return len(text) in ends(self._node, text, frozenset([0]))

    @cached_property
    def _node(self) -> Node:
        """With all forms of letters."""
        return _in_any_case(self.node) if self.caseless else self.node


def parse_pattern(text: str, *, of_label: bool = False) -> Pattern:
    """
    Read a regular expression.

    Args:
        text: As it was written.
        of_label: It is for a label's value, where a dot is any character at all; in a line it is none that ends the line.

    Raises:
        BadRequestError: It is none, or says what cannot be looked for here.
    """
    flags, rest = "", text
    if found := re.match(r"\(\?([is]+)\)", text):
        flags, rest = found[1], text[found.end() :]
    node = parse_expression(text, rest, dot_is_all=of_label or "s" in flags)
    return Pattern(text, node, "i" in flags)


def _literal(node: Node) -> str | None:
    match node:
        case Chars():
            return node.letter
        case InOrder(parts):
            found = [_literal(part) if isinstance(part, Chars | InOrder) else None for part in parts]
            return None if None in found else "".join(part or "" for part in found)
    return None


def _prefix(node: Node) -> str | None:
    parts = node.parts if isinstance(node, InOrder) else (node,)
    match parts:
        case (*begin, Repeat(Chars(((0, last),), False), 0, None)) if last == LAST:
            return _literal(InOrder(tuple(begin)))
    return None


def _written(node: Node) -> str:
    match node:
        case Chars(ranges, negated):
            return _set(ranges, negated=negated)
        case Border(kind):
            return _BORDERS[kind]
        case Repeat(of, least, most):
            return f"(?:{_written(of)}){{{least},{'' if most is None else most}}}"
        case InOrder(parts):
            return "".join(map(_written, parts))
        case Choice(branches):
            return f"(?:{'|'.join(map(_written, branches))})"


def _set(ranges: Ranges, *, negated: bool = False) -> str:
    # No text has NUL, and PostgreSQL takes none in an expression; surrogates are no characters.
    kept = list(_without_surrogates(ranges))
    if not negated and len(kept) == 1 and kept[0][0] == kept[0][1]:
        return _character(kept[0][0])
    if not kept:
        kept, negated = list(_without_surrogates(((1, LAST),))), not negated
    inner = "".join(_character(low) if low == high else f"{_character(low)}-{_character(high)}" for low, high in kept)
    return f"[{'^' if negated else ''}{inner}]"


def _without_surrogates(ranges: Ranges) -> Iterable[tuple[int, int]]:
    first, last = _SURROGATES
    for low, high in ranges:
        for begin, end in ((max(low, 1), min(high, first - 1)), (max(low, last + 1), high)):
            if begin <= end:
                yield begin, end


def _character(code: int) -> str:
    letter = chr(code)
    if letter.isascii() and letter.isalnum():
        return letter
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - four digits


_LETTER: Final = _set(WORD)
_BORDERS: Final = {
    "begin": "^",
    "end": "$",
    "word": f"(?:(?<!{_LETTER})(?={_LETTER})|(?<={_LETTER})(?!{_LETTER}))",
    "within": f"(?:(?<!{_LETTER})(?!{_LETTER})|(?<={_LETTER})(?={_LETTER}))",
}


def _in_any_case(node: Node) -> Node:
    match node:
        case Chars(ranges, negated):
            return Chars(_folded(ranges), negated)
        case Repeat(of, least, most):
            return Repeat(_in_any_case(of), least, most)
        case InOrder(parts):
            return InOrder(tuple(map(_in_any_case, parts)))
        case Choice(branches):
            return Choice(tuple(map(_in_any_case, branches)))
    return node


def _folded(ranges: Ranges) -> Ranges:
    """Return the same characters and their other forms, as a search for text takes them to be alike."""
    found = list(ranges)
    for low, high in ranges:
        for first, last, by in ((0x41, 0x5A, 32), (0x61, 0x7A, -32)):
            begin, end = max(low, first), min(high, last)
            if begin <= end:
                found.append((begin + by, end + by))
        if high >= _BEYOND_ASCII:
            found += [(ord(form), ord(form)) for form in forms_within(low, high)]
    return merged(found)
