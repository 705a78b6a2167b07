"""The chain of an audit log finds what was changed, removed, added or swapped."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.access.audit_chain import BEGINNING, Broken, Whole, chained, digest, follow

ACTS = st.lists(
    st.dictionaries(st.text(max_size=8).filter(lambda name: name != "prev"), st.text(max_size=12), max_size=3),
    min_size=2,
    max_size=8,
)


def written(acts: list[dict[str, str]]) -> list[bytes]:
    """Return a chain, each act with its number so that no two lines are alike."""
    lines: list[bytes] = []
    prev = BEGINNING
    for number, act in enumerate(acts):
        lines.append(chained({**act, "number": number}, prev))
        prev = digest(lines[-1])
    return lines


@given(ACTS)
def test_a_chain_left_alone_is_whole(acts: list[dict[str, str]]) -> None:
    lines = written(acts)
    head = digest(lines[-1])
    assert follow(lines, expected=head) == Whole(len(lines), head)
    assert all(b"\n" not in line for line in lines)


@given(ACTS, st.data())
def test_a_chain_goes_on_over_two_files(acts: list[dict[str, str]], data: st.DataObject) -> None:
    lines = written(acts)
    cut = data.draw(st.integers(0, len(lines)))
    first = follow(lines[:cut])
    assert isinstance(first, Whole)
    assert follow(lines[cut:], first.head) == Whole(len(lines) - cut, digest(lines[-1]))


@given(ACTS, st.data())
def test_a_line_removed_before_the_last_is_found(acts: list[dict[str, str]], data: st.DataObject) -> None:
    lines = written(acts)
    gone = data.draw(st.integers(0, len(lines) - 2))
    found = follow(lines[:gone] + lines[gone + 1 :])
    assert isinstance(found, Broken)
    assert found.line == gone + 1


@given(ACTS, st.data())
def test_two_lines_swapped_are_found(acts: list[dict[str, str]], data: st.DataObject) -> None:
    lines = written(acts)
    one, other = sorted(data.draw(st.sets(st.integers(0, len(lines) - 1), min_size=2, max_size=2)))
    lines[one], lines[other] = lines[other], lines[one]
    found = follow(lines)
    assert isinstance(found, Broken)
    assert found.line == one + 1


@given(ACTS, st.data())
def test_a_changed_byte_is_found(acts: list[dict[str, str]], data: st.DataObject) -> None:
    lines = written(acts)
    head = digest(lines[-1])
    at = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[at]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != lines[at][place]))
    lines[at] = lines[at][:place] + bytes([byte]) + lines[at][place + 1 :]
    found = follow(lines, expected=head)
    assert isinstance(found, Broken)
    assert found.line in (at + 1, at + 2)


@given(ACTS)
def test_a_cut_end_is_found_by_a_head_kept_elsewhere_only(acts: list[dict[str, str]]) -> None:
    lines = written(acts)
    assert isinstance(follow(lines[:-1]), Whole)
    assert isinstance(follow(lines[:-1], expected=digest(lines[-1])), Broken)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"prev":1}', b"{}", b"\xff", b"[" * 100_000])
def test_a_line_that_is_no_link_is_named(line: bytes) -> None:
    found = follow([chained({"act": "search"}, BEGINNING), line])
    assert isinstance(found, Broken)
    assert found.line == 2


def test_an_act_cannot_name_the_line_before_itself() -> None:
    with pytest.raises(ValueError, match="prev"):
        chained({"prev": BEGINNING}, BEGINNING)
