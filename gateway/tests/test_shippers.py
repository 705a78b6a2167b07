"""Loki's, Elasticsearch's, Splunk's and anything's JSON through the gateway: statuses, forms and content types that clients act on."""

import gzip
import json
import re

from typing import Any

import cramjam
import httpx
import pytest

from gateway.tests.fleet import AWAY, gateway, metric, producers
from gateway.tests.test_loki_read import entry, push
from shared.event.outcome import Accepted

NS = 1795703906_123456789
LOKI = "/loki/api/v1/push"
PROTOBUF = push((b'{app="a"}', [entry(NS, b"hello")]))
SNAPPY = bytes(cramjam.snappy.compress_raw(PROTOBUF))
LOKI_JSON = json.dumps({"streams": [{"stream": {"app": "a"}, "values": [[str(NS), "hello"]]}]}).encode()
BULK = b'{"create":{"_index":"logs"}}\n{"message":"hello","@timestamp":"2026-11-26T14:38:26Z"}\n'
LINES = b'{"msg":"hello","time":1795703906123}\n'
HEC = b'{"event":"hello","time":1795703906.123456,"source":"a"}'
COLLECTOR = "/services/collector"
REQUESTS: dict[str, tuple[str, bytes, str]] = {
    "loki-json": (LOKI, LOKI_JSON, "application/json"),
    "loki-protobuf": (LOKI, SNAPPY, "application/x-protobuf"),
    "bulk": ("/_bulk", BULK, "application/x-ndjson"),
    "bulk-in-index": ("/logs/_bulk", BULK, "application/vnd.elasticsearch+x-ndjson; compatible-with=9"),
    "bulk-under-elastic": ("/elastic/_bulk", BULK, "application/json; charset=utf-8"),
    "bulk-with-a-slash": ("/logs/_bulk/?filter_path=errors", BULK, "application/x-ndjson"),
    "loki-first-version": ("/api/prom/push", LOKI_JSON, "application/json"),
    "ingest": ("/ingest", LINES, "application/x-ndjson"),
    "hec": (COLLECTOR, HEC, ""),
    "hec-event": (f"{COLLECTOR}/event?token=t", HEC, "application/x-www-form-urlencoded"),
    "hec-event-1": (f"{COLLECTOR}/event/1.0", HEC, "application/json"),
    "hec-raw": (f"{COLLECTOR}/raw?source=a", b"hello", "text/plain"),
    "hec-raw-1": (f"{COLLECTOR}/raw/1.0", b"hello\n", ""),
}
FORMS = {
    LOKI: "text/plain; charset=utf-8",
    "/_bulk": "application/json",
    "/elastic/logs/_bulk": "application/json",
    "/ingest": "application/problem+json",
    f"{COLLECTOR}/event": "application/json",
    f"{COLLECTOR}/raw": "application/json",
}


async def send(client: httpx.AsyncClient, path: str, body: bytes, kind: str, **headers: str) -> httpx.Response:
    return await client.post(path, content=body, headers={"Content-Type": kind} | headers if kind else headers)


@pytest.mark.parametrize("name", REQUESTS)
async def test_what_is_sent_is_stored_and_told_as_clients_expect(name: str) -> None:
    regions = producers()
    path, body, kind = REQUESTS[name]
    async with gateway(regions) as client:
        answer = await send(client, path, body, kind)
        protocol = name.partition("-")[0]
        assert await metric(client, f'gateway_records_total{{outcome="accepted",protocol="{protocol}"}}') == 1

    assert [event.message for event in regions["region-a"].written] == ["hello"]
    if protocol == "loki":
        assert (answer.status_code, answer.content) == (204, b"")
        assert "content-length" not in answer.headers
    elif path == "/ingest":
        assert (answer.status_code, answer.content) == (200, b'{"accepted":1}')
    elif protocol == "hec":
        assert (answer.status_code, answer.content) == (200, b'{"text":"Success","code":0}')
    else:
        assert (answer.status_code, answer.json()["errors"]) == (200, False)
        assert answer.headers["x-elastic-product"] == "Elasticsearch"


