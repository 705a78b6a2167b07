"""
What users of other receivers reported, and what the gateway does there.

Each case names the report that it comes from. In each of them a client that is spread widely lost records, stopped, or tried
for ever, because a receiver took less than the one that the client was made for.
"""

import gzip
import json
import re
import zlib

from typing import Any, Final

import cramjam
import httpx
import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols import otlp_json_names
from gateway.tests.fleet import gateway, producers
from gateway.tests.front_door import Line, otlp_json, otlp_protobuf
from shared.ingest.turns import at_once

NS: Final = 1795703906_123456789
PUSH: Final = json.dumps({"streams": [{"stream": {"app": "a"}, "values": [[str(NS), "hello"]]}]}).encode()
BULK: Final = b'{"create":{"_index":"logs"}}\n{"message":"hello","@timestamp":"2026-11-26T14:38:26Z"}\n'
HEC: Final = b'{"event":"hello","time":1795703906.123456,"source":"a"}'
LINES: Final = b'{"msg":"hello","time":1795703906123}\n'
OTLP: Final = otlp_protobuf([Line("hello")])
OTLP_JSON: Final = otlp_json([Line("hello")])
LOKI: Final = "/loki/api/v1/push"
JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"


def in_snake_case(body: bytes) -> bytes:
    """Write JSON's names with underscores."""
    return re.sub(
        rb'"[a-z]+([A-Z][a-z]+)+":', lambda name: re.sub(rb"[A-Z]", lambda c: b"_" + c[0].lower(), name[0]), body
    )


