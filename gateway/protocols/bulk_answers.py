"""
What all answers to Elasticsearch's clients have in common, and what these clients ask besides `_bulk`. Pure.

Before the first event a client asks which server this is, whether it has a licence, and whether its templates, policies and
pipelines are there. Nothing of that exists here, and nothing of it is needed: what such a thing would do, the fleet does by
itself or not at all. So everything asked for is there, and whatever is set up is acknowledged.
"""

import re

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.settings import GatewaySettings
from shared.ingest.head import Head
from shared.ingest.protocol import Reply, headers_of
from shared.ingest.routes import Handshake
from shared.wire.problem import ProblemError

PREFIX: Final = "/elastic"
PRODUCT: Final = (b"x-elastic-product", b"Elasticsearch")
"""Without this header its clients of version 7.14 and later refuse every answer."""
CLUSTER: Final = "multi-region-logs"
JSON: Final = b"application/json"
_COMPATIBLE: Final = re.compile(rb"application/vnd\.elasticsearch\+json *; *compatible-with=(\d{1,2})")
_NAME: Final = r"[^/]+"
# An index with a date that is to be worked out, `<beat-{now/d}-000001>`. Clients create no other one that they were told is there.
_DATED: Final = r"<[^>]+>"
# Of no meaning here, but clients look whether they are of the right kind.
_UID: Final = "6f1c1d0a-9a3e-4d0c-8a1b-5d4c3b2a1908"
_HASH: Final = "0" * 40
_DATE: Final = "2025-01-01T00:00:00.000Z"
_DATE_MS: Final = 1735689600000
_TYPE: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "illegal_argument_exception",
    HTTPStatus.UNAUTHORIZED: "security_exception",
    HTTPStatus.FORBIDDEN: "security_exception",
    HTTPStatus.NOT_FOUND: "resource_not_found_exception",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed_exception",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "content_too_long_exception",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "media_type_header_exception",
    HTTPStatus.TOO_MANY_REQUESTS: "es_rejected_execution_exception",
    HTTPStatus.SERVICE_UNAVAILABLE: "es_rejected_execution_exception",
}
_encode: Final = msgspec.json.Encoder().encode


def content_type(accept: bytes) -> bytes:
    """Return what an answer is called: as the client's Accept header asks, if it names a version to be compatible with."""
    if asked := _COMPATIBLE.search(accept):
        return b"application/vnd.elasticsearch+json;compatible-with=" + asked[1]
    return JSON


def json_reply(body: Any, kind: bytes = JSON, status: int = HTTPStatus.OK) -> Reply:
    """Return an answer with a JSON body."""
    return Reply(status, _encode(body), kind, (PRODUCT,))


def error_reply(error: ProblemError, kind: bytes = JSON) -> Reply:
    """Return an error as Elasticsearch writes it."""
    cause = {"type": _TYPE.get(error.status, "exception"), "reason": error.detail}
    body = {"error": {"root_cause": [cause]} | cause, "status": int(error.status)}
    return Reply(error.status, _encode(body), kind, (PRODUCT, *headers_of(error)))


def handshake(method: str, path: str, *, version: str, host: bytes = b"", accept: bytes = b"") -> Reply | None:
    """
    Return the answer to a request that brings no events.

    Args:
        method: Its method, upper case.
        path: Its path without the prefix and without a query.
        version: What the server calls itself. Some agents refuse one that is older than they are.
        host: The request's Host header, under which clients that look for nodes find this one.
        accept: Its Accept header.

    Returns:
        None if its client asks for something else than these.
    """
    for methods, pattern, answer in _TABLE:
        if method in methods and (asked := pattern.fullmatch(path)):
            body = answer(_Asked(version, host.decode("latin-1"), asked[1] if pattern.groups else ""))
            if isinstance(body, str):
                return Reply(HTTPStatus.OK, b"" if method == "HEAD" else body.encode(), b"text/plain", (PRODUCT,))
            reply = json_reply(body, content_type(accept))
            return reply._replace(body=b"") if method == "HEAD" else reply
    return None


