"""Pages of a search: joined, they are the rows that are wanted, each once."""

import asyncio

from datetime import UTC, datetime, timedelta

import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.cursor import GoneError
from console.filter import Filter
from console.ports import StoreUnavailableError
from console.query import By, Order, Query, Span
from console.row import Row
from console.search import Page, search
from console.tests.fakes import FakeStore, a_row
from shared.event.times import epoch_us
from shared.wire.problem import BadRequestError

BASE = datetime(2026, 11, 25, 23, 59, 59, tzinfo=UTC)
SPAN = Span(epoch_us(BASE) - 3, epoch_us(BASE) + 3_000_000, "-3s now")


async def page_of(store: FakeStore, query: Query) -> Page:
    async with store.session(None) as session:
        return await search(query, session, asyncio.get_running_loop().time)


async def all_pages(store: FakeStore, query: Query) -> list[Page]:
    pages = [await page_of(store, query)]
    while (following := pages[-1].next) is not None:
        assert not pages[-1].complete
        pages.append(await page_of(store, with_cursor(query, following)))
    assert pages[-1].complete
    return pages


def with_cursor(query: Query, cursor: str) -> Query:
    return Query(query.span, query.filter, query.order, query.by, query.limit, cursor, query.full)


def wanted(rows: list[Row], query: Query) -> list[int]:
    kept = [
        row
        for row in rows
        if query.span.begin <= epoch_us(row.event_time) < query.span.end and query.filter.matches(row)
    ]
    kept.sort(key=lambda row: row.place if query.by is By.TIME else (row.seq, 0), reverse=query.order is Order.DESC)
    return [row.seq for row in kept]


ROWS = st.lists(
    st.tuples(st.integers(-5, 5) | st.integers(-5_000_000, 5_000_000), st.sampled_from(["a", "b"])), max_size=30
).map(
    lambda drawn: [
        a_row(seq, BASE + timedelta(microseconds=at), service_name=name)
        for seq, (at, name) in enumerate(drawn, start=1)
    ]
)
QUERIES = st.builds(
    Query,
    st.just(SPAN),
    st.sampled_from([Filter(), Filter(services=("a",)), Filter(correlation_id="trace-1")]),
    st.sampled_from(Order),
    st.sampled_from(By),
    st.integers(1, 8),
)


@given(ROWS, QUERIES)
async def test_pages_joined_are_the_rows_that_are_wanted_each_once(rows: list[Row], query: Query) -> None:
    pages = await all_pages(FakeStore(rows), query)

    assert [row.seq for page in pages for row in page.items] == wanted(rows, query)
    assert all(len(page.items) <= query.limit for page in pages)


@given(ROWS, QUERIES)
async def test_the_way_back_meets_the_same_rows(rows: list[Row], query: Query) -> None:
    store = FakeStore(rows)
    pages = await all_pages(store, query)
    passed = [row.seq for page in pages[:-1] for row in page.items]

    back: list[int] = []
    before = pages[-1].prev
    while before is not None:
        page = await page_of(store, with_cursor(query, before))
        assert page.next is not None
        back = [row.seq for row in page.items] + back
        before = page.prev

    assert back == passed


async def test_rows_of_one_microsecond_are_paged_by_their_numbers() -> None:
    rows = [a_row(seq, BASE) for seq in range(1, 10_001)]
    store = FakeStore(rows)

    for order in Order:
        pages = await all_pages(store, Query(SPAN, order=order, limit=777))
        assert sorted(row.seq for page in pages for row in page.items) == list(range(1, 10_001))


async def test_slices_that_are_too_wide_become_narrower_and_the_walk_ends() -> None:
    rows = [a_row(seq, BASE + timedelta(milliseconds=seq)) for seq in range(1, 40)]
    store = FakeStore(rows, slow_above=50_000)

    pages = await all_pages(store, Query(SPAN, limit=1000))

    assert [row.seq for page in pages for row in page.items] == list(range(39, 0, -1))


async def test_what_is_too_slow_in_any_width_is_told() -> None:
    store = FakeStore([a_row(1, BASE)], slow_above=0)
    query = Query(SPAN)

    with pytest.raises(StoreUnavailableError, match="PostgreSQL takes too long"):
        await all_pages(store, query)


async def test_a_cursor_of_another_search_is_refused() -> None:
    store = FakeStore([a_row(seq, BASE) for seq in range(1, 5)])
    following = (await page_of(store, Query(SPAN, limit=2))).next
    assert following is not None

    others = [
        Query(SPAN, Filter(services=("a",)), cursor=following),
        Query(SPAN, order=Order.ASC, cursor=following),
        Query(Span(SPAN.begin, SPAN.end, "-4s now"), cursor=following),
        Query(SPAN, by=By.STORED, cursor=following),
    ]
    for other in others:
        with pytest.raises(BadRequestError, match="another search"):
            await page_of(store, other)


async def test_a_cursor_of_another_database_is_gone() -> None:
    store = FakeStore([a_row(seq, BASE) for seq in range(1, 5)])
    following = (await page_of(store, Query(SPAN, limit=2))).next
    store.identity = b"another!"

    with pytest.raises(GoneError, match="another database"):
        await page_of(store, Query(SPAN, cursor=following))


async def test_a_cursor_that_is_not_whole_is_refused() -> None:
    store = FakeStore([a_row(seq, BASE) for seq in range(1, 5)])
    following = (await page_of(store, Query(SPAN, limit=2))).next
    assert following is not None

    for broken in (
        "",
        "c1.",
        following[:-1],
        following[:40],
        following + "A",
        "c2" + following[2:],
        following.swapcase(),
        "é",
    ):
        with pytest.raises(BadRequestError, match="not whole"):
            await page_of(store, Query(SPAN, cursor=broken))