# The report, the request's path, body and headers. Each brings one record.
TAKEN: Final[dict[str, tuple[str, bytes, dict[str, str]]]] = {
    # A content type with parameters.
    "grafana/loki#4442": (LOKI, PUSH, {"Content-Type": "application/json; charset=utf-8"}),
    "grafana/loki#2329": (LOKI, PUSH, {"Content-Type": 'Application/JSON;charset="UTF-8"'}),
    "opentelemetry-collector-contrib#41192": (
        "/v1/logs",
        OTLP_JSON,
        {"Content-Type": "application/json; charset=utf-8"},
    ),
    "a charset without a name": ("/v1/logs", OTLP_JSON, {"Content-Type": "application/json; charset="}),
    # One that says less, or something else, than what is sent. Curl's own, for one.
    "JSON by hand": (LOKI, PUSH, {"Content-Type": "application/x-www-form-urlencoded"}),
    "JSON without a type": (LOKI, b"{\n" + PUSH[1:], {}),
    "JSON without a type, gzip": (LOKI, gzip.compress(PUSH), {"Content-Encoding": "gzip"}),
    "JSON in snappy": (LOKI, bytes(cramjam.snappy.compress_raw(PUSH)), {"Content-Encoding": "snappy"}),
    "hrxi/tracing-loki#43": (LOKI, bytes(cramjam.snappy.compress_raw(PUSH)), {"Content-Type": "application/x-snappy"}),
    "loki4j#29": (LOKI, gzip.compress(PUSH), {"Content-Type": JSON, "Content-Encoding": "gzip"}),
    "vector#26456": ("/v1/logs", OTLP_JSON, {"Content-Type": JSON}),
    "Elastic-Api-Version": ("/_bulk", BULK, {"Content-Type": JSON, "Elastic-Api-Version": "2023-10-31"}),
    # Codings.
    "quickwit#5223, gzip": ("/v1/logs", gzip.compress(OTLP), {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}),
    "quickwit#5223, zstd": (
        "/v1/logs",
        bytes(cramjam.zstd.compress(OTLP)),
        {"Content-Type": PROTOBUF, "Content-Encoding": "zstd"},
    ),
    "openobserve#14779": (
        "/v1/logs",
        bytes(cramjam.snappy.compress_raw(OTLP)),
        {"Content-Type": PROTOBUF, "Content-Encoding": "snappy"},
    ),
    "tower-http#354, two members": (
        "/v1/logs",
        gzip.compress(OTLP[:10]) + gzip.compress(OTLP[10:]),
        {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
    ),
    "x-gzip": ("/_bulk", gzip.compress(BULK), {"Content-Type": JSON, "Content-Encoding": "X-GZIP"}),
    "no coding, said aloud": ("/_bulk", BULK, {"Content-Type": JSON, "Content-Encoding": "identity"}),
    "the collector's zlib": (
        "/v1/logs",
        zlib.compress(OTLP),
        {"Content-Type": PROTOBUF, "Content-Encoding": "zlib"},
    ),
    "the collector's lz4, two frames": (
        "/v1/logs",
        bytes(cramjam.lz4.compress(OTLP[:10])) + bytes(cramjam.lz4.compress(OTLP[10:])),
        {"Content-Type": PROTOBUF, "Content-Encoding": "lz4"},
    ),
    "a setting's word for no coding": ("/v1/logs", OTLP, {"Content-Type": PROTOBUF, "Content-Encoding": "none"}),
    # Names as the protocol's definition writes them, which the collector takes as well.
    "opentelemetry-proto's names": ("/v1/logs", in_snake_case(OTLP_JSON), {"Content-Type": JSON}),
    # Tenants.
    "fluent-bit#6207": (LOKI, PUSH, {"Content-Type": JSON, "X-Scope-OrgID": ""}),
    "several tenants": (LOKI, PUSH, {"Content-Type": JSON, "X-Scope-OrgID": "a|b"}),
    # Splunk.
    "vector#22653": ("/services/collector/raw", b"hello", {}),
    "a token in the query": ("/services/collector/event?token=t", HEC, {"Content-Type": "text/plain"}),
    # Paths that a client put together from what its user wrote.
    "two slashes, OTLP": ("//v1/logs", OTLP, {"Content-Type": PROTOBUF}),
    "a slash at the end, OTLP": ("/v1/logs/", OTLP, {"Content-Type": PROTOBUF}),
    "a slash at the end, OTLP by Loki's path": ("/otlp/v1/logs/", OTLP, {"Content-Type": PROTOBUF}),
    "two slashes, Loki": ("//loki/api/v1/push", PUSH, {"Content-Type": JSON}),
    "a slash at the end, Loki": (f"{LOKI}/", PUSH, {"Content-Type": JSON}),
    "openobserve#1013": ("/elastic//_bulk", BULK, {"Content-Type": JSON}),
    "two slashes, an index": ("//logs//_bulk//", BULK, {"Content-Type": JSON}),
    "Fluent Bit with parameters": ("/logs/_bulk/?filter_path=errors", BULK, {"Content-Type": JSON}),
    "a slash at the end, HEC": ("/services/collector/event/1.0/", HEC, {}),
    "a slash before parameters, HEC": ("/services/collector/?channel=c", HEC, {}),
    "a slash at the end, ingest": ("/ingest/", LINES, {"Content-Type": JSON}),
    # Bulk bodies.
    "lines of Windows": ("/_bulk", BULK.replace(b"\n", b"\r\n"), {"Content-Type": JSON}),
    "old fields of an action": (
        "/_bulk",
        b'{"index":{"_index":"a","_type":"_doc","_id":null,"pipeline":null}}\n{"message":"hello"}\n',
        {"Content-Type": JSON},
    ),
    "an id that is a number": (
        "/_bulk",
        b'{"index":{"_index":"a","_id":5.5}}\n{"message":"hello"}',
        {"Content-Type": JSON},
    ),
}

# What agents ask before they send, in the order in which they do.
ASKED: Final[dict[str, list[str]]] = {
    "logstash-output-elasticsearch#1191": [
        "HEAD /",
        "GET /",
        "GET /_license",
        "HEAD /_index_template/ecs-logstash",
        "PUT /_index_template/ecs-logstash",
        "HEAD /ecs-logstash",
        "PUT /%3Cecs-logstash-%7Bnow%2Fd%7D-000001%3E",
        "GET /_ilm/policy/logstash-policy",
        "PUT /_ilm/policy/logstash-policy",
        "GET /_nodes/http",
    ],
    "rsyslog#1546": ["HEAD /_cat/health", "GET /_cat/health"],
    "openobserve#3427": [
        "GET /",
        "GET /_license?human=false",
        "GET /_xpack?human=false",
        "GET /_cat/templates/auditbeat-8.16.0",
        "HEAD /_index_template/auditbeat-8.16.0",
        "PUT /_ilm/policy/auditbeat",
        "PUT /_data_stream/auditbeat-8.16.0",
    ],
    "beats#36649": ["PUT /_data_stream/filebeat-8.11.0/_lifecycle", "GET /_ingest/pipeline/filebeat-8.11.0-nginx"],
    "openobserve#4513": ["GET /_cluster/health"],
    "a slash too many": ["GET //", "GET //_license", "HEAD /_cat/health/"],
}


async def send(client: httpx.AsyncClient, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    # As it is written: a client would mend its slashes.
    url = httpx.URL(client.base_url, raw_path=path.encode())
    return await client.send(httpx.Request("POST", url, content=body, headers=headers))


@pytest.mark.parametrize("report", TAKEN)
async def test_a_record_that_another_receiver_did_not_take_is_taken_here(report: str) -> None:
    regions = producers()
    async with gateway(regions) as client:
        answer = await send(client, *TAKEN[report])

    assert answer.status_code in (200, 204), answer.text
    assert [event.message for event in regions["region-a"].written] == ["hello"]


@given(st.sampled_from([b'{"', b"{\t", b"{\r", b"{\n", b"{}"]), st.binary(max_size=200))
def test_no_block_of_snappy_begins_as_json_does(begin: bytes, rest: bytes) -> None:
    with pytest.raises(cramjam.DecompressionError):
        cramjam.snappy.decompress_raw(begin + rest)


@pytest.mark.parametrize("prefix", ["", "/elastic"])
@pytest.mark.parametrize("report", ASKED)
async def test_what_agents_ask_before_they_send_is_answered(report: str, prefix: str) -> None:
    async with gateway(producers()) as client:
        for asked in ASKED[report]:
            method, path = asked.split()
            url = httpx.URL(client.base_url, raw_path=f"{prefix}{path}".encode())
            answer = await client.send(httpx.Request(method, url))
            assert answer.status_code == 200, asked
            # fluent-bit#8556: clients look for it in every answer of success.
            assert answer.headers["x-elastic-product"] == "Elasticsearch", asked


async def test_a_server_that_is_no_elasticsearch_tells_its_version_as_one() -> None:
    """logstash-output-elasticsearch#954 and #1026: without these the agent does not start, and does not say why."""
    async with gateway(producers()) as client:
        said = (await client.get("/")).json()

    assert [int(part) for part in said["version"]["number"].split(".")] >= [8, 0, 0]
    assert (said["version"]["build_flavor"], said["tagline"]) == ("default", "You Know, for Search")


@pytest.mark.parametrize("path", ["/_search", "/_monitoring/bulk", "/_cluster/settings", "/_nothing/at/all"])
async def test_what_is_not_answered_is_refused_as_elasticsearch_does(path: str) -> None:
    async with gateway(producers()) as client:
        answer = await client.post(path, json={})

    assert (answer.status_code, answer.json()["status"]) == (404, 404)
    assert answer.headers["x-elastic-product"] == "Elasticsearch"


async def test_json_of_another_kind_is_never_taken_in_silence() -> None:
    """opentelemetry-collector#10546 and #7351: 200, and nothing stored."""
    async with gateway(producers()) as client:
        answer = await send(client, "/v1/logs", b'{"timestamp":1581385157.1,"body":"x"}', {"Content-Type": JSON})
        not_said = await send(client, LOKI, b'{"timestamp":1581385157.1}', {"Content-Type": JSON})

    assert answer.json()["partialSuccess"]["errorMessage"]
    assert (not_said.status_code, not_said.headers["content-type"]) == (400, "text/plain; charset=utf-8")


@pytest.mark.parametrize(("body", "status"), [(OTLP_JSON, 200), (b"{", 400), (b"\xff", 400)])
async def test_json_is_answered_in_json(body: bytes, status: int) -> None:
    """openobserve#14293: Protocol Buffers under JSON's name. agentevals#171: 500 for what cannot be read."""
    async with gateway(producers()) as client:
        answer = await send(client, "/v1/logs", body, {"Content-Type": "application/json; charset=utf-8"})

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    said: dict[str, Any] = answer.json()
    assert said == {} or said["message"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Splunk wrong"}, {"Authorization": "Basic eDp5"}])
async def test_health_is_told_whatever_the_token_is(headers: dict[str, str]) -> None:
    """vector#12098 and opentelemetry-collector-contrib#15367."""
    async with gateway(producers()) as client:
        for path in ("/services/collector/health", "/services/collector/health/1.0", "/services/collector/health/"):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (200, 17)


@given(text=st.text(), number=st.integers(0, 3), padding=st.integers(0, 200_000))
def test_names_of_the_definition_are_read_as_those_of_the_specification(text: str, number: int, padding: int) -> None:
    """What is a text stays as it is, whatever it says, and wherever a step of the reading ends."""
    said = [text, '"resource_logs":', '"resource_logs" :\\', "time_unix_nano"][number] + "x" * padding
    body = otlp_json([Line(said)])

    named = in_snake_case(body)
    assert otlp_json_names.are_of_the_definition(named)
    assert not otlp_json_names.are_of_the_definition(body)
    assert json.loads(at_once(otlp_json_names.as_asked_for(named))) == json.loads(body)
