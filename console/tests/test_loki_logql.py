"""LogQL: what is read, and what is refused by name."""

import string

from decimal import Decimal

import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.loki.logql import parse_query, parse_selector
from console.loki.syntax import (
    Asked,
    Compared,
    Constant,
    Counting,
    Either,
    Every,
    Line,
    LineFilter,
    Logs,
    Matcher,
    Op,
    Relation,
)
from console.loki.tokens import duration_us
from shared.wire.problem import BadRequestError

A = Matcher("service_name", Op.EQUAL, "a")
MINUTE = 60_000_000


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ('{service_name="a"}', Logs([A], [])),
        (" { service_name = `a` , } ", Logs([A], [])),
        ("{}", Logs([], [])),
        (r'{service_name="\"\\\n\u00e4\x41\101"}', Logs([Matcher("service_name", Op.EQUAL, '"\\\näAA')], [])),
        (r"{service_name=`\d\`}", Logs([Matcher("service_name", Op.EQUAL, r"\d" + "\\")], [])),
        ('{level!="INFO",region=~"a|b",late!~"t.*"}', Logs([Matcher("level", Op.UNEQUAL, "INFO"), Matcher("region", Op.MATCHES, "a|b"), Matcher("late", Op.DIFFERS, "t.*")], [])),
        ('{service_name="a"} |= "x" != "y" |~ "z" !~ "w"', Logs([A], [LineFilter(Line.HAS, ("x",)), LineFilter(Line.LACKS, ("y",)), LineFilter(Line.MATCHES, ("z",)), LineFilter(Line.DIFFERS, ("w",))])),
        ('{service_name="a"}|="x" or "y"', Logs([A], [LineFilter(Line.HAS, ("x", "y"))])),
        ('{service_name="a"} | json | logfmt | drop __error__, __error_details__ # and so on', Logs([A], [])),
        ('{service_name="a"} | json | status >= 500', Logs([A], [Compared("status", Relation.AT_LEAST, Decimal(500))])),
        ('{service_name="a"} | a="1" and (b!="2" or c=-0.5)', Logs([A], [Every((Matcher("a", Op.EQUAL, "1"), Either((Matcher("b", Op.UNEQUAL, "2"), Compared("c", Relation.EQUAL, Decimal("-0.5"))))))])),
        ('{service_name="a"} | a="1", b=~"2" | c!~"3"', Logs([A], [Every((Matcher("a", Op.EQUAL, "1"), Matcher("b", Op.MATCHES, "2"))), Matcher("c", Op.DIFFERS, "3")])),
        ('count_over_time({service_name="a"}[1m])', Counting(Logs([A], []), MINUTE, a_second=False, by=None)),
        ('count_over_time({service_name="a"} |= "x" [1m])', Counting(Logs([A], [LineFilter(Line.HAS, ("x",))]), MINUTE, a_second=False, by=None)),
        ('rate({service_name="a"}[1h30m] |= "x")', Counting(Logs([A], [LineFilter(Line.HAS, ("x",))]), 90 * MINUTE, a_second=True, by=None)),
        ('sum(rate({service_name="a"}[1m]))', Counting(Logs([A], []), MINUTE, a_second=True, by=())),
        ('sum by (level, detected_level) (count_over_time({service_name="a"} | drop __error__ [1m]))', Counting(Logs([A], []), MINUTE, a_second=False, by=("level", "detected_level"))),
        ('sum(count_over_time({service_name="a"}[1m])) by (region)', Counting(Logs([A], []), MINUTE, a_second=False, by=("region",))),
        ('sum by (level) (sum by (level, region) (count_over_time({service_name="a"}[1m])))', Counting(Logs([A], []), MINUTE, a_second=False, by=("level",))),
        ('sum by (level) (sum by (region) (count_over_time({service_name="a"}[1m])))', Counting(Logs([A], []), MINUTE, a_second=False, by=())),
        ("vector(1)+vector(1)", Constant(2.0, is_vector=True)),
        ("vector(1) + vector(1)", Constant(2.0, is_vector=True)),
        ("2 * (3 + 4) - 1/2", Constant(13.5)),
        ("-vector(2)", Constant(-2.0, is_vector=True)),
    ],
)  # fmt: skip
def test_a_query_is_read(query: str, asked: Asked) -> None:
    assert parse_query(query) == asked


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ('{a="b"} | line_format "{{.x}}"', "line_format"),
        ('{a="b"} | label_format x=y', "label_format"),
        ('{a="b"} | regexp "(?P<x>.)"', "regexp"),
        ('{a="b"} | pattern "<x>"', "pattern"),
        ('{a="b"} | unpack', "unpack"),
        ('{a="b"} | decolorize', "decolorize"),
        ('{a="b"} | json x="y"', "json with arguments"),
        ('{a="b"} | logfmt --strict', "logfmt with arguments"),
        ('{a="b"} | drop level', "drop level"),
        ('{a="b"} | keep level', "keep level"),
        ('{a="b"} |> "<_>"', "|>"),
        ('{a="b"} |= ip("10.0.0.0/8")', "ip"),
        ('{a="b"} | x=ip("10.0.0.0/8")', "anything but a text or a number"),
        ('{a="b"} | d > 10s', "anything but a text or a number"),
        ('topk(3, rate({a="b"}[1m]))', "topk"),
        ('avg(rate({a="b"}[1m]))', "avg"),
        ('bytes_over_time({a="b"}[1m])', "bytes_over_time"),
        ('sum without (level) (rate({a="b"}[1m]))', "without"),
        ('sum_over_time({a="b"} | unwrap x [1m])', "sum_over_time"),
        ('count_over_time({a="b"}[1m] offset 5m)', "offset"),
        ('sum(rate({a="b"}[1m])) / 3', "/ 3"),
        ('sum(rate({a="b"}[1m])) > 3', "> 3"),
        ('1 + sum(rate({a="b"}[1m]))', "calculating with counts"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(query: str, named: str) -> None:
    with pytest.raises(BadRequestError, match="is not supported here") as caught:
        parse_query(query)

    assert named in caught.value.detail


@pytest.mark.parametrize(
    "query",
    [
        "", "a", "{", "}", "{a}", "{a=b}", '{a="b"', '{a="b" c="d"}', '{a=="b"}', '{a="b"} |', '{a="b"} |=', '{a="b"} foo', '{a="b"} | (a="b"',
        '{a="b}', "{a=`b}", r'{a="\q"}', r'{a="\xff"}', r'{a="\ud800"}', 'rate({a="b"})', 'rate({a="b"}[x])', 'rate({a="b"}[0s])', 'rate({a="b"}[1m]',
        'rate({a="b"}[1m][1m])', "1/0", "vector()", "vector(1", "1 2", '{a="b"} | a > "1"', '{a="b"} ' + '|= "x"' * 60, "(" * 100 + "1" + ")" * 100,
        "sum(" * 40 + 'rate({a="b"}[1m])' + ")" * 40, "1e999 * 0" * 2000, "1e999", "1e300*1e300", '{a="b"} | a=1x', '{ä="b"}',
    ],
)  # fmt: skip
def test_what_is_no_query_is_refused_with_its_place(query: str) -> None:
    with pytest.raises(BadRequestError, match=r"the query|a query|the text|not supported"):
        parse_query(query)


PIECES = st.sampled_from(
    [*'{}()[]|,=!~<>+-*/"`#\\ ', "|=", "!=", "=~", "a", "level", "sum", "by", "rate", "count_over_time", "json", "drop", "or", "and", "vector", "1", "5m", '"x"', '{a="b"}']
)  # fmt: skip


@given(st.text(max_size=60) | st.text(string.printable, max_size=60) | st.lists(PIECES, max_size=25).map("".join))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    for parse in (parse_query, parse_selector):
        try:
            parse(text)
        except BadRequestError as exc:
            assert len(exc.detail) < 400  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    ("text", "us"), [("5m", 300_000_000), ("1h30m", 5_400_000_000), ("1.5s", 1_500_000), ("100ms", 100_000), ("7", None), ("5x", None), ("", None)]
)  # fmt: skip
def test_durations(text: str, us: int | None) -> None:
    assert duration_us(text) == us
