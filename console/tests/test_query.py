"""Parameters of a request: what they mean, and what is refused."""

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from console.cursor import Cursor, read_cursor
from console.filter import Attribute, Filter
from console.parameters import MAX_PARAMETERS, Parameters, split_query
from console.query import FILTERS, RANGE, SEARCH, By, Order, Query, parse_filter, parse_moment, parse_search
from shared.event.times import LAST_TIME, epoch_us, format_time, from_epoch_us
from shared.wire.problem import BadRequestError

NOW = epoch_us(datetime(2026, 11, 26, 12, tzinfo=UTC))


def read(query: str) -> Query:
    return parse_search(split_query(query.encode()), NOW)


def filtered(query: str) -> Filter:
    return parse_filter(Parameters(split_query(query.encode()), FILTERS, attributes=True))


def test_without_parameters_it_is_the_last_quarter_of_an_hour() -> None:
    query = read("")

    assert (query.span.begin, query.span.end) == (NOW - 15 * 60 * 1_000_000, NOW)
    assert (query.order, query.by, query.limit, query.cursor, query.full) == (Order.DESC, By.TIME, 100, None, False)
    assert query.filter == Filter()


@pytest.mark.parametrize(
    ("written", "seconds"), [("now", 0), ("-90s", 90), ("-15m", 900), ("-2h", 7200), ("-3d", 259_200), ("-1w", 604_800)]
)
def test_relative_times(written: str, seconds: int) -> None:
    assert parse_moment("from", written, NOW) == NOW - seconds * 1_000_000


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-26T12:00:00Z",
        "2026-11-26T13:00:00+01:00",
        "2026-11-26T13:00:00 01:00",
        "2026-11-26 12:00Z",
        "1795694400000",
    ],
)
def test_absolute_times_also_with_a_plus_that_was_not_encoded(written: str) -> None:
    assert parse_moment("to", written, NOW) == NOW


@given(st.integers(0, epoch_us(LAST_TIME)))
def test_each_time_that_is_shown_can_be_given(us: int) -> None:
    assert parse_moment("from", format_time(from_epoch_us(us)), NOW) == us


@pytest.mark.parametrize(
    "written", ["", "-", "-1", "-1y", "1h", "-٣m", "now()", "2026-11-26T12:00:00", "5", "-99999999999m"]
)
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(BadRequestError, match="write now, -15m"):
        parse_moment("from", written, NOW)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("service=b&service=a&service=a", Filter(services=("a", "b"))),
        ("service=pay*&service=x", Filter(services=("x",), service_prefixes=("pay",))),
        ("service=*&service=x", Filter()),
        ("level=warning", Filter(levels=("WARN", "ERROR", "FATAL"))),
        ("level=trace", Filter()),
        ("levels=err,%20Debug,", Filter(levels=("DEBUG", "ERROR"))),
        ("late=true&lateReason=mirror", Filter(late=True, late_reason="mirror")),
        ("late=false", Filter(late=False)),
        ("text=a+b&text=%25_&-text=c", Filter(contains=("%_", "a b"), lacks=("c",))),
        ("attr.n=1&attr.s=%221%22&attr.t=x&attr.there", Filter(attributes=(
            Attribute("n", "1"), Attribute("s", '"1"'), Attribute("t", '"x"'), Attribute("there")))),
        ("attr.a.b=%7B%7D&attr.q=a%22b", Filter(attributes=(Attribute("a.b", '"{}"'), Attribute("q", '"a\\"b"')))),
        ("service=&level=&text=", Filter()),
    ],
)  # fmt: skip
def test_filters(query: str, wanted: Filter) -> None:
    assert filtered(query) == wanted


@pytest.mark.parametrize("name", ["servce", "Service", "from ", "attr.", "tenant", "offset"])
def test_a_parameter_that_is_not_known_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadRequestError, match=repr(name)):
        Parameters([(name, "x")], SEARCH, attributes=True)


def test_many_parameters_are_refused() -> None:
    with pytest.raises(BadRequestError, match=f"{MAX_PARAMETERS} parameters"):
        Parameters([("service", str(number)) for number in range(MAX_PARAMETERS + 1)], SEARCH)


@given(st.binary(max_size=200))
@example(b"a=%ff")
@example(b"text=%ed%a0%80")
@example(b"text=%f0%9f%98%80&&=&x")
def test_no_bytes_of_a_url_make_a_fault(raw: bytes) -> None:
    query = read_or_refused(raw)

    assert isinstance(query, str) or query.span.begin < query.span.end


def read_or_refused(raw: bytes) -> Query | str:
    try:
        return parse_search(split_query(raw), NOW)
    except BadRequestError as exc:
        return exc.detail


@given(
    st.dictionaries(
        st.sampled_from([*SEARCH, "attr.n", "attr.x y"]),
        st.text(max_size=20) | st.sampled_from(["true", "1", "-1d", "ERROR", "stored", "asc"]),
    )
)
def test_no_value_of_a_parameter_makes_a_fault(values: dict[str, str]) -> None:
    assert read_or_refused(urlencode(values).encode())


def test_searches_that_differ_have_fingerprints_that_differ() -> None:
    queries = [
        "", "from=-1d", "to=2026-11-26T12:00:00Z", "order=asc", "by=stored", "service=a", "service=a*", "text=a", "-text=a", "level=warn",
        "levels=warn", "attr.n=1", "attr.n=%221%22", "attr.n", "late=true", "late=false", "region=a", "storedBy=a", "correlationId=a",
        "lateReason=a", "text=a&text=b", "text=b",
    ]  # fmt: skip
    alike = ["limit=7", "full=true", "service=", "from=-15m&to=now"]

    assert len({read(query).fingerprint for query in queries}) == len(queries)
    assert {read(query).fingerprint for query in alike} == {read("").fingerprint}
    assert {*RANGE} < {*SEARCH}


@given(
    st.builds(
        Cursor,
        st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8),
        *[st.integers(0, 2**62)] * 4, st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), st.booleans(),
        st.integers(0, 62).map(lambda power: 1 << power),
    )
)  # fmt: skip
def test_a_cursor_is_read_as_it_was_written_and_no_other_text_is_one(cursor: Cursor) -> None:
    text = cursor.write()

    assert read_cursor(text) == cursor
    for place in range(0, len(text), 7):
        other = "B" if text[place] != "B" else "C"
        with pytest.raises(BadRequestError):
            read_cursor(text[:place] + other + text[place + 1 :])
