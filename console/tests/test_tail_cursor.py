import base64

import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.marks import Position
from console.tail.cursor import CursorError, read, write

SEQ = st.integers(0, 2**62)


@st.composite
def positions(draw: st.DrawFn) -> Position:
    floor = draw(SEQ)
    below = draw(st.dictionaries(st.integers(0, 2**40), st.integers(0, max(0, floor - 1)), max_size=5 if floor else 0))
    return Position("0a1b2c3d", floor, below, draw(st.one_of(st.just(0), SEQ)))


@given(positions())
def test_a_cursor_says_where_its_tail_was(position: Position) -> None:
    assert read(write(position)) == position


def test_a_usual_one_is_short() -> None:
    assert len(write(Position("0a1b2c3d", 123_456_789, {1017: 123_456_700}, 365))) < 80


def test_one_of_a_release_that_knew_no_drops_is_as_it_was() -> None:
    assert read(coded('["0a1b2c3d",5,1,2]')) == Position("0a1b2c3d", 5, {1: 3})
    assert write(Position("0a1b2c3d", 5, {1: 3})) == coded('["0a1b2c3d",5,1,2]')


@given(positions(), st.data())
def test_one_that_was_cut_off_or_changed_is_refused_or_another_position(
    position: Position, data: st.DataObject
) -> None:
    cursor = write(position)
    at = data.draw(st.integers(3, len(cursor) - 1))
    for changed in (cursor[:at], cursor[:at] + data.draw(st.text(min_size=1, max_size=3)) + cursor[at + 1 :]):
        try:
            found = read(changed)
        except CursorError:
            continue
        assert isinstance(found, Position)
        assert all(0 <= seq < found.floor for seq in found.below.values())


def coded(text: str) -> str:
    return "t1." + base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("cursor", "said"),
    [
        ("", "begins with `t1.`"),
        ("c1.abc", "cursor of a search"),
        ("t1.", "cut off or was changed"),
        ("t1.ÄÖ", "cut off or was changed"),
        (coded("[" * 2000), "cut off or was changed"),
        (coded("{}"), "cut off or was changed"),
        (coded('["0a1b2c3d"]'), "cut off or was changed"),
        (coded('["0a1b2c3d",-1]'), "cut off or was changed"),
        (coded('["0a1b2c3d",5,1]'), "cut off or was changed"),
        (coded('["0a1b2c3d",5,1,6]'), "cut off or was changed"),
        (coded('["0a1b2c3d",5,1,2,1,3]'), "cut off or was changed"),
        (coded('["0a1b2c3d",true]'), "cut off or was changed"),
        (coded('["0a1b2c3d",1.5]'), "cut off or was changed"),
        (coded('["0a1b",5]'), "cut off or was changed"),
        (coded('["0a1b2c3d",[5]]'), "cut off or was changed"),
        (coded('["0a1b2c3d",[5,1,2]]'), "cut off or was changed"),
        (coded('["0a1b2c3d",[5,-1]]'), "cut off or was changed"),
        (coded('["0a1b2c3d",[[5],1]]'), "cut off or was changed"),
        (coded(f'["0a1b2c3d",{10**30}]'), "cut off or was changed"),
        ("t1." + "a" * 5000, "cut off or was changed"),
    ],
)
def test_what_is_no_cursor_is_refused_with_what_to_do(cursor: str, said: str) -> None:
    with pytest.raises(CursorError, match=said):
        read(cursor)
