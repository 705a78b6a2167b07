"""
What "the same, whatever the case" means, alike in Python and in every PostgreSQL. Pure.

PostgreSQL's `ILIKE` depends on the locale that a database was made with. Here two letters are the same if Unicode maps one to the
other, letter by letter. PostgreSQL lowers ASCII by itself. For other letters of a text that is looked for, it is told all their forms.
"""

from functools import cache
from typing import Final

_UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ASCII: Final = str.maketrans(_UPPER, _UPPER.lower())
# Of Adlam, the last alphabet in Unicode that has two cases.
_LAST_CASED: Final = 0x1E943


def lower_ascii(text: str) -> str:
    """Lower the letters A to Z and no others, as PostgreSQL does with collation "C"."""
    return text.translate(_ASCII)


class Needle:
    """
    A text that is looked for, in any case.

    Args:
        text: As it was written.

    Attributes:
        folded: What to look for, in a text that was folded by `fold`.
        forms: Letters outside ASCII to replace before that, by those of `instead` at the same places.
        instead: See there.
    """

    __slots__ = ("_table", "folded", "forms", "instead")

    def __init__(self, text: str) -> None:
        letters = sorted({letter for letter in text if not letter.isascii()})
        pairs = [(form, _fold(letter)) for letter in letters for form in _forms().get(_fold(letter), ())]
        pairs = sorted({(form, base) for form, base in pairs if form != base})
        self.forms = "".join(form for form, _ in pairs)
        self.instead = "".join(base for _, base in pairs)
        self._table = _ASCII | str.maketrans(self.forms, self.instead)
        self.folded = self.fold(text)

    def fold(self, text: str) -> str:
        """Return the text with all forms of the needle's letters made one."""
        return text.translate(self._table)

    def is_in(self, text: str) -> bool:
        """Tell whether the text contains it."""
        return self.folded in self.fold(text)


def forms_within(low: int, high: int) -> set[str]:
    """Return the forms of all letters outside ASCII from one code to another that have several."""
    return {
        form for forms in _forms().values() if any(low <= ord(letter) <= high for letter in forms) for form in forms
    }


def _fold(letter: str) -> str:
    for folded in (letter.upper().lower(), letter.lower()):
        if len(folded) == 1 and not folded.isascii():
            return folded
    return letter


@cache
def _forms() -> dict[str, tuple[str, ...]]:
    """Return all letters outside ASCII that have several forms, by the one that stands for them."""
    found: dict[str, list[str]] = {}
    for letter in map(chr, range(0x80, _LAST_CASED + 1)):
        if letter.lower() != letter or letter.upper() != letter:
            found.setdefault(_fold(letter), []).append(letter)
    return {base: tuple(forms) for base, forms in found.items() if len(forms) > 1}
