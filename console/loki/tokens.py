"""A query in LogQL, in pieces. Pure."""

import re

from dataclasses import dataclass
from typing import Final

from shared.wire.problem import BadRequestError

MAX_CHARS: Final = 10_000
_ECHO: Final = 40

_TOKEN: Final = re.compile(
    r"""
    (?P<blank>\s+|\#[^\n]*)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<raw>`[^`]*`)
  | (?P<duration>(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h|d|w|y))+(?![A-Za-z0-9_.]))
  | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?(?![A-Za-z0-9_.]))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<sign>\|=|\|~|\|>|!>|!=|!~|=~|==|>=|<=|[{}()\[\],|=<>+*/%^-])
    """,
    re.VERBOSE,
)
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w|y)")
_US: Final = {
    "ns": 0.001, "us": 1, "µs": 1, "ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6,
    "d": 86400 * 10**6, "w": 7 * 86400 * 10**6, "y": 365 * 86400 * 10**6,
}  # fmt: skip
_ESCAPED: Final = re.compile(
    r"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.DOTALL
)
_SIMPLE: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
}
_LAST: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)
_ASCII: Final = 0x80


@dataclass(frozen=True, slots=True)
class Token:
    """
    A piece.

    Attributes:
        kind: `string`, `duration`, `number`, `name`, `sign`, or `end`.
        text: Of a string, what it stands for; else as it was written.
        at: Where it begins.
    """

    kind: str
    text: str
    at: int


def tokens_of(query: str) -> list[Token]:
    """
    Take a query to pieces; the last one has kind `end`.

    Raises:
        BadRequestError: There is something that is no piece of LogQL.
    """
    if len(query) > MAX_CHARS:
        raise BadRequestError(f"a query may have {MAX_CHARS} characters, and has {len(query)}")
    tokens: list[Token] = []
    at = 0
    while at < len(query):
        found = _TOKEN.match(query, at)
        if not found or found.lastgroup is None:
            raise BadRequestError(f"the query cannot be read at character {at + 1}: {query[at : at + _ECHO]!r}")
        kind, text = found.lastgroup, found[0]
        if kind == "string":
            tokens.append(Token("string", _unescaped(text[1:-1], at), at))
        elif kind == "raw":
            tokens.append(Token("string", text[1:-1], at))
        elif kind != "blank":
            tokens.append(Token(kind, text, at))
        at = found.end()
    return [*tokens, Token("end", "", at)]


def duration_us(text: str) -> int | None:
    """Return a duration like `1h30m` in microseconds; None if it is none."""
    found = _DURATION.findall(text)
    if not found or "".join(number + unit for number, unit in found) != text:
        return None
    return round(sum(float(number) * _US[unit] for number, unit in found))


def _unescaped(text: str, at: int) -> str:
    def stands_for(found: re.Match[str]) -> str:
        simple, byte, short, long, octal, _ = found.groups()
        if simple:
            return _SIMPLE[simple]
        code = int(octal, 8) if octal else int(byte or short or long or "-1", 16)
        # A byte above ASCII would be a part of a character in UTF-8.
        if not 0 <= code <= _LAST or code in _SURROGATES or ((byte or octal) and code >= _ASCII):
            raise BadRequestError(
                f"the text at character {at + 1} of the query has {found[0]!r}, which stands for nothing; "
                f"write a backslash twice, or the text between backquotes"
            )
        return chr(code)

    return _ESCAPED.sub(stands_for, text)