def elasticsearch(settings: GatewaySettings) -> Handshake:
    """Return the answers for the gateway, at its root and under the prefix."""

    def asked(method: str, path: str, head: Head) -> Reply | None:
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            path = path.removeprefix(PREFIX)
        version, host, accept = settings.elasticsearch_version, head.first(b"host"), head.first(b"accept")
        return handshake(method, path, version=version, host=host, accept=accept)

    return asked


class _Asked(msgspec.Struct):
    version: str
    host: str
    name: str


def _info(asked: _Asked) -> Any:
    return {
        "name": "gateway",
        "cluster_name": CLUSTER,
        "cluster_uuid": _UID,
        "version": {
            "number": asked.version,
            "build_flavor": "default",
            "build_type": "docker",
            "build_hash": _HASH,
            "build_date": _DATE,
            "build_snapshot": False,
            "lucene_version": "10.0.0",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    }


def _license(_: _Asked) -> Any:
    return {
        "license": {
            "status": "active",
            "uid": _UID,
            "type": "basic",
            "issue_date": _DATE,
            "issue_date_in_millis": _DATE_MS,
            "max_nodes": 1000,
            "max_resource_units": None,
            "issued_to": CLUSTER,
            "issuer": "elasticsearch",
            "start_date_in_millis": -1,
        }
    }


def _xpack(_: _Asked) -> Any:
    return {
        "build": {"hash": _HASH, "date": _DATE},
        "license": {"uid": _UID, "type": "basic", "mode": "basic", "status": "active"},
        "features": {name: {"available": True, "enabled": True} for name in ("ilm", "data_streams", "monitoring")},
        "tagline": "You know, for X",
    }


def _nodes(asked: _Asked) -> Any:
    node = {
        "name": "gateway",
        "host": asked.host,
        "ip": asked.host,
        "version": asked.version,
        "build_flavor": "default",
        "roles": ["data", "ingest", "master"],
        "http": {"bound_address": [asked.host], "publish_address": asked.host, "max_content_length_in_bytes": 64 << 20},
    }
    return {"_nodes": {"total": 1, "successful": 1, "failed": 0}, "cluster_name": CLUSTER, "nodes": {"gateway": node}}


def _health(_: _Asked) -> Any:
    return {
        "cluster_name": CLUSTER,
        "status": "green",
        "timed_out": False,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": 1,
        "active_shards": 1,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
    }


def _is_there(asked: _Asked) -> Any:
    return {asked.name: {}}


def _done(_: _Asked) -> Any:
    return {"acknowledged": True}


def _created(asked: _Asked) -> Any:
    return {"acknowledged": True, "shards_acknowledged": True, "index": asked.name}


def _refreshed(_: _Asked) -> Any:
    return {"_shards": {"total": 1, "successful": 1, "failed": 0}}


def _row(
    methods: str, pattern: str, answer: Callable[[_Asked], Any]
) -> tuple[Sequence[str], re.Pattern[str], Callable[[_Asked], Any]]:
    return methods.split(), re.compile(pattern), answer


_SET_UP: Final = r"/(?:_ilm/policy|_index_template|_component_template|_template|_data_stream|_ingest/pipeline|_alias)"
_TABLE: Final = (
    _row("GET HEAD", r"/?", _info),
    _row("GET HEAD", r"/_license", _license),
    _row("GET HEAD", r"/_xpack", _xpack),
    _row("GET HEAD", rf"/_nodes(?:/{_NAME})?(?:/http)?", _nodes),
    _row("GET HEAD", rf"/_cluster/health(?:/{_NAME})?", _health),
    _row("GET HEAD", r"/_cat/health", lambda _: f"0 00:00:00 {CLUSTER} green 1 1 1 1 0 0 0 0 - 100.0%\n"),
    # Beats look here for templates of the older kind.
    _row("GET HEAD", rf"/_cat/templates/({_NAME})", lambda asked: f"{asked.name} [{asked.name}] 0 \n"),
    _row("GET HEAD", rf"{_SET_UP}/({_NAME})(?:/_lifecycle)?", _is_there),
    _row("PUT POST", rf"{_SET_UP}/{_NAME}(?:/_lifecycle)?", _done),
    _row("GET POST", r"(?:/[^/_][^/]*)?/_refresh", _refreshed),
    _row("HEAD", rf"/(?:[^/_<][^/]*|{_DATED})", lambda _: ""),
    _row("PUT", rf"/({_DATED})", _created),
)
