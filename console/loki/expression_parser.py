"""Reads regular expressions in the part of RE2's syntax that people filter lines with. Pure."""

import re

from typing import Final

from console.loki.expressions import LAST, NEWLINE, WORD, Border, Chars, Choice, InOrder, Node, Ranges, Repeat, merged
from shared.wire.problem import BadRequestError

MAX_CHARS: Final = 200
MAX_REPEAT: Final = 255
MAX_SIZE: Final = 1000
"""So many characters may stand in an expression whose repetitions are written out."""
_MAX_DEPTH: Final = 20
_SURROGATES: Final = (0xD800, 0xDFFF)

_DIGIT: Final[Ranges] = ((0x30, 0x39),)
_SPACE: Final[Ranges] = ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20))
_SHORTHANDS: Final = {"d": _DIGIT, "w": WORD, "s": _SPACE}
_CONTROLS: Final = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_NAMED: Final[dict[str, Ranges]] = {
    "alnum": ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)),
    "alpha": ((0x41, 0x5A), (0x61, 0x7A)),
    "ascii": ((0x00, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0x00, 0x1F), (0x7F, 0x7F)),
    "digit": _DIGIT,
    "graph": ((0x21, 0x7E),),
    "lower": ((0x61, 0x7A),),
    "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": ((0x41, 0x5A),),
    "word": WORD,
    "xdigit": ((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)),
}


def parse_expression(text: str, rest: str, *, dot_is_all: bool) -> Node:
    """
    Read an expression.

    Args:
        text: All of it, for errors.
        rest: What is behind its flags.
        dot_is_all: A dot is any character; else one that ends no line.

    Raises:
        BadRequestError: It is none, or says what cannot be looked for here.
    """
    if len(text) > MAX_CHARS:
        raise BadRequestError(f"a regular expression may have {MAX_CHARS} characters, and has {len(text)}")
    node = _Parser(text, rest, dot_is_all=dot_is_all).parse()
    if _size(node) > MAX_SIZE:
        raise _wrong(text, "has too many repetitions")
    return node


