"""Loki's API as its clients ask it: pairs of requests and answers, as Grafana and logcli need them."""

import json

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count
from typing import Any

import httpx
import pytest

from console.loki import api, counting, lines
from console.loki.api import loki_router
from console.row import Row
from console.tests.fakes import FakeStore, a_row
from console.tests.test_app import NOW, console
from shared.event.times import epoch_us

NS = epoch_us(NOW) * 1000
SECOND = 10**9
GRAFANA = {"User-Agent": "Grafana/12.2.0"}
CATEGORIZED = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
LABELS = {"service_name": "checkout", "level": "INFO", "region": "region-a", "late": "false"}


def some() -> list[Row]:
    """Five events, a second after the other, the last one a second ago."""
    return [
        a_row(
            seq,
            NOW - timedelta(seconds=6 - seq),
            level="ERROR" if seq == 4 else "INFO",
            service_name="pay" if seq == 5 else "checkout",
            attributes='{"http.status": 500, "k": "v", "n": null}' if seq == 4 else "{}",
            correlation_id=f"trace-{seq}",
        )
        for seq in range(1, 6)
    ]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with console(FakeStore(some())) as found:
        yield found


async def ask(client: httpx.AsyncClient, path: str, headers: dict[str, str] | None = None, **params: Any) -> Any:
    answer = await client.get(f"/loki/api/v1/{path}", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_save_and_test_of_the_data_source(client: httpx.AsyncClient) -> None:
    found = await ask(client, "query", query="vector(1)+vector(1)", time=4 * SECOND * SECOND, direction="backward", limit=1000)  # fmt: skip

    assert found["status"] == "success"
    assert found["data"]["resultType"] == "vector"
    assert found["data"]["result"] == [{"metric": {}, "value": [4 * SECOND, "2"]}]


async def test_lines_newest_first(client: httpx.AsyncClient) -> None:
    found = await ask(client, "query_range", query='{service_name="checkout"}', start=NS - 10 * SECOND, end=NS, limit=3)

    assert found == {
        "status": "success",
        "data": {
            "resultType": "streams",
            "result": [
                {"stream": LABELS | {"level": "ERROR"}, "values": [[str(NS - 2 * SECOND), "line 4"]]},
                {"stream": LABELS, "values": [[str(NS - 3 * SECOND), "line 3"], [str(NS - 4 * SECOND), "line 2"]]},
            ],
            "stats": {},
        },
    }


async def test_lines_with_what_is_known_of_them(client: httpx.AsyncClient) -> None:
    found = await ask(
        client, "query_range", CATEGORIZED, query='{} | http_status="500"', start=NS - 10 * SECOND, end=NS
    )

    assert found["data"]["encodingFlags"] == ["categorize-labels"]
    [[time, line, known]] = found["data"]["result"][0]["values"]
    assert (time, line) == (str(NS - 2 * SECOND), "line 4")
    assert known == {
        "structuredMetadata": {
            "correlation_id": "trace-4", "event_id": "00000000-0000-0000-0000-000000000004", "seq": "4", "http_status": "500", "k": "v",
        },
        "parsed": {},
    }  # fmt: skip


async def test_lines_oldest_first_with_times_of_every_form(client: httpx.AsyncClient) -> None:
    begin = epoch_us(NOW) // 10**6 - 4
    for start, end in (
        (str(begin), str(begin + 2)),
        (f"{begin}.0", f"{begin + 2}.0"),
        (str(begin * SECOND), str((begin + 2) * SECOND)),
        ("2026-11-26T12:14:56Z", "2026-11-26T12:14:58.000000000+00:00"),
        ("2026-11-26T12:14:55.000000001Z", "2026-11-26T12:14:57.000000001Z"),
    ):
        found = await ask(client, "query_range", query="{}", start=start, end=end, direction="FORWARD")
        assert [value[1] for stream in found["data"]["result"] for value in stream["values"]] == ["line 2", "line 3"]


async def test_the_last_hour_is_the_range_of_a_request_without_one(client: httpx.AsyncClient) -> None:
    assert len((await ask(client, "query_range", query="{}"))["data"]["result"]) == 3
    assert len((await ask(client, "query_range", query="{}", since="2500ms"))["data"]["result"]) == 2


async def test_the_histogram_above_the_lines(client: httpx.AsyncClient) -> None:
    found = await ask(
        client,
        "query_range",
        query='sum by (level, detected_level) (count_over_time({service_name=~".+"} | drop __error__[2s]))',
        start=NS - 8 * SECOND,
        end=NS,
        step="2000ms",
    )

    second = epoch_us(NOW) // 10**6
    assert found["data"]["resultType"] == "matrix"
    assert found["data"]["result"] == [
        {"metric": {"level": "ERROR", "detected_level": "error"}, "values": [[second - 2, "1"]]},
        {
            "metric": {"level": "INFO", "detected_level": "info"},
            "values": [[second - 4, "2"], [second - 2, "1"], [second, "1"]],
        },
    ]


async def test_a_number_is_the_same_at_each_step(client: httpx.AsyncClient) -> None:
    found = await ask(client, "query_range", query="vector(1)/2", start=NS - 60 * SECOND, end=NS, step="30")
    scalar = await ask(client, "query", query="1+1", time=NS)

    assert found["data"]["result"] == [
        {"metric": {}, "values": [[NS // SECOND - 60 + at, "0.5"] for at in (0, 30, 60)]}
    ]
    assert (scalar["data"]["resultType"], scalar["data"]["result"]) == ("scalar", [NS // SECOND, "2"])
    assert len((await ask(client, "query_range", query="vector(1)"))["data"]["result"][0]["values"]) == 241


async def test_rates_and_counts_at_one_time(client: httpx.AsyncClient) -> None:
    rate = await ask(client, "query", query='sum(rate({service_name="checkout"}[8s]))', time=NS)
    each = await ask(client, "query", query="count_over_time({}[1h])", time=NS)
    none = await ask(client, "query", query='sum(count_over_time({service_name="x"}[1h]))', time=NS)

    assert rate["data"]["result"] == [{"metric": {}, "value": [NS // SECOND, "0.5"]}]
    assert [(one["metric"]["service_name"], one["metric"]["level"], one["value"][1]) for one in each["data"]["result"]] == [
        ("checkout", "ERROR", "1"), ("checkout", "INFO", "3"), ("pay", "INFO", "1"),
    ]  # fmt: skip
    assert none["data"]["result"] == []


async def test_a_form_is_read_like_the_url(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/loki/api/v1/query_range", data={"query": '{level="error"}', "start": NS - 10 * SECOND, "end": NS}
    )

    assert [stream["values"][0][1] for stream in answer.json()["data"]["result"]] == ["line 4"]


async def test_labels_and_their_values(client: httpx.AsyncClient) -> None:
    assert await ask(client, "labels", start=NS - SECOND, end=NS) == {"status": "success", "data": ["late", "level", "region", "service_name"]}  # fmt: skip
    assert (await ask(client, "label"))["data"] == ["late", "level", "region", "service_name"]
    assert (await ask(client, "label/service_name/values"))["data"] == ["checkout", "pay"]
    assert (await ask(client, "label/region/values"))["data"] == ["region-a"]
    assert (await ask(client, "label/level/values"))["data"] == ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
    assert (await ask(client, "label/late/values"))["data"] == ["false", "true"]
    assert (await ask(client, "label/detected_level/values"))["data"][0] == "trace"
    assert (await ask(client, "label/app/values"))["data"] == []


async def test_series(client: httpx.AsyncClient) -> None:
    params: dict[str, Any] = {
        "match[]": ['{service_name="pay"}', '{level="error"}'],
        "start": NS - 10 * SECOND,
        "end": NS,
    }
    for answer in (
        await client.get("/loki/api/v1/series", params=params),
        await client.post("/loki/api/v1/series", data=params),
    ):
        assert answer.json() == {
            "status": "success",
            "data": [LABELS | {"level": "ERROR"}, LABELS | {"service_name": "pay"}],
        }
    assert len((await ask(client, "series"))["data"]) == 3


async def test_sizes(client: httpx.AsyncClient) -> None:
    within: dict[str, Any] = {"start": NS - 10 * SECOND, "end": NS}
    assert await ask(client, "index/stats", query='{service_name="checkout"}', **within) == {"streams": 2, "chunks": 2, "entries": 4, "bytes": 0}  # fmt: skip
    volume = await ask(client, "index/volume", query='{service_name=~".+"}', limit=1, **within)
    assert volume["data"]["result"] == [{"metric": {"service_name": "checkout"}, "value": [NS // SECOND, "4"]}]
    steps = await ask(client, "index/volume_range", query="{}", targetLabels="level", step="10", **within)
    assert steps["data"]["result"] == [
        {"metric": {"level": "ERROR"}, "values": [[NS // SECOND, "1"]]},
        {"metric": {"level": "INFO"}, "values": [[NS // SECOND, "4"]]},
    ]


async def test_what_newer_versions_of_explore_and_drilldown_ask_for(client: httpx.AsyncClient) -> None:
    within: dict[str, Any] = {"start": NS - 10 * SECOND, "end": NS, "query": "{}"}
    assert (await ask(client, "detected_labels", **within))["detectedLabels"][3] == {"label": "service_name", "cardinality": 2}  # fmt: skip
    fields = {field["label"]: field for field in (await ask(client, "detected_fields", **within))["fields"]}
    assert fields["http_status"] == {"label": "http_status", "type": "int", "cardinality": 1, "parsers": None}
    assert fields["correlation_id"]["cardinality"] == 5
    assert (await ask(client, "detected_field/http_status/values", **within))["values"] == ["500"]
    assert (await ask(client, "detected_field/nothing/values", **within))["values"] == []
    assert (await ask(client, "patterns", **within)) == {"status": "success", "data": []}
    assert (await ask(client, "drilldown-limits"))["limits"]["volume_enabled"] is True
    assert (await ask(client, "status/buildinfo"))["version"] == "3.2.0-compat"
    assert (await ask(client, "format_query", query="{}"))["data"] == "{}"
    assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize(
    ("path", "params", "sentence"),
    [
        ("query_range", {}, "the parameter query is missing"),
        ("query_range", {"query": "{"}, "cannot be read at character 2"),
        ("query_range", {"query": '{app="x"}'}, "'app' is no label here"),
        ("query_range", {"query": '{} | line_format "x"'}, "is not supported here"),
        ("query_range", {"query": "{}", "start": "2", "end": "1"}, "start must be before end"),
        ("query_range", {"query": "vector(1)", "start": "2", "end": "1"}, "start must not be after end"),
        ("query_range", {"query": "{}", "limit": "5001"}, "limit must be a number from 1 to 5000"),
        ("query_range", {"query": "{}", "limit": "0"}, "limit must be a number from 1 to 5000"),
        ("query_range", {"query": "{}", "direction": "up"}, "direction must be forward or backward"),
        ("query_range", {"query": "{}", "start": "yesterday"}, "start='yesterday' must be RFC 3339"),
        ("query_range", {"query": "{}", "interval": "5m"}, "interval is not supported here"),
        ("query_range", {"query": "rate({}[5m])", "step": "x"}, "step must be seconds, or a duration"),
        ("query_range", {"query": "rate({}[5m])", "step": "0"}, "step must be seconds, or a duration"),
        ("query_range", {"query": "rate({}[5m])", "start": "1", "end": "99999", "step": "1"}, "write a longer step"),
        ("query_range", {"query": "sum by (app) (rate({}[5m]))"}, "counting by 'app' is not supported here"),
        ("query", {"query": "{}"}, "ask query_range for them"),
        ("series", {"match[]": "x"}, "cannot be read"),
        ("index/volume", {"query": "{}", "targetLabels": "app"}, "counting by 'app' is not supported here"),
        ("detected_fields", {"query": "{"}, "cannot be read"),
        ("format_query", {"query": "{"}, "cannot be read"),
    ],
)
async def test_an_error_is_a_sentence_that_grafana_shows(
    client: httpx.AsyncClient, path: str, params: dict[str, str], sentence: str
) -> None:
    answer = await client.get(f"/loki/api/v1/{path}", params=params)

    assert answer.status_code == 400
    assert sentence in answer.json()["message"]
    assert answer.json()["message"] == answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/loki/api/v1/tail?query={}", 501, "./setup.sh tail"),
        ("POST", "/loki/api/v1/push", 501, "the gateway takes"),
        ("GET", "/loki/api/v1/rules", 501, "there are no rules"),
        ("POST", "/loki/api/v1/delete", 501, "not deleted by request"),
        ("GET", "/loki/api/v1/nothing", 404, "is not supported here"),
        ("GET", "/api/prom/query", 404, "is not supported here"),
        ("GET", "/api/prom/rules", 501, "there are no rules"),
    ],
)
async def test_what_there_is_not_is_refused_with_a_sentence(
    client: httpx.AsyncClient, method: str, path: str, status: int, sentence: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == status
    assert sentence in answer.json()["message"]


async def test_a_request_with_a_bad_encoding_is_a_sentence_too(client: httpx.AsyncClient) -> None:
    answer = await client.get("/loki/api/v1/query_range?query=%ff")
    large = await client.post("/loki/api/v1/query_range", content=b"query=" + b"x" * 100_000)

    assert (answer.status_code, large.status_code) == (400, 400)
    assert "UTF-8" in answer.json()["message"]
    assert "64 KiB" in large.json()["message"]


async def test_when_the_time_is_over_grafana_gets_lines_with_a_warning_and_others_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FakeStore([a_row(seq, NOW - timedelta(seconds=seq)) for seq in range(1, 4)])
    params: dict[str, Any] = {"query": "{}", "start": NS - 86_400 * SECOND, "end": NS}
    ticks = count()

    async def in_a_hurry(*args: Any) -> lines.Lines:
        return await lines.find_lines(*args, clock=lambda: float(next(ticks)), budget_s=4)

    monkeypatch.setattr(api, "find_lines", in_a_hurry)
    async with console(store) as client:
        shown = await client.get("/loki/api/v1/query_range", params=params, headers=GRAFANA)
        refused = await client.get("/loki/api/v1/query_range", params=params)

    assert shown.status_code == 200
    assert len(shown.json()["data"]["result"][0]["values"]) == 3
    assert "ask for less of it at once" in shown.json()["warnings"][0]
    assert refused.status_code == 504
    assert "ask for less of it at once" in refused.json()["message"]


async def test_what_could_not_be_listed_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()

    async def in_a_hurry(*args: Any, budget_s: float, in_part: bool) -> counting.Counted:
        assert budget_s <= 2
        return await counting.count_lines(*args, clock=lambda: float(next(ticks)), budget_s=4, in_part=in_part)

    monkeypatch.setattr(api, "count_lines", in_a_hurry)
    within: dict[str, Any] = {"start": NS - 86_400 * SECOND, "end": NS}
    async with console(FakeStore(some())) as client:
        series = await ask(client, "series", **within)
        volume = await ask(client, "index/volume", **within)

    assert len(series["data"]) == 3
    assert volume["data"]["result"][0]["value"][1] == "4"
    assert "counted up to" in series["warnings"][0]
    assert "counted up to" in volume["warnings"][0]


async def test_while_postgres_is_away_the_error_says_so() -> None:
    store = FakeStore(some(), away="PostgreSQL does not answer")
    async with console(store) as client:
        answer = await client.get("/loki/api/v1/query_range", params={"query": "{}"})

    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert json.loads(answer.content)["message"] == "PostgreSQL does not answer"


def test_each_route_is_one_of_lokis() -> None:
    paths = {route.path for route in loki_router().routes}  # type: ignore[attr-defined]

    assert all(path.startswith(("/loki/", "/api/prom/")) for path in paths)