@pytest.mark.parametrize("coding", ["gzip", "zstd", "deflate"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_codings_are_undone(name: str, coding: str) -> None:
    regions = producers()
    path, body, kind = REQUESTS[name]
    codecs: dict[str, Any] = {"gzip": gzip.compress, "zstd": cramjam.zstd.compress, "deflate": cramjam.zlib.compress}
    async with gateway(regions) as client:
        answer = await send(client, path, bytes(codecs[coding](body)), kind, **{"Content-Encoding": coding})

    assert answer.is_success
    assert len(regions["region-a"].written) == 1


@pytest.mark.parametrize(
    ("kind", "coding"), [("", ""), ("application/x-protobuf", "snappy"), ("application/octet-stream", "")]
)
async def test_loki_takes_protobuf_whatever_it_is_called(kind: str, coding: str) -> None:
    regions = producers()
    async with gateway(regions) as client:
        answer = await send(client, LOKI, SNAPPY, kind, **({"Content-Encoding": coding} if coding else {}))

    assert answer.status_code == 204
    assert len(regions["region-a"].written) == 1


@pytest.mark.parametrize("name", REQUESTS)
async def test_not_now_is_one_answer_for_the_whole_request(name: str) -> None:
    regions = producers()
    for region in regions.values():
        region.outcome = lambda event: AWAY if "two" in event.message else Accepted("region-a")
    path, body, kind = REQUESTS[name]
    both = {
        "loki-json": LOKI_JSON.replace(b'"hello"]', b'"hello"],["%d","two"]' % NS),
        "loki-first-version": LOKI_JSON.replace(b'"hello"]', b'"hello"],["%d","two"]' % NS),
        "loki-protobuf": bytes(
            cramjam.snappy.compress_raw(push((b'{app="a"}', [entry(NS, b"hello"), entry(NS, b"two")])))
        ),
        "ingest": body + b'{"msg":"two"}\n',
        "hec": body + b'{"event":"two"}',
        "hec-event": body + b'{"event":"two"}',
        "hec-event-1": body + b'{"event":"two"}',
        "hec-raw": body + b"\ntwo",
        "hec-raw-1": body + b"two",
    }.get(name, body + b'{"create":{}}\n{"message":"two"}\n')
    async with gateway(regions, shipper_deadline_ms=50, circuit_failures=1000) as client:
        answer = await send(client, path, both, kind)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        ids = {event.event_id for region in regions.values() for event in region.written if event.message == "hello"}
        for region in regions.values():
            region.outcome = lambda event: Accepted("region-a")
        again = await send(client, path, both, kind)

    assert again.is_success
    events = [event for region in regions.values() for event in region.written]
    assert {event.event_id for event in events if event.message == "hello"} == ids
    assert len(ids) == 1
    assert len({(event.event_id, event.timestamp) for event in events}) == 2


BOMB = b"\0" * (65 * 1024 * 1024)
BAD: list[tuple[str, str, bytes, str, dict[str, str], int]] = [
    ("loki: truncated protobuf", LOKI, bytes(cramjam.snappy.compress_raw(PROTOBUF[:-3])), "", {}, 400),
    ("loki: no snappy", LOKI, PROTOBUF, "", {}, 400),
    ("loki: empty", LOKI, b"", "", {}, 400),
    ("loki: no JSON", LOKI, b"{", "application/json", {}, 400),
    ("loki: no streams", LOKI, b"{}", "application/json", {}, 400),
    ("loki: charset", LOKI, LOKI_JSON, "application/json; charset=utf-16", {}, 415),
    ("loki: coding", LOKI, LOKI_JSON, "application/json", {"Content-Encoding": "br"}, 415),
    ("loki: claims gigabytes", LOKI, b"\xff\xff\xff\xff\x0f" + SNAPPY, "", {}, 413),
    ("bulk: empty", "/_bulk", b"", "application/json", {}, 400),
    ("bulk: malformed action", "/_bulk", b"{}\n{}\n", "application/json", {}, 400),
    ("bulk: no gzip", "/elastic/logs/_bulk", BULK, "application/json", {"Content-Encoding": "gzip"}, 400),
    ("ingest: empty", "/ingest", b"", "", {}, 400),
    ("ingest: compressed", "/ingest", gzip.compress(LINES), "", {}, 400),
    ("hec: empty", f"{COLLECTOR}/event", b"", "", {}, 400),
    ("hec: cut off", f"{COLLECTOR}/event", HEC[:-1], "", {}, 400),
    ("hec: no gzip", f"{COLLECTOR}/event", HEC, "", {"Content-Encoding": "gzip"}, 400),
    ("hec: compressed", f"{COLLECTOR}/raw", gzip.compress(HEC), "", {}, 400),
    ("hec: coding", f"{COLLECTOR}/raw", HEC, "", {"Content-Encoding": "br"}, 415),
    ("ingest: coding", "/ingest", LINES, "", {"Content-Encoding": "br"}, 415),
]


@pytest.mark.parametrize(
    ("path", "body", "kind", "headers", "status"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
async def test_what_cannot_be_read_is_told_in_the_protocols_form(
    path: str, body: bytes, kind: str, headers: dict[str, str], status: int
) -> None:
    regions = producers()
    async with gateway(regions) as client:
        answer = await send(client, path, body, kind, **headers)

    assert (answer.status_code, answer.headers["content-type"]) == (status, FORMS[path])
    assert not regions["region-a"].written
    if "bulk" in path:
        assert answer.json()["status"] == status
        assert answer.json()["error"]["reason"]
        assert answer.headers["x-elastic-product"] == "Elasticsearch"


@pytest.mark.parametrize("coding", ["gzip", "zstd", "deflate", "snappy"])
@pytest.mark.parametrize("path", FORMS)
async def test_a_bomb_is_413_in_the_protocols_form(path: str, coding: str) -> None:
    codecs: dict[str, Any] = {
        "gzip": cramjam.gzip.compress, "zstd": cramjam.zstd.compress, "deflate": cramjam.zlib.compress,
        "snappy": cramjam.snappy.compress_raw,
    }  # fmt: skip
    async with gateway(producers()) as client:
        answer = await send(
            client, path, bytes(codecs[coding](BOMB)), "application/json", **{"Content-Encoding": coding}
        )

    assert (answer.status_code, answer.headers["content-type"]) == (413, FORMS[path])


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (LOKI, "PUT"),
        ("/_bulk", "DELETE"),
        ("/elastic/logs/_bulk", "DELETE"),
        ("/ingest", "PUT"),
        (f"{COLLECTOR}/event", "GET"),
    ],
)
async def test_a_wrong_method_is_told_in_the_protocols_form(path: str, method: str) -> None:
    async with gateway(producers()) as client:
        answer = await client.request(method, path, content=b"")

    assert (answer.status_code, answer.headers["content-type"]) == (405, FORMS[path])
    assert answer.headers["allow"] == ("POST, PUT" if "bulk" in path else "POST")


async def test_elasticsearchs_clients_shake_hands_at_the_root_and_under_elastic() -> None:
    async with gateway(producers(), elasticsearch_version="9.1.2") as client:
        for prefix in ("", "/elastic"):
            info = await client.get(f"{prefix}/")
            assert (info.status_code, info.json()["version"]["number"]) == (200, "9.1.2")
            assert info.headers["x-elastic-product"] == "Elasticsearch"
            assert (await client.head(f"{prefix}/")).status_code == 200
            assert (await client.head(f"{prefix}/logs")).status_code == 200
            assert (await client.put(f"{prefix}/_index_template/x", json={})).json() == {"acknowledged": True}
        assert (await client.get("/elastic")).status_code == 200
        nodes = (await client.get("/_nodes/http")).json()["nodes"]
        assert nodes["gateway"]["http"]["publish_address"] == "gateway.test"
        unknown = await client.get("/elastic/_search")
        assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "resource_not_found_exception")


async def test_splunks_clients_ask_for_the_collectors_health_and_for_acknowledgements() -> None:
    async with gateway(producers()) as client:
        for path in (f"{COLLECTOR}/health", f"{COLLECTOR}/health/1.0"):
            health = await client.get(path, headers={"Authorization": "Splunk t"})
            assert (health.status_code, health.json()["code"]) == (200, 17)
        channel = {"X-Splunk-Request-Channel": "01234567-89ab-cdef-0123-456789abcdef"}
        number = (await send(client, f"{COLLECTOR}/event", HEC, "", **channel)).json()["ackId"]
        acks = await client.post(f"{COLLECTOR}/ack", json={"acks": [number]}, headers=channel)
        assert (acks.status_code, acks.json()) == (200, {"acks": {str(number): True}})
        assert await metric(client, 'gateway_records_total{outcome="accepted",protocol="hec"}') == 1
        # As Docker's driver does before a container starts.
        assert (await client.options(f"{COLLECTOR}/event/1.0")).json() == {"text": "Success", "code": 0}
        assert (await client.options("/ingest")).status_code == 405
        unknown = await client.get("/services/collector/validate")
        assert (unknown.status_code, unknown.json()["code"]) == (404, 404)


async def test_the_gateways_own_paths_stay_as_they_are() -> None:
    async with gateway(producers()) as client:
        assert (await client.get("/health")).json() == {"status": "alive"}
        assert (await client.head("/health")).headers["content-type"] == "application/json"
        assert (await client.get("/nothing")).headers["content-type"] == "application/problem+json"
        unknown = await client.get("/loki/api/v1/query")
        assert (unknown.status_code, unknown.headers["content-type"]) == (404, "text/plain; charset=utf-8")


async def test_a_tenant_is_an_attribute_and_makes_its_events_its_own() -> None:
    regions = producers()
    async with gateway(regions) as client:
        for tenant in ("t1", "t2"):
            await send(client, LOKI, LOKI_JSON, "application/json", **{"X-Scope-OrgID": tenant})

    events = regions["region-a"].written
    assert [event.attributes["tenant"] for event in events] == ["t1", "t2"]
    assert len({event.event_id for event in events}) == 2


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_region_that_dies_is_another_regions_work(name: str) -> None:
    regions = producers()
    regions["region-a"].die()
    path, body, kind = REQUESTS[name]
    async with gateway(regions) as client:
        answer = await send(client, path, body, kind, **{"X-Region": "region-a"})

    assert answer.is_success
    assert len(regions["region-b"].written) == 1


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_loud_source_is_spread_over_as_many_names_as_is_set(name: str) -> None:
    regions = producers()
    path, body, kind = REQUESTS[name]
    async with gateway(regions, stream_spread=1000) as client:
        assert (await send(client, path, body, kind)).is_success

    [event] = regions["region-a"].written
    source, _, share = event.correlation_id.rpartition("/")
    assert re.fullmatch(r"[0-9a-f]{12}", source.rpartition("/")[2])
    assert int(share) == int(event.timestamp.timestamp()) % 1000
