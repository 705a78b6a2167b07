"""Counts in windows: as many as there are, whatever buckets they are counted in."""

import asyncio

from datetime import timedelta

import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.loki import counting as module
from console.loki.conditions import LokiFilter
from console.loki.counting import Counted, Steps, count_lines, steps_of
from console.row import Row
from console.tests.fakes import FakeStore, a_row
from console.tests.loki_rows import BASE
from shared.event.times import epoch_us
from shared.wire.problem import BadRequestError

US = epoch_us(BASE)
ROWS = st.lists(
    st.tuples(st.integers(-50, 50), st.sampled_from(["INFO", "ERROR"]), st.sampled_from(["a", "b"])), max_size=30
).map(
    lambda drawn: [
        a_row(seq, BASE + timedelta(microseconds=at), level=level, service_name=name)
        for seq, (at, level, name) in enumerate(drawn, start=1)
    ]
)
BY = st.sampled_from([None, (), ("level",), ("level", "detected_level"), ("service_name",), ("service_name", "level"), ("region",), ("late",)])  # fmt: skip


async def count(store: FakeStore, steps: Steps, by: tuple[str, ...] | None, **more: bool) -> Counted:
    async with store.session(None) as session:
        clock = asyncio.get_running_loop().time
        return await count_lines(session, LokiFilter(), steps, by, clock=clock, **more)


STEPS = st.builds(Steps, st.integers(US - 40, US + 40), st.integers(1, 20), st.integers(1, 12), st.integers(1, 40))


@given(ROWS, STEPS, BY)
async def test_each_window_has_its_lines(rows: list[Row], steps: Steps, by: tuple[str, ...] | None) -> None:
    found = await count(FakeStore(rows), steps, by)

    expected: dict[tuple[tuple[str, str], ...], dict[int, int]] = {}
    for at in range(steps.number):
        end = steps.first + at * steps.step
        for row in rows:
            if end - steps.window < epoch_us(row.event_time) <= end:
                known = {
                    "service_name": row.service_name,
                    "level": row.level,
                    "region": row.origin_region,
                    "late": "false",
                }
                known["detected_level"] = row.level.lower()
                labels = (
                    tuple((name, known[name]) for name in by or ())
                    if by is not None
                    else tuple(list(known.items())[:4])
                )
                series = expected.setdefault(labels, {})
                series[at] = series.get(at, 0) + 1
    assert {labels: dict(values) for labels, values in found.series.items() if values} == expected


async def test_windows_at_the_beginning_of_time_are_counted() -> None:
    found = await count(FakeStore([a_row(1, BASE)]), Steps(5, 10, 3, 100), ())

    assert found == Counted({})


def test_the_steps_of_a_range_are_those_that_lie_in_it() -> None:
    assert steps_of(100, 200, 50, 10) == Steps(100, 50, 3, 10)
    assert steps_of(100, 100, 50, 10).number == 1
    assert Steps(100, 50, 3, 100).bucket == 50
    assert Steps(100, 50, 1, 100).bucket == 100


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(BadRequestError, match="longer step"):
        steps_of(0, 10**12, 10**6, 10**6)
    with pytest.raises(BadRequestError, match="multiple of the other"):
        steps_of(0, 10**12, 10**9 + 1, 10**9)


async def test_too_many_series_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SERIES", 2)
    rows = [a_row(seq, BASE, service_name=f"s{seq}") for seq in range(1, 4)]

    with pytest.raises(BadRequestError, match="fewer labels"):
        await count(FakeStore(rows), Steps(US, 1, 1, 10), ("service_name",))


async def test_what_has_no_index_cannot_be_told_apart() -> None:
    with pytest.raises(BadRequestError, match="'correlation_id' is not supported"):
        await count(FakeStore(), Steps(US, 1, 1, 10), ("correlation_id",))


async def test_when_the_time_is_over_only_whole_windows_are_there() -> None:
    rows = [a_row(seq, BASE + timedelta(seconds=seq)) for seq in range(600)]
    ticks = iter(range(10**6))
    steps = Steps(US + 10_000_000, 10_000_000, 60, 20_000_000)

    async with FakeStore(rows).session(None) as session:
        found = await count_lines(session, LokiFilter(), steps, (), clock=lambda: float(next(ticks)), budget_s=4)

    assert found.reached_us is not None
    [values] = found.series.values()
    assert values == {
        at: 20 for at in range(60) if steps.first + at * steps.step - steps.window + 1 >= found.reached_us
    } | ({59: 19} if 59 in values else {})
    assert 0 < len(values) < 60
