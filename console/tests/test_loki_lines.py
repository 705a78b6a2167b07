"""Lines by nanoseconds: a client that pages by time alone gets each of them once."""

import asyncio

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.loki import lines as module
from console.loki.conditions import LokiFilter
from console.loki.lines import Entry, Lines, Range, find_lines
from console.query import Order
from console.row import Row
from console.tests.fakes import FakeStore, a_row
from console.tests.loki_rows import BASE
from shared.event.times import epoch_us
from shared.wire.problem import BadRequestError

US = epoch_us(BASE)
NS = US * 1000
ALL = LokiFilter()


async def find(store: FakeStore, within: Range, order: Order, limit: int, wanted: LokiFilter = ALL) -> Lines:
    async with store.session(None) as session:
        return await find_lines(session, wanted, within, order, limit, clock=asyncio.get_running_loop().time)


async def by_time_alone(store: FakeStore, within: Range, order: Order, limit: int) -> list[list[Entry]]:
    """All pages; each begins where the time of the last line was."""
    pages: list[list[Entry]] = []
    while True:
        found = await find(store, within, order, limit)
        assert found.reached_us is None
        if not found.entries:
            return pages
        pages.append(list(found.entries))
        last = found.entries[-1].ns
        within = Range(last + 1, within.end) if order is Order.ASC else Range(within.begin, last)


def times_of(rows: Sequence[Row]) -> dict[int, int]:
    """The time of each row, by its number, counted in the plainest way."""
    return {
        row.seq: epoch_us(row.event_time) * 1000
        + min(999, sum(other.event_time == row.event_time and other.seq < row.seq for other in rows))
        for row in rows
    }


ROWS = st.lists(st.integers(-2, 2) | st.integers(-3000, 3000), max_size=30).map(
    lambda drawn: [a_row(seq, BASE + timedelta(microseconds=at)) for seq, at in enumerate(drawn, start=1)]
)
MOMENTS = st.integers(NS - 3000, NS + 3000) | st.integers(NS - 4_000_000, NS + 4_000_000)


@given(ROWS, MOMENTS, MOMENTS, st.sampled_from(Order), st.integers(1, 8))
async def test_a_page_has_the_first_lines_of_its_range(
    rows: list[Row], first: int, last: int, order: Order, limit: int
) -> None:
    within = Range(min(first, last), max(first, last) + 1)
    expected = sorted((ns, seq) for seq, ns in times_of(rows).items() if within.begin <= ns < within.end)
    if order is Order.DESC:
        expected.reverse()

    found = await find(FakeStore(rows), within, order, limit)

    assert [(entry.ns, entry.row.seq) for entry in found.entries] == expected[:limit]


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("limit", [100, 777, 5000])
async def test_2700_rows_of_three_microseconds_are_paged_each_once(order: Order, limit: int) -> None:
    rows = [a_row(seq, BASE + timedelta(microseconds=seq % 3)) for seq in range(1, 2701)]

    pages = await by_time_alone(FakeStore(rows), Range(NS - 10, NS + 10_000), order, limit)

    assert sorted(entry.row.seq for page in pages for entry in page) == list(range(1, 2701))
    assert len({entry.ns for page in pages for entry in page}) == 2700
    assert all(len(page) <= limit for page in pages)


@pytest.mark.parametrize("order", Order)
async def test_rows_beyond_a_thousand_of_one_microsecond_are_never_parted(order: Order) -> None:
    rows = [a_row(seq, BASE) for seq in range(1, 1501)]

    pages = await by_time_alone(FakeStore(rows), Range(NS, NS + 1000), order, 400)

    assert sorted(entry.row.seq for page in pages for entry in page) == list(range(1, 1501))


async def test_a_row_that_is_written_later_changes_no_time() -> None:
    rows = [a_row(seq, BASE) for seq in (3, 7)]
    store = FakeStore(rows)
    before = await find(store, Range(NS, NS + 1000), Order.DESC, 10)
    store.rows.append(a_row(9, BASE))
    after = await find(store, Range(NS, NS + 1000), Order.DESC, 10)

    assert list(after.entries[1:]) == list(before.entries)


async def test_messages_are_whole() -> None:
    found = await find(FakeStore([a_row(1, BASE, message="ü" * 100_000)]), Range(NS, NS + 1000), Order.DESC, 10)

    assert found.entries[0].row.message == "ü" * 100_000


async def test_an_answer_that_would_be_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 5000)
    rows = [a_row(seq, BASE + timedelta(seconds=seq), message="x" * 1000) for seq in range(1, 10)]

    with pytest.raises(BadRequestError, match="fewer lines at once"):
        await find(FakeStore(rows), Range(NS, NS + 10**11), Order.DESC, 10)
    store = FakeStore([replace(row, message="x") for row in rows])
    assert len((await find(store, Range(NS, NS + 10**11), Order.DESC, 10)).entries) == 9


async def test_too_many_rows_of_one_microsecond_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OF_ONE_MICROSECOND", 50)
    rows = [a_row(seq, BASE) for seq in range(1, 300)]

    with pytest.raises(BadRequestError, match="have one time"):
        await find(FakeStore(rows), Range(NS, NS + 1000), Order.DESC, 10)


@pytest.mark.parametrize("order", Order)
async def test_when_the_time_is_over_what_was_reached_is_told_and_all_on_this_side_was_found(order: Order) -> None:
    rows = [a_row(seq, BASE + timedelta(seconds=seq // 3)) for seq in range(1, 1800)]
    store = FakeStore(rows)
    ticks = iter(range(10**6))

    async with store.session(None) as session:
        within = Range(NS, NS + 600 * 10**9)
        found = await find_lines(session, ALL, within, order, 5000, clock=lambda: float(next(ticks)), budget_s=3)

    assert found.reached_us is not None
    if order is Order.ASC:
        expected = [row.seq for row in rows if epoch_us(row.event_time) < found.reached_us]
    else:
        expected = [row.seq for row in rows if epoch_us(row.event_time) >= found.reached_us][::-1]
    assert [entry.row.seq for entry in found.entries] == expected
