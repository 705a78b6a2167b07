"""What Elasticsearch's clients ask besides `_bulk`."""

from typing import Any

import msgspec
import pytest

from gateway.protocols.bulk_answers import PRODUCT, content_type, error_reply, handshake
from shared.ingest.protocol import Reply
from shared.wire.problem import BadRequestError, UnavailableError

VERSION = "9.9.0"


def ask(method: str, path: str, **head: bytes) -> Reply:
    reply = handshake(method, path, version=VERSION, **head)
    assert reply is not None
    return reply


def body(reply: Reply) -> Any:
    return msgspec.json.decode(reply.body)


@pytest.mark.parametrize("path", ["/", "", "/_license", "/_xpack", "/_nodes", "/_nodes/http", "/_nodes/_all/http"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_answer_names_the_product(method: str, path: str) -> None:
    reply = ask(method, path)
    assert (reply.status, reply.content_type) == (200, b"application/json")
    assert PRODUCT in reply.headers
    assert bool(reply.body) == (method == "GET")


def test_the_version_is_the_configured_one_and_not_older_than_what_agents_accept() -> None:
    info = body(ask("GET", "/"))
    assert info["version"]["number"] == VERSION
    assert info["version"]["build_flavor"] == "default"
    assert info["tagline"] == "You Know, for Search"


def test_agents_find_an_active_licence() -> None:
    assert (
        body(ask("GET", "/_license"))["license"] | {"status": "active", "type": "basic"}
        == body(ask("GET", "/_license"))["license"]
    )
    assert body(ask("GET", "/_xpack"))["license"]["status"] == "active"


def test_who_looks_for_nodes_finds_the_address_it_asked() -> None:
    nodes = body(ask("GET", "/_nodes/_all/http", host=b"logs.example:8080"))["nodes"]
    assert [node["http"]["publish_address"] for node in nodes.values()] == ["logs.example:8080"]


@pytest.mark.parametrize(
    "kind",
    [
        "_ilm/policy",
        "_index_template",
        "_component_template",
        "_template",
        "_data_stream",
        "_ingest/pipeline",
        "_alias",
    ],
)
def test_what_agents_set_up_is_there_and_is_acknowledged(kind: str) -> None:
    assert body(ask("GET", f"/{kind}/filebeat-9")) == {"filebeat-9": {}}
    assert ask("HEAD", f"/{kind}/filebeat-9").body == b""
    assert body(ask("PUT", f"/{kind}/filebeat-9")) == {"acknowledged": True}


@pytest.mark.parametrize(
    "path", ["/_cluster/health", "/_cluster/health/logs", "/_cat/health", "/_refresh", "/logs/_refresh"]
)
def test_health_and_refresh_are_answered(path: str) -> None:
    assert ask("GET", path).status == 200


def test_an_index_is_always_there() -> None:
    assert (ask("HEAD", "/logs-2026.11.27").status, ask("HEAD", "/logs").body) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/logs"),
        ("GET", "/_search"),
        ("POST", "/logs/_search"),
        ("DELETE", "/logs"),
        ("PUT", "/logs"),
        ("DELETE", "/_index_template/x"),
        ("PUT", "/_cluster/settings"),
        ("HEAD", "/_security"),
        ("GET", "/_ilm/policy/a/b"),
        ("POST", "/_bulk"),
        ("HEAD", "/a/b"),
    ],
)
def test_nothing_else_is_claimed(method: str, path: str) -> None:
    assert handshake(method, path, version=VERSION) is None


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (b"", b"application/json"),
        (b"*/*", b"application/json"),
        (b"application/json", b"application/json"),
        (
            b"application/vnd.elasticsearch+json; compatible-with=9",
            b"application/vnd.elasticsearch+json;compatible-with=9",
        ),
        (
            b"application/vnd.elasticsearch+json;compatible-with=8,text/plain",
            b"application/vnd.elasticsearch+json;compatible-with=8",
        ),
        (b"application/vnd.elasticsearch+json", b"application/json"),
    ],
)
def test_the_content_type_is_the_one_that_is_asked_for(accept: bytes, kind: bytes) -> None:
    assert content_type(accept) == kind
    assert ask("GET", "/", accept=accept).content_type == kind


def test_errors_have_elasticsearchs_form() -> None:
    reply = error_reply(UnavailableError("no region acknowledges"))
    assert (reply.status, reply.content_type) == (503, b"application/json")
    assert set(reply.headers) == {PRODUCT, (b"retry-after", b"1")}
    cause = {"type": "es_rejected_execution_exception", "reason": "no region acknowledges"}
    assert body(reply) == {"error": {"root_cause": [cause], **cause}, "status": 503}
    assert body(error_reply(BadRequestError("bad")))["error"]["type"] == "illegal_argument_exception"