class _Parser:
    def __init__(self, whole: str, text: str, *, dot_is_all: bool) -> None:
        self._whole = whole
        self._text = text
        self._at = 0
        self._depth = 0
        self._dot = Chars(((0, LAST),)) if dot_is_all else Chars(NEWLINE, negated=True)

    def parse(self) -> Node:
        node = self._choice()
        if self._at < len(self._text):
            raise self._error("has a ) that closes nothing")
        return node

    def _error(self, why: str) -> BadRequestError:
        return _wrong(self._whole, why)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self, why: str = "ends too early") -> str:
        if not (letter := self._peek()):
            raise self._error(why)
        self._at += 1
        return letter

    def _skip(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _choice(self) -> Node:
        branches = [self._sequence()]
        while self._skip("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while (letter := self._peek()) and letter not in "|)":
            parts.append(self._quantified(self._atom()))
        return parts[0] if len(parts) == 1 else InOrder(tuple(parts))

    def _atom(self) -> Node:
        letter = self._next()
        if letter in "*+?":
            raise self._error("repeats what is not there")
        simple: dict[str, Node] = {".": self._dot, "^": Border("begin"), "$": Border("end")}
        longer = {"(": self._group, "[": self._class, "\\": self._escape}
        if letter in longer:
            return longer[letter]()
        return simple[letter] if letter in simple else self._of(letter)

    def _group(self) -> Node:
        if self._skip("?") and not self._skip(":") and not self._name():
            raise self._error("has a group of a kind that is not supported here; write ( ) or (?: )")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error("has too many groups within groups")
        inner = self._choice()
        self._depth -= 1
        if not self._skip(")"):
            raise self._error("has a ( without its )")
        return inner

    def _name(self) -> bool:
        if found := re.compile(r"P?<\w+>", re.ASCII).match(self._text, self._at):
            self._at = found.end()
        return found is not None

    def _quantified(self, node: Node) -> Node:
        while True:
            least, most = 0, None
            if self._skip("?"):
                most = 1
            elif self._skip("+"):
                least = 1
            elif found := re.compile(r"\{(\d{1,4})(,(\d{1,4})?)?\}", re.ASCII).match(self._text, self._at):
                self._at = found.end()
                least = int(found[1])
                most = int(found[3]) if found[3] else (None if found[2] else least)
            elif not self._skip("*"):
                return node
            if max(least, most or 0) > MAX_REPEAT or (most is not None and most < least):
                raise self._error(f"has a repetition that is not from 0 to {MAX_REPEAT} times")
            self._skip("?")
            # A place several times is this place; one that need not be there says nothing.
            node = Repeat(node, least, most) if not isinstance(node, Border) else node if least else InOrder(())

    def _escape(self) -> Node:
        letter = self._next()
        if letter.lower() in _SHORTHANDS:
            return Chars(_SHORTHANDS[letter.lower()], negated=letter.isupper())
        borders = {"b": "word", "B": "within", "A": "begin", "z": "end"}
        if letter in borders:
            return Border(borders[letter])
        if letter == "Q":
            end = self._text.find("\\E", self._at)
            quoted = self._text[self._at : end if end >= 0 else None]
            self._at = end + 2 if end >= 0 else len(self._text)
            return InOrder(tuple(self._of(one) for one in quoted))
        return self._of(self._character(letter))

    def _character(self, letter: str) -> str:
        """Return what an escape stands for that begins with this letter."""
        if letter in _CONTROLS:
            return chr(_CONTROLS[letter])
        if letter == "x":
            found = re.compile(r"([0-9a-fA-F]{2})|\{([0-9a-fA-F]{1,6})\}").match(self._text, self._at)
            if not found or int(found[1] or found[2], 16) > LAST:
                raise self._error(r"has \x without two hexadecimal digits")
            self._at = found.end()
            return chr(int(found[1] or found[2], 16))
        if letter.isalnum():
            raise self._error(f"has \\{letter}, which is not supported here")
        return letter

    def _class(self) -> Node:
        negated = self._skip("^")
        ranges: list[tuple[int, int]] = []
        is_first = True
        while is_first or self._peek() != "]":
            is_first = False
            if self._skip("[:"):
                ranges += self._named()
                continue
            low = self._member(ranges)
            if low is None:
                continue
            high = low
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                end = self._member([])
                if end is None or end < low:
                    raise self._error("has a range that ends before it begins")
                high = end
            self._check(low, high)
            ranges.append((low, high))
        self._at += 1
        return Chars(merged(ranges), negated)

    def _named(self) -> Ranges:
        end = self._text.find(":]", self._at)
        name = self._text[self._at : end] if end >= 0 else ""
        if name not in _NAMED:
            raise self._error("has a class [: :] that is not known here")
        self._at = end + 2
        return _NAMED[name]

    def _member(self, ranges: list[tuple[int, int]]) -> int | None:
        letter = self._next("has a [ without its ]")
        if letter != "\\":
            return ord(letter)
        letter = self._next("has a [ without its ]")
        if letter in _SHORTHANDS:
            ranges += _SHORTHANDS[letter]
            return None
        return ord(self._character(letter))

    def _of(self, letter: str) -> Chars:
        self._check(ord(letter), ord(letter))
        return Chars(((ord(letter), ord(letter)),))

    def _check(self, low: int, high: int) -> None:
        if low == high and (low == 0 or _SURROGATES[0] <= low <= _SURROGATES[1]):
            raise self._error("has a character that no event has")


def _wrong(text: str, why: str) -> BadRequestError:
    return BadRequestError(f"the regular expression {text[:64]!r} {why}")


def _size(node: Node) -> int:
    match node:
        case Repeat(of, least, most):
            return _size(of) * max(1, least + 1 if most is None else most)
        case InOrder(parts) | Choice(parts):
            return sum(map(_size, parts)) + 1
    return 1
