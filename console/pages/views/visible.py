"""
Text as a person can see it. PURE.

A character that shows nothing, or that changes how others are shown, is replaced by its code point: a log line may come from
an attacker, and what is on the screen must be what is in the store. `static/text.js` does the same for rows of the tail, with
the same ranges.
"""

import re
import unicodedata

from collections.abc import Iterator
from typing import Final, NamedTuple

# Controls and C1, soft hyphen, joiners and fillers, bidi marks, line separators, invisible operators, surrogates, tags.
# Variation selectors up to U+FE0F stay: they belong to emoji.
HIDDEN: Final = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff"
)
_HIDDEN: Final = re.compile(f"[{HIDDEN}]")
_CONTROL: Final = {"\x00": "NULL", "\x07": "BELL", "\x08": "BACKSPACE", "\x1b": "ESCAPE", "\x7f": "DELETE"}
_BREAKS: Final = {"\n": "↵", "\t": "⇥"}


class Piece(NamedTuple):
    """
    A part of a text.

    Attributes:
        text: What to show.
        name: What the character is called that `text` stands for; None for text that is shown as it is.
    """

    text: str
    name: str | None = None


def pieces(text: str, *, breaks: bool = False) -> list[Piece]:
    """
    Cut a text into what is shown as it is and what is shown by its code point.

    Args:
        text: Any text.
        breaks: Whether line feeds and tabs stay what they are. Otherwise the result is one line, with signs for them.
    """
    return list(_pieces(text, breaks=breaks))


def visible(text: str) -> str:
    """Return the same as one line of plain text, for a title or an attribute."""
    return "".join(piece.text for piece in _pieces(text, breaks=False))


def _pieces(text: str, *, breaks: bool) -> Iterator[Piece]:
    plain, done = "", 0
    for found in _HIDDEN.finditer(text):
        character = found[0]
        plain += text[done : found.start()]
        done = found.end()
        if breaks and character in _BREAKS:
            plain += character
            continue
        if plain:
            yield Piece(plain)
            plain = ""
        yield Piece(_BREAKS.get(character) or f"⟨U+{ord(character):04X}⟩", _name(character))
    plain += text[done:]
    if plain:
        yield Piece(plain)


def _name(character: str) -> str:
    known = {"\n": "line feed", "\t": "tab"}.get(character) or _CONTROL.get(character)
    return known or unicodedata.name(character, "") or f"U+{ord(character):04X}"
