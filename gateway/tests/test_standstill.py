"""Partitions that stand still while others are copied, moment by moment, on simulated time."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.replication.standstill import PAUSE_S, STANDS_S, Standstills

STUCK = "logs/3"
OTHER = "logs/4"


def look(stands: Standstills, first: int, last: int, *, every: int = 1, moved: bool = True) -> None:
    """Observe a partition that waits, from one moment to another, while the others move or not."""
    for at in range(first, last + 1, every):
        stands.see({STUCK: 7}, float(at), moved=moved)


def test_a_partition_that_stands_while_others_move_is_told_with_the_offset_it_stands_at() -> None:
    stands = Standstills()
    look(stands, 0, int(STANDS_S) - 1)
    assert stands.stopped(STANDS_S - 1) == {}
    look(stands, int(STANDS_S), int(STANDS_S))
    assert stands.stopped(STANDS_S) == {STUCK: 7}
    assert stands.since(STUCK) == 0


def test_where_nothing_moves_at_all_no_partition_stands() -> None:
    stands = Standstills()
    look(stands, 0, 600, moved=False)
    assert stands.stopped(600) == {}


def test_behind_a_link_that_is_cut_what_stood_is_forgotten_and_after_it_heals_everything_has_its_time() -> None:
    stands = Standstills()
    look(stands, 0, 100)
    look(stands, 101, 1000, moved=False)
    assert stands.stopped(1000) == {}
    stands = Standstills()
    look(stands, 0, 1000, moved=False)
    look(stands, 1001, 1000 + int(STANDS_S - PAUSE_S) - 1)
    assert stands.stopped(1000 + STANDS_S - PAUSE_S - 1) == {}


def test_a_mirror_that_copies_a_little_between_its_failures_hides_nothing() -> None:
    """MirrorMaker fails, is started again after half a minute, copies for a moment, and fails."""
    stands = Standstills()
    for cycle in range(8):
        look(stands, 40 * cycle, 40 * cycle + 2)
        look(stands, 40 * cycle + 3, 40 * cycle + 39, moved=False)
    assert stands.stopped(8.0 * 40) == {STUCK: 7}


def test_one_that_moves_however_slowly_does_not_stand() -> None:
    stands = Standstills()
    for at in range(600):
        stands.see({STUCK: at // 50}, float(at), moved=True)
        assert stands.stopped(float(at)) == {}


def test_with_nothing_left_to_copy_a_partition_does_not_stand() -> None:
    stands = Standstills()
    look(stands, 0, 100)
    stands.see({}, 101.0, moved=True)
    assert stands.stopped(101) == {}
    look(stands, 102, 110)
    assert stands.stopped(110) == {}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.floats(0.1, 40)), max_size=200))
def test_nothing_is_told_that_moved_within_the_time_it_takes(steps: list[tuple[bool, int, float]]) -> None:
    stands, at, since = Standstills(), 0.0, {STUCK: (0, 0.0), OTHER: (0, 0.0)}
    for moved, position, passed in steps:
        at += passed
        for where, value in ((STUCK, position), (OTHER, position // 2)):
            if since[where][0] != value or at == passed:
                since[where] = (value, at)
        stands.see({where: value for where, (value, _) in since.items()}, at, moved=moved)
        for where in stands.stopped(at):
            assert at - since[where][1] >= STANDS_S


@pytest.mark.parametrize("pause", [2, 10, 30])
def test_how_often_it_is_looked_at_does_not_matter(pause: int) -> None:
    stands = Standstills()
    look(stands, 0, 60 if pause < PAUSE_S else 120, every=pause)
    assert stands.stopped(120) == {STUCK: 7}
