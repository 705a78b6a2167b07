"""Which region an event was meant for: what a gateway writes a producer reads, and nothing else is believed."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.wire.wanted import MAX_HEADER_CHARS, RECORD_HEADER, of_record, read, stretches, write

regions = st.sampled_from(["region-a", "region-b", "c"])
runs = st.lists(st.tuples(st.integers(1, 60), st.none() | regions), max_size=12)


@given(runs)
def test_each_event_arrives_with_the_region_that_it_was_meant_for(sent: list[tuple[int, str | None]]) -> None:
    expected = [None if region is None else region.encode() for count, region in sent for _ in range(count)]

    header = write(stretches(sent))

    assert (read(header, len(expected)) if header else [None] * len(expected)) == expected


def test_runs_of_one_region_are_written_as_one() -> None:
    assert write(stretches([(2, None), (1, "b"), (3, "b"), (1, None), (1, "a"), (1, "b")])) == "b=2-5,8;a=7"
    assert write(stretches([(5, None)])) == ""


@given(runs, st.integers(1, 1500))
def test_what_does_not_fit_is_left_out_and_the_rest_is_right(some: list[tuple[int, str | None]], times: int) -> None:
    sent = some * times
    expected = [None if region is None else region.encode() for count, region in sent for _ in range(count)]

    header = write(stretches(sent))

    assert len(header) <= MAX_HEADER_CHARS
    if header:
        arrived = read(header, len(expected))
        assert arrived is not None
        assert all(said in (None, meant) for said, meant in zip(arrived, expected, strict=True))


@pytest.mark.parametrize(
    "header",
    ["", "a", "a=", "a=1-", "a=-1", "a=3-2", "a=0-10", "a=10", "A=1", "a=1;;b=2", "a=1,", "a=\u0661", "=1", "a=1;b",
     "a=9999999", "x" * MAX_HEADER_CHARS + "=1"],
)  # fmt: skip
def test_anything_else_is_left_out(header: str) -> None:
    assert read(header, 10) is None


@given(st.text(max_size=50), st.integers(0, 50))
def test_text_from_anywhere_is_read_or_left_out(header: str, events: int) -> None:
    wanted = read(header, events)

    assert wanted is None or len(wanted) == events


def test_a_record_says_it_in_a_header() -> None:
    assert of_record([("other", b"x"), (RECORD_HEADER, b"region-a")]) == "region-a"
    assert of_record([(RECORD_HEADER, None)]) is None
    assert of_record([(RECORD_HEADER, b"\xff")]) is None
    assert of_record([]) is None
