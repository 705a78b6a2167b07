"""Slices of a range: joined they are the range, and each is as wide as it may be."""

from hypothesis import given
from hypothesis import strategies as st

from console.slices import BY_INDEX, BY_NUMBER, BY_TIME, DAY_US, MINUTE_US, QUICK_S, SLOW_S, Slicer

MEASURES = st.sampled_from([BY_TIME, BY_INDEX, BY_NUMBER])


@given(MEASURES, st.integers(0, 10**15), st.integers(1, 100 * DAY_US), st.booleans(), st.data())
def test_slices_joined_are_the_range_whatever_each_took(measure, low, width, down, data) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    high = low + width
    slicer = Slicer(measure, data.draw(st.sampled_from([None, 1 << 40, MINUTE_US])))
    at, end = (high, low) if down else (low, high)
    steps = 0
    while at != end:
        stop = slicer.next(at, end, down=down)
        assert stop < at if down else stop > at
        assert low <= stop <= high
        assert abs(stop - at) <= max(slicer.width, 1) or measure.border is None or abs(stop - at) <= measure.border
        slicer.took(data.draw(st.sampled_from([0.0, QUICK_S, SLOW_S, 0.3])) if steps < 50 else 0.0)
        at = stop
        steps += 1

    assert steps < 2000


def test_a_narrow_slice_ends_at_the_days_border_and_a_wide_one_is_cut_to_it() -> None:
    day = 20_000 * DAY_US
    slicer = Slicer(BY_TIME, 10 * MINUTE_US)

    assert slicer.next(day + MINUTE_US, 0, down=True) == day
    assert slicer.next(day - MINUTE_US, 2 * day, down=False) == day
    assert slicer.next(day, 0, down=True) == day - 10 * MINUTE_US
    wide = Slicer(BY_TIME, 3 * DAY_US)
    assert wide.next(day + MINUTE_US, 0, down=True) == day - 2 * DAY_US
    assert wide.next(day - MINUTE_US, 2 * day, down=False) == day + 2 * DAY_US


def test_quick_slices_grow_slow_ones_shrink_and_there_is_a_least_one() -> None:
    slicer = Slicer(BY_TIME)
    slicer.took(0.01)
    assert slicer.width == 2 * MINUTE_US
    slicer.took(0.3)
    assert slicer.width == 2 * MINUTE_US
    slicer.took(0.6)
    assert slicer.width == MINUTE_US
    while slicer.narrow(8):
        pass
    assert slicer.width == 1
