"""What a query in LogQL wants: the same as the parameters of a search that say the same."""

import json
import re

from typing import Any

import pytest

from hypothesis import given

from console.loki.fields import metadata_of, name_of
from console.loki.logql import parse_selector
from console.loki.wanted import filter_of
from console.parameters import Parameters
from console.query import FILTERS, parse_filter
from console.row import Row
from console.tests.fakes import a_row
from console.tests.loki_rows import MATCHERS, QUERIES, STAGES, Said, parameters, rows
from shared.wire.problem import BadRequestError


def wanted_by(query: str, found: list[Row]) -> list[int]:
    wanted = filter_of(parse_selector(query))
    return [row.seq for row in found if wanted.matches(row)]


@given(MATCHERS, STAGES, rows())
def test_logql_wants_what_the_same_parameters_want(matchers: list[Said], stages: list[Said], found: list[Row]) -> None:
    query = "{" + ",".join(said[1] for said in matchers) + "} " + " ".join(said[1] for said in stages)
    searched = parse_filter(Parameters(parameters([*matchers, *stages]), FILTERS, attributes=True))
    wanted = filter_of(parse_selector(query))

    assert [row.seq for row in found if wanted.matches(row)] == [row.seq for row in found if searched.matches(row)]
    # And by the same conditions, so by the same indexes; attributes are texts here and JSON there.
    for name in ("services", "service_prefixes", "levels", "correlation_id", "region", "late", "late_reason", "stored_by", "contains", "lacks"):  # fmt: skip
        assert getattr(wanted, name) == getattr(searched, name)


@given(QUERIES, rows())
def test_a_query_with_its_negation_wants_each_row_once(query: str, found: list[Row]) -> None:
    wanted = filter_of(parse_selector(query))

    assert wanted.fingerprint == filter_of(parse_selector(query)).fingerprint
    kept = [row for row in found if wanted.matches(row)]
    assert [row for row in kept if not wanted.matches(row)] == []


@pytest.mark.parametrize(
    ("query", "row", "is_wanted"),
    [
        ('{level="error"}', {"level": "ERROR"}, True),
        ('{level="critical"}', {"level": "FATAL"}, True),
        ('{level="nonsense"}', {"level": "FATAL"}, False),
        ('{level!="nonsense"}', {"level": "FATAL"}, True),
        ('{level=~"err.*|warn"}', {"level": "WARN"}, True),
        ('{level=~"ERR.*"}', {"level": "WARN"}, False),
        ('{level=~"warning|critical"}', {"level": "FATAL"}, True),
        ('{level=~"warning|critical"}', {"level": "ERROR"}, False),
        ('{level!~"err.*"}', {"level": "ERROR"}, False),
        ('{} | detected_level="info"', {"level": "INFO"}, True),
        ('{late="yes"}', {}, False),
        ('{late!="true"}', {}, True),
        ('{region=""}', {}, False),
        ('{service_name="a",service_name!="a"}', {"service_name": "a"}, False),
        ('{service_name=~"a.*",service_name="ab"}', {"service_name": "ab"}, True),
        ('{service_name=~"a.*",service_name="ab"}', {"service_name": "ac"}, False),
        ('{} |= "Line"', {"message": "line"}, False),
        ('{} |= "line" or "x"', {"message": "x"}, True),
        ('{} != "line" or "x"', {"message": "x"}, False),
        ('{} != "line" or "x"', {"message": "y"}, True),
        ('{} |= ""', {"message": ""}, True),
        ('{} != ""', {"message": "x"}, False),
        ('{} |~ "a.b"', {"message": "a\nb"}, False),
        ('{} | k="v"', {"attributes": '{"k": "v"}'}, True),
        ('{} | k!="v"', {"attributes": "{}"}, True),
        ('{} | k=""', {"attributes": "{}"}, True),
        ('{} | k=""', {"attributes": '{"k": null}'}, True),
        ('{} | k="true"', {"attributes": '{"k": true}'}, True),
        ('{} | k="500"', {"attributes": '{"k": 500}'}, True),
        ("{} | k>=500", {"attributes": '{"k": 500}'}, True),
        ("{} | k>=500", {"attributes": '{"k": "500.5"}'}, True),
        ("{} | k<500", {"attributes": "{}"}, False),
        ("{} | k!=500", {"attributes": "{}"}, False),
        ('{} | http_status="200"', {"attributes": '{"http.status": 200}'}, True),
        ('{} | http_status="200"', {"attributes": '{"http.status": 200, "http_status": 1}'}, False),
        ('{} | http_status="1"', {"attributes": '{"http.status": 200, "http_status": 1}'}, True),
        ('{} | seq_extracted="x"', {"attributes": '{"seq": "x"}'}, True),
        ('{} | seq="x"', {"attributes": '{"seq": "x"}'}, False),
        ('{} | __error__=""', {}, True),
        ('{} | __error__!=""', {}, False),
        ('{} | event_id="00000000-0000-0000-0000-000000000001"', {}, True),
    ],
)
def test_what_is_wanted(query: str, row: dict[str, Any], is_wanted: bool) -> None:  # noqa: FBT001 - a case
    assert wanted_by(query, [a_row(1, **row)]) == ([1] if is_wanted else [])


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ('{app="x"}', "'app' is no label here"),
        ('{correlation_id="x"}', "behind the braces"),
        ('{service_name=~"("}', "regular expression"),
        ('{} |~ "("', "regular expression"),
        ('{} | k=~"("', "regular expression"),
        ('{} |= "\\u0000"', "U+0000"),
        ('{service_name="\\u0000"}', "U+0000"),
        ('{level="\\u0000"}', "U+0000"),
    ],
)
def test_what_cannot_be_wanted_is_refused(query: str, named: str) -> None:
    with pytest.raises(BadRequestError, match=re.escape(named)):
        filter_of(parse_selector(query))


@given(rows(1))
def test_what_is_shown_of_a_line_can_be_filtered_by(found: list[Row]) -> None:
    for row in found:
        shown, attributes = metadata_of(row), json.loads(row.attributes)
        for name in {"correlation_id", "event_id", "seq", *map(name_of, attributes)} & shown.keys():
            assert wanted_by(f"{{}} | {name}={json.dumps(shown[name])}", [row]) == [row.seq]
        assert shown["seq"] == str(row.seq)
        assert len(shown) >= 2 + len([value for value in attributes.values() if value is not None])


def test_no_attribute_is_kept_from_view_by_another_of_the_same_name() -> None:
    row = a_row(1, attributes='{"a.b": 1, "a-b": "x", "a_b": true, "level": "mine"}')

    assert metadata_of(row) == {
        "correlation_id": "trace-1", "event_id": str(row.event_id), "seq": "1", "a.b": "1", "a-b": "x", "a_b": "true", "level_extracted": "mine",
    }  # fmt: skip
