"""Regular expressions of LogQL: which there are, what they match, and what is made of them for PostgreSQL."""

import re

import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.loki.expression_parser import MAX_CHARS
from console.loki.pattern import parse_pattern
from shared.wire.problem import BadRequestError

LETTERS = "ab1 _-ÄäΣς\n"
ATOMS = st.sampled_from(
    ["a", "b", "1", " ", "-", "Ä", "Σ", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", r"\.", r"\n", ".", "[ab]", "[^a]", "[a-c1]", "[]a]", r"[\d_-]", "[[:alpha:]]"]
)  # fmt: skip
QUANTIFIERS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?"])
PIECES = st.builds(str.__add__, ATOMS, QUANTIFIERS)
BORDERS = st.sampled_from([r"\b", r"\B", "^", "$"])
SEQUENCES = st.lists(PIECES | BORDERS, max_size=4).map("".join)
EXPRESSIONS = st.recursive(
    SEQUENCES,
    lambda inner: st.builds("{}({}){}".format, SEQUENCES, inner, QUANTIFIERS) | st.builds("{}|{}".format, inner, inner),
    max_leaves=4,
)
TEXTS = st.text(LETTERS, max_size=6)


def in_python(expression: str) -> re.Pattern[str]:
    """The same expression for Python, where its meaning differs from RE2's."""
    return re.compile(
        expression.replace("$", r"\Z").replace("[[:alpha:]]", "[a-zA-Z]").replace(r"\B", r"(?!\b)"), re.ASCII
    )


@given(EXPRESSIONS, TEXTS)
def test_it_matches_what_it_says(expression: str, text: str) -> None:
    pattern = parse_pattern(expression)

    assert pattern.is_in(text) == bool(in_python(expression).search(text))


@given(st.sampled_from(["(?i)", "(?is)", "(?s)", ""]), st.text(LETTERS, min_size=1, max_size=3), TEXTS)
def test_flags_are_for_all_of_it(flags: str, wanted: str, text: str) -> None:
    pattern = parse_pattern(flags + re.escape(wanted))

    assert pattern.literal == wanted
    if "i" in flags:
        assert pattern.is_in(text) == (fold(wanted) in fold(text))
    else:
        assert pattern.is_in(text) == (wanted in text)


def fold(text: str) -> str:
    return text.upper().lower().replace("\u03c2", "\u03c3")


@given(st.text(max_size=40) | st.text("()[]{}|*+?\\^$.,:-ab1(?iPx<>sdwbB", max_size=20))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except BadRequestError as exc:
        assert "expression" in exc.detail  # noqa: PT017 - either is right
        return
    assert pattern.is_in("some line") in (True, False)
    assert "\x00" not in pattern.postgres


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("checkout", (["checkout"], [])),
        ("checkout|pay.*|a-b", (["checkout", "a-b"], ["pay"])),
        (r"a\.b", (["a.b"], [])),
        (".*", ([], [""])),
        ("pay.+", None),
        ("pay[abc]", None),
        ("(?i)checkout", None),
        ("(a|b)c", None),
    ],
)
def test_names_and_beginnings_are_known_again(expression: str, names: tuple[list[str], list[str]] | None) -> None:
    assert parse_pattern(expression, of_label=True).names == names


@pytest.mark.parametrize(
    "expression",
    [
        "(", ")", "a)", "[", "[a", "[]", "*", "a**b(", "(?=a)", "(?!a)", "(?<=a)", r"\1", r"(a)\1", r"\p{L}", r"\C", "(?m)a", "(?i", "[z-a]",
        r"[a-\d]", "[[:nope:]]", "a{300}", "a{2,1}", "((a{100}){100})", "(a{255}){255}", "\x00", r"\x00", "\ud800",
        "(" * 30 + ")" * 30, "a" * (MAX_CHARS + 1), "\\", r"\x{110000}", "(?P<n)",
    ],
)  # fmt: skip
def test_what_cannot_be_looked_for_is_refused(expression: str) -> None:
    with pytest.raises(BadRequestError, match="expression"):
        _ = parse_pattern(expression).postgres


def test_postgres_gets_no_text_of_a_client() -> None:
    assert parse_pattern("a'b%(\\d+|ü)").postgres == r"a\u0027b\u0025(?:(?:[0-9]){1,}|\u00fc)"
    assert parse_pattern("x.y").postgres == r"x[^\u000a]y"
    assert parse_pattern("(?i)k").postgres == "[Kk]"
    assert parse_pattern("x.y", of_label=True).postgres_whole == r"^(?:x[\u0001-\ud7ff\ue000-\U0010ffff]y)$"


@pytest.mark.parametrize("expression", ["(" * 18 + ".*" + ")*" * 18 + "x", "(a|a)*" * 30 + "b", "(.*){255}" + "y", "((a?){255})b", "(.*.*.*.*)*z"])  # fmt: skip
def test_no_expression_takes_long(expression: str) -> None:
    """Python's engine does not come to an end with some of these."""
    pattern = parse_pattern(expression)

    assert not pattern.is_in("a" * 300)
    assert not pattern.is_all_of("FATAL")
