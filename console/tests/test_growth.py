"""What counters grew by, against the processes that counted."""

import random

from hypothesis import given
from hypothesis import strategies as st

from console.growth import growth
from console.past import DUPLICATES, EXPOSED, LAG, LATE, QUERIES, UP, history

STEP_MS = 5000


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(0, 40))
def test_it_is_what_was_counted_between_two_moments_however_often_the_process_began_anew(
    seed: int, begin: int, end: int
) -> None:
    draw = random.Random(seed)
    points: list[tuple[int, float]] = []
    added: list[int] = []
    value = float(draw.randrange(1000))
    for at in range(40):
        if draw.random() < 0.1:  # anew: what it counts before its first sample is seen in that
            value = 0.0
        more = draw.randrange(10)
        value += more
        # A restart that is not seen as a lower value is counted too low; Prometheus cannot see it either.
        if points and value - more == 0.0 and value >= points[-1][1]:
            value, more = points[-1][1], 0
        points.append((at * STEP_MS, value))
        added.append(more)
    wanted = sum(added[begin + 1 : end + 1])
    if begin >= 40:
        wanted = 0
    assert growth(points, begin * STEP_MS, end * STEP_MS, first=0, step=STEP_MS) == wanted


def test_one_that_comes_later_began_at_nothing_and_one_that_was_there_did_not() -> None:
    assert growth([(60_000, 7.0), (65_000, 9.0)], 50_000, 70_000, first=0, step=STEP_MS) == 9
    assert growth([(60_000, 7.0), (65_000, 9.0)], 50_000, 70_000, first=60_000, step=STEP_MS) == 2


def matrix(**series: list[tuple[int, float]]) -> dict[str, object]:
    """Series by region, or by both ends of a direction."""
    metrics = {
        name: {"source": "a", "target": "b"} if name == "ab" else {"region": name, "instance": f"{name}:1"}
        for name in series
    }
    result = [
        {"metric": metrics[name], "values": [[at, str(value)] for at, value in points]}
        for name, points in series.items()
    ]
    return {"status": "success", "data": {"result": result}}


def test_a_split_has_what_was_late_and_what_came_twice_until_its_target_had_caught_up() -> None:
    """Down from second 100 to 200, within 10 s of the source at 300; counted until 360."""
    times = range(0, 500, 10)
    answers = {
        **dict.fromkeys(QUERIES, matrix()),
        UP: matrix(ab=[(at, 0.0 if 100 <= at < 200 else 1.0) for at in times]),
        EXPOSED: matrix(ab=[(at, 50.0) for at in times]),
        LAG: matrix(ab=[(at, 0.0 if at < 100 or at >= 300 else 90.0) for at in times]),
        LATE: matrix(a=[(at, 5.0) for at in times], b=[(at, float(min(max(at - 250, 0), 200))) for at in times]),
        DUPLICATES: matrix(b=[(at, float(at)) for at in times]),
    }
    [split] = history(answers, 10)["splits"]
    assert (split["begin"], split["end"], split["convergedAt"]) == (100_000, 200_000, 300_000)
    assert split["lateRows"] == {"a": 0, "b": 110}
    assert split["duplicates"] == {"b": 260}


def test_one_that_goes_on_is_counted_as_far_as_it_is_known() -> None:
    times = range(0, 100, 10)
    answers = {
        **dict.fromkeys(QUERIES, matrix()),
        UP: matrix(ab=[(at, 0.0 if at >= 50 else 1.0) for at in times]),
        LATE: matrix(b=[(at, float(at)) for at in times]),
    }
    [split] = history(answers, 10)["splits"]
    assert (split["end"], split["convergedAt"], split["lateRows"]) == (None, None, {"b": 40})
