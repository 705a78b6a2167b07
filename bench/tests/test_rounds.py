import pytest

from bench.rounds import interleave, percentile, slope, summarise, turns


def test_the_median_is_told_and_how_far_the_rounds_spread() -> None:
    summary = summarise([3.0, 1.0, 10.0])

    assert (summary.median, summary.low, summary.high) == (3.0, 1.0, 10.0)


def test_a_figure_that_no_round_gave_is_an_error() -> None:
    with pytest.raises(ValueError, match="no round"):
        summarise([])


def test_none_is_always_the_first() -> None:
    assert list(turns(["a", "b", "c"], 0)) == ["a", "b", "c"]
    assert list(turns(["a", "b", "c"], 1)) == ["c", "b", "a"]


async def test_each_contender_has_one_turn_a_round() -> None:
    told: list[str] = []

    async def fast(number: int) -> str:
        return f"fast {number}"

    async def slow(number: int) -> str:
        return f"slow {number}"

    rounds = await interleave({"fast": fast, "slow": slow}, 2, told.append)

    assert rounds == [{"fast": "fast 0", "slow": "slow 0"}, {"slow": "slow 1", "fast": "fast 1"}]
    assert told == ["round 1 of 2: fast", "round 1 of 2: slow", "round 2 of 2: slow", "round 2 of 2: fast"]


@pytest.mark.parametrize(("percent", "value"), [(50, 50.0), (99, 99.0), (99.9, 100.0), (100, 100.0), (0, 1.0)])
def test_a_percentile_is_a_value_that_was_seen(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == value


def test_one_value_is_every_percentile() -> None:
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0


def test_a_slope_is_the_growth_of_a_straight_line() -> None:
    assert slope([(0.0, 5.0), (1.0, 8.0), (3.0, 14.0)]) == pytest.approx(3.0)
    assert slope([(0.0, 1.0), (1.0, -1.0), (2.0, 1.0)]) == pytest.approx(0.0)


def test_one_moment_has_no_slope() -> None:
    with pytest.raises(ValueError, match="two points"):
        slope([(1.0, 1.0), (1.0, 2.0)])
