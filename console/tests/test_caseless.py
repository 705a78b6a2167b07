"""The same in any case: letter by letter, whatever the locale."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.caseless import Needle, lower_ascii

TEXT = st.text(max_size=30)


@given(TEXT, TEXT, TEXT)
def test_a_text_is_found_in_what_contains_it(before: str, text: str, after: str) -> None:
    assert Needle(text).is_in(before + text + after)


@given(st.characters())
def test_a_letter_is_found_in_its_other_case_if_that_is_one_letter(letter: str) -> None:
    for other in (letter.upper(), letter.lower()):
        # Some letters outside ASCII have forms inside; these are other letters here, as they are to PostgreSQL.
        if (
            len(other) == 1
            and other.isascii() == letter.isascii()
            and (other.upper() == letter or other.lower() == letter)
        ):
            assert Needle(letter).is_in(other)
            assert Needle(other).is_in(letter)


@pytest.mark.parametrize(
    ("needle", "text", "is_in"),
    [
        ("überlauf", "ÜBERLAUF", True), ("ПРИВЕТ", "привет", True), ("\u03bf\u03b4\u03bf\u03c2", "ΟΔΟΣ", True), ("ß", "ẞ", True),
        ("ss", "ß", False), ("i", "İ", False), ("k", "\u212a", False), ("a", "á", False), ("", "x", True), ("%", "100%", True), ("_", "x", False),
    ],
)  # fmt: skip
def test_what_is_the_same(needle: str, text: str, *, is_in: bool) -> None:
    assert Needle(needle).is_in(text) is is_in


@given(TEXT)
def test_ascii_is_lowered_and_nothing_else(text: str) -> None:
    lowered = lower_ascii(text)

    assert len(lowered) == len(text)
    assert all(new == (old.lower() if old.isascii() else old) for old, new in zip(text, lowered, strict=True))
