"""OpenTelemetry's logs: what becomes of each kind of value, in both ways of writing, and what one that is broken costs."""

import base64
import gzip
import json
import math

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import cramjam
import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols import otlp, otlp_json, otlp_pb2, otlp_protobuf
from gateway.protocols.otlp_pb2 import LogRecord, LogsRequest, LogsResponse, Status
from gateway.tests.fleet import gateway, producers
from gateway.tests.front_door import FINE_NS, Line, drained
from gateway.tests.front_door import otlp_json as json_of
from gateway.tests.front_door import otlp_protobuf as protobuf_of
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.outcome import Accepted, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.head import Head
from shared.ingest.protocol import Submission
from shared.ingest.receipt import Receipt
from shared.wire.problem import BadRequestError

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
MAX_DEPTH = 12


def read(body: bytes, *, is_json: bool) -> tuple[list[SealedEvent], Submission]:
    """Return all events of a body, as a gateway would make them durable."""
    return drained(otlp.OtlpLogs().read(body, Receipt(NOW, path="/v1/logs"), is_json))


def opened(body: bytes, *, is_json: bool) -> list[ReceivedEvent]:
    return [decode_received(event.encoded) for event in read(body, is_json=is_json)[0]]


def any_value(value: Any) -> otlp_pb2.AnyValue:
    """Return a value as protobuf writes it."""
    made = otlp_pb2.AnyValue()
    if isinstance(value, bool):
        made.bool_value = value
    elif isinstance(value, str):
        made.string_value = value.encode()
    elif isinstance(value, int):
        made.int_value = value
    elif isinstance(value, float):
        made.double_value = value
    elif isinstance(value, bytes):
        made.bytes_value = value
    elif isinstance(value, list):
        made.array_value.SetInParent()
        made.array_value.values.extend(map(any_value, value))
    elif isinstance(value, dict):
        made.kvlist_value.SetInParent()
        made.kvlist_value.values.extend(pairs(value))
    return made


def pairs(values: dict[str, Any]) -> list[otlp_pb2.KeyValue]:
    return [otlp_pb2.KeyValue(key=name.encode(), value=any_value(value)) for name, value in values.items()]


def any_json(value: Any) -> dict[str, Any]:  # noqa: PLR0911
    """Return a value as JSON writes it."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        odd = {math.inf: "Infinity", -math.inf: "-Infinity"}
        return {"doubleValue": "NaN" if math.isnan(value) else odd.get(value, value)}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return {"arrayValue": {"values": list(map(any_json, value))}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": json_pairs(value)}}
    return {}


def json_pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": any_json(value)} for name, value in values.items()]


def both(resource: dict[str, Any], scope: str, records: list[dict[str, Any]]) -> tuple[bytes, bytes]:
    """Return the same request in both ways of writing."""
    request = LogsRequest()
    described = otlp_pb2.Resource(attributes=pairs(resource)).SerializeToString()
    logs = request.resource_logs.add(resource=described)
    scoped = logs.scope_logs.add(scope=otlp_pb2.Scope(name=scope.encode()).SerializeToString())
    written = []
    for record in records:
        sent = LogRecord(
            time_unix_nano=record["time"],
            severity_number=record["number"],
            severity_text=record["text"].encode(),
            body=any_value(record["body"]) if record["body"] is not None else None,
            attributes=pairs(record["attributes"]),
            trace_id=record["trace"],
            span_id=record["span"],
            flags=record["flags"],
            event_name=record["event"].encode(),
        )
        scoped.log_records.append(sent.SerializeToString())
        written.append(
            {
                "timeUnixNano": str(record["time"]),
                "severityNumber": record["number"],
                "severityText": record["text"],
                "attributes": json_pairs(record["attributes"]),
                "traceId": record["trace"].hex().upper(),
                "spanId": record["span"].hex(),
                "flags": record["flags"],
                "eventName": record["event"],
            }
            | ({"body": any_json(record["body"])} if record["body"] is not None else {})
        )
    described_json = {"attributes": json_pairs(resource)}
    scoped_json = {"scope": {"name": scope}, "logRecords": written}
    document = {"resourceLogs": [{"resource": described_json, "scopeLogs": [scoped_json]}]}
    return request.SerializeToString(), json.dumps(document).encode()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.one_of(
    texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=8), st.none()
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
attributes = st.dictionaries(texts, values, max_size=5)
records = st.fixed_dictionaries(
    {
        "time": st.one_of(st.just(0), st.integers(0, 2**64 - 1), st.just(FINE_NS)),
        "number": st.integers(-1, 30),
        "text": st.sampled_from(["", "INFO", "warn", "Error", "INFO2", "odd"]),
        "body": st.one_of(st.none(), values),
        "attributes": attributes,
        "trace": st.sampled_from([b"", bytes(16), b"\x01" * 16, b"\xab" * 16, b"short"]),
        "span": st.sampled_from([b"", bytes(8), b"\x02" * 8, b"short"]),
        "flags": st.integers(0, 2**32 - 1),
        "event": texts,
    }
)


def without_identity(event: SealedEvent) -> dict[str, Any]:
    """Return an event without what follows from the sender's bytes, which differ."""
    fields: dict[str, Any] = json.loads(event.encoded)
    fields.pop("eventId")
    if len(fields["correlationId"]) != 32:
        fields["correlationId"] = fields["correlationId"].rpartition("/")[0]
    return fields


@given(attributes, texts, st.lists(records, max_size=3))
def test_both_ways_of_writing_become_the_same(resource: dict[str, Any], scope: str, sent: list[dict[str, Any]]) -> None:
    protobuf, in_json = both(resource, scope, sent)

    first = [without_identity(event) for event in read(protobuf, is_json=False)[0]]
    assert first == [without_identity(event) for event in read(in_json, is_json=True)[0]]
    assert len(first) == len(sent)


@given(attributes, st.lists(records, max_size=3))
def test_a_body_that_is_walked_is_read_as_one_that_is_parsed(
    resource: dict[str, Any], sent: list[dict[str, Any]]
) -> None:
    protobuf, in_json = both(resource, "scope", sent)
    parsed = [read(protobuf, is_json=False)[0], read(in_json, is_json=True)[0]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(otlp_protobuf, "WALKED_BYTES", -1)
        patch.setattr(otlp_json, "WALKED_BYTES", -1)
        walked = [read(protobuf, is_json=False)[0], read(in_json, is_json=True)[0]]

    assert walked == parsed


@given(st.binary(max_size=60), st.integers(0, 200), st.booleans())
def test_whatever_bytes_come_they_are_read_or_refused(data: bytes, place: int, is_json: bool) -> None:  # noqa: FBT001
    whole = (json_of if is_json else protobuf_of)([Line("m"), Line("n")])
    for body in (data, whole[:place] + data + whole[place:], whole[:place] + data):
        for limit in (-1, 10**9):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(otlp_protobuf, "WALKED_BYTES", limit)
                patch.setattr(otlp_json, "WALKED_BYTES", limit)
                try:
                    events = read(body, is_json=is_json)[0]
                except BadRequestError:
                    continue
            for event in events:
                decode_received(event.encoded)


def one(body: Any = "m", resource: dict[str, Any] | None = None, scope: str = "", **changes: Any) -> ReceivedEvent:
    """Return the one event of a request, after a look whether both ways of writing make it."""
    record: dict[str, Any] = {
        "time": FINE_NS,
        "number": 9,
        "text": "",
        "body": body,
        "attributes": {},
        "trace": b"",
        "span": b"",
        "flags": 0,
        "event": "",
    }
    protobuf, in_json = both({} if resource is None else resource, scope, [record | changes])
    [first], [second] = read(protobuf, is_json=False)[0], read(in_json, is_json=True)[0]
    assert without_identity(first) == without_identity(second)
    return decode_received(first.encoded)


@pytest.mark.parametrize(
    ("number", "text", "level", "kept"),
    [
        (1, "", "TRACE", {}),
        (4, "", "TRACE", {"severity_number": 4}),
        (5, "DEBUG", "DEBUG", {}),
        (9, "Information", "INFO", {"severity_text": "Information"}),
        (13, "warn", "WARN", {}),
        (17, "ERROR", "ERROR", {}),
        (24, "FATAL4", "FATAL", {"severity_number": 24, "severity_text": "FATAL4"}),
        (0, "warning", "WARN", {"severity_text": "warning"}),
        (0, "", "INFO", {}),
        (0, "odd", "INFO", {"severity_text": "odd"}),
        (25, "error", "ERROR", {"severity_number": 25}),
        (-1, "", "INFO", {"severity_number": -1}),
    ],
)
def test_severities(number: int, text: str, level: str, kept: dict[str, Any]) -> None:
    event = one(number=number, text=text)

    assert event.level == level
    assert {name: value for name, value in event.attributes.items() if name.startswith("severity")} == kept


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("text", "text"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (5, "5"),
        (-1.5, "-1.5"),
        (math.nan, "NaN"),
        (b"\x00\xff", "AP8="),
        ([1, "a", None], '[1,"a",null]'),
        ({"a": {"b": [True]}}, '{"a":{"b":[true]}}'),
    ],
)
def test_bodies(body: Any, message: str) -> None:
    assert one(body).message == message


def test_values_of_attributes_are_written_as_the_specification_says_for_other_protocols() -> None:
    sent = {"s": "x", "b": False, "i": -5, "d": 1.5, "y": b"\x01\x02", "n": None, "l": [1, "a"], "m": {"x": {"y": 1}}}

    assert one(attributes=sent).attributes | {} == {
        "s": "x",
        "b": False,
        "i": -5,
        "d": 1.5,
        "y": "AQI=",
        "n": None,
        "l": '[1,"a"]',
        "m.x.y": 1,
        "time_unix_nano": str(FINE_NS),
    }


@pytest.mark.parametrize(
    ("resource", "scope", "service"),
    [
        ({"service.name": "checkout", "k8s.deployment.name": "d"}, "s", "checkout"),
        ({"k8s.deployment.name": "d", "container.name": "c"}, "s", "d"),
        ({"faas.name": "f"}, "s", "f"),
        ({}, "s", "s"),
        ({"service.name": ""}, "", "unknown_service"),
        ({"service.name": 5}, "", "unknown_service"),
    ],
)
def test_services(resource: dict[str, Any], scope: str, service: str) -> None:
    assert one(resource=resource, scope=scope).service_name == service


def test_what_a_record_belongs_to_is_its_trace_else_what_it_says_else_its_source() -> None:
    resource = {"service.name": "checkout", "host.name": "node-17", "process.pid": 5}

    assert one(trace=b"\xab" * 16).correlation_id == "ab" * 16
    assert one(attributes={"traceId": "CD" * 16}).correlation_id == "cd" * 16
    assert one(attributes={"request_id": "r-1"}).correlation_id == "r-1"
    sources = [
        one(resource=resource).correlation_id,
        one(resource=resource | {"process.pid": 6}).correlation_id,
        one(resource=resource, attributes={"log.file.path": "/a"}).correlation_id,
        one(resource=resource, attributes={"log.file.path": "/b"}).correlation_id,
    ]
    assert len(set(sources)) == 4
    assert all(source.startswith("checkout/node-17/") for source in sources)
    assert one(resource=resource | {"other": 1}).correlation_id == sources[0]


def test_a_record_keeps_its_names_and_what_it_has_in_common_with_others_gives_way() -> None:
    event = one(resource={"host": "r", "zone": "z"}, attributes={"host": "own", "span_id": "own"}, span=b"\x01" * 8)

    assert event.attributes["host"] == "own"
    assert event.attributes["resource.host"] == "r"
    assert event.attributes["zone"] == "z"
    assert (event.attributes["span_id"], event.attributes["otlp.span_id"]) == ("own", "01" * 8)


def test_a_record_with_an_id_of_its_own_is_the_same_in_whichever_request() -> None:
    uid = {"log.record.uid": "01J"}

    first, second = one("a", attributes=uid, time=FINE_NS), one("b", attributes=uid | {"x": 1}, time=FINE_NS)
    assert first.event_id == second.event_id
    assert one("a", attributes={"log.record.uid": "01K"}).event_id != first.event_id


def test_one_broken_record_costs_only_itself_and_nothing_of_it_is_lost() -> None:
    request = LogsRequest.FromString(protobuf_of([Line("before"), Line("broken"), Line("after")]))
    records = request.resource_logs[0].scope_logs[0].log_records
    broken = records[1] = records[1][:-3]

    events = opened(request.SerializeToString(), is_json=False)
    assert [event.message for event in events][::2] == ["before", "after"]
    assert base64.b64decode(events[1].attributes["_raw"]) == broken
    assert "record" in events[1].attributes["_repaired"].split(",")


def test_bad_utf8_in_one_field_is_repaired_there() -> None:
    request = LogsRequest.FromString(protobuf_of([Line("before"), Line("bad"), Line("after")]))
    record = LogRecord(time_unix_nano=FINE_NS, attributes=[otlp_pb2.KeyValue(key=b"k\xff", value=any_value("v"))])
    record.body.string_value = b"caf\xe9 \xf0\x9f\x98"
    request.resource_logs[0].scope_logs[0].log_records[1] = record.SerializeToString()

    events = opened(request.SerializeToString(), is_json=False)
    assert events[1].message == "caf\ufffd \ufffd\ufffd\ufffd"
    assert events[1].attributes["k\ufffd"] == "v"
    assert [event.attributes.get("_repaired") for event in events] == [None, "utf8", None]


@pytest.mark.parametrize(
    ("broken", "repaired"),
    [
        (b'{"timeUnixNano":"%d","body":{"stringValue":"caf\xe9"}}' % FINE_NS, "utf8"),
        (b'{"timeUnixNano":"%d","body":{"doubleValue":NaN}}' % FINE_NS, "number"),
        (b'{"timeUnixNano":"%d","body":{"stringValue":"half \\ud83d"}}' % FINE_NS, "utf8"),
        (b'{"timeUnixNano":"yesterday","body":{"stringValue":"m"}}', "time"),
        (b'{"timeUnixNano":{},"body":{"stringValue":"m"}}', "time"),
        (b'"just a text"', "record"),
        (b"[1,2]", "record"),
        (b"null", "record"),
    ],
)
def test_a_record_of_json_that_is_not_as_it_should_be_costs_only_itself(broken: bytes, repaired: str) -> None:
    whole = json_of([Line("before"), Line("BROKEN"), Line("after")])
    begin = whole.index(b'{"timeUnixNano"', whole.index(b"before"))
    end = whole.index(b"}}", begin) + 2

    events = opened(whole[:begin] + broken + whole[end:], is_json=True)
    assert [event.message for event in events][::2] == ["before", "after"]
    assert repaired in events[1].attributes["_repaired"].split(",")


@pytest.mark.parametrize(
    "sent",
    [
        {"severityNumber": "SEVERITY_NUMBER_WARN2", "timeUnixNano": FINE_NS, "body": {"stringValue": "m"}},
        {"severityNumber": 14, "timeUnixNano": str(FINE_NS), "body": "m"},
        {
            "severityNumber": "14",
            "observedTimeUnixNano": str(FINE_NS),
            "body": {"stringValue": "m"},
            "attributes": None,
        },
        {"severityNumber": 14, "timeUnixNano": FINE_NS, "body": {"stringValue": "m"}, "unknown": {"x": [1]}},
    ],
)
def test_what_clients_write_otherwise_is_understood(sent: dict[str, Any]) -> None:
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [sent]}]}], "unknown": 1}

    [event] = opened(json.dumps(document).encode(), is_json=True)
    assert (event.level, event.message, event.attributes["severity_number"]) == ("WARN", "m", 14)
    assert event.attributes["time_unix_nano"] == str(FINE_NS)


@pytest.mark.parametrize(
    "document",
    [{}, {"resourceLogs": []}, {"resourceLogs": None}, {"resourceLogs": [{}]}, {"resourceLogs": [{"scopeLogs": None}]}],
)
def test_an_empty_request_is_a_success(document: dict[str, Any]) -> None:
    assert not opened(json.dumps(document).encode(), is_json=True)
    assert not opened(b"", is_json=False)


def test_deep_nesting_is_kept() -> None:
    deep: Any = "bottom"
    for level in range(100):
        deep = {"kvlistValue": {"values": [{"key": f"k{level}", "value": deep if level else {"stringValue": deep}}]}}
    record = {
        "timeUnixNano": str(FINE_NS),
        "body": {"stringValue": "m"},
        "attributes": [{"key": "deep", "value": deep}],
    }
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}

    [event] = opened(json.dumps(document).encode(), is_json=True)
    [value] = [value for name, value in event.attributes.items() if name.startswith("deep.")]
    assert "bottom" in value


def test_deeper_protobuf_than_its_library_reads_is_kept_as_it_is() -> None:
    deep = b"\x0a\x01m"
    for _ in range(60):  # an array of the value before
        inner = b"\x0a" + _varint(len(deep)) + deep
        deep = b"\x2a" + _varint(len(inner)) + inner
    request = LogsRequest.FromString(protobuf_of([Line("before"), Line("deep")]))
    request.resource_logs[0].scope_logs[0].log_records[1] = b"\x2a" + _varint(len(deep)) + deep

    events = opened(request.SerializeToString(), is_json=False)
    assert events[0].attributes.get("_repaired") is None
    assert "record" in events[1].attributes["_repaired"].split(",")


def _varint(value: int) -> bytes:
    return bytes([value & 127 | 128, value >> 7]) if value > 127 else bytes([value])


def head(kind: str) -> Head:
    return Head({"type": "http", "method": "POST", "path": "/v1/logs", "headers": [(b"content-type", kind.encode())]})


@pytest.mark.parametrize("is_json", [True, False])
def test_what_was_repaired_is_told_as_a_warning_that_rejects_nothing(is_json: bool) -> None:  # noqa: FBT001
    _, submission = read((json_of if is_json else protobuf_of)([Line("a\0b"), Line("fine")]), is_json=is_json)
    reply = otlp.OtlpLogs().answer(submission, [Accepted("region-a")] * 2)

    if is_json:
        partial = json.loads(reply.body)["partialSuccess"]
        assert partial.keys() == {"errorMessage"}
        message = partial["errorMessage"]
    else:
        response = LogsResponse.FromString(reply.body).partial_success
        assert response.rejected_log_records == 0
        message = response.error_message.decode()
    assert message.endswith("nul 1")
    assert reply.status == 200


@pytest.mark.parametrize("is_json", [True, False])
def test_records_that_are_refused_for_good_are_told_with_their_number(is_json: bool) -> None:  # noqa: FBT001
    _, submission = read((json_of if is_json else protobuf_of)([Line("a"), Line("b")]), is_json=is_json)
    reply = otlp.OtlpLogs().answer(submission, [Accepted("region-a"), Refused(413, "too large", retryable=False)])

    if is_json:
        said = json.loads(reply.body)["partialSuccess"]
        assert said == {"rejectedLogRecords": "1", "errorMessage": "1 records were refused: too large"}
    else:
        assert LogsResponse.FromString(reply.body).partial_success.rejected_log_records == 1


def test_a_request_whose_records_are_not_understood_says_so() -> None:
    """Fields of a version that is gone swallowed records silently elsewhere."""
    old = b'{"resourceLogs":[{"instrumentationLibraryLogs":[{"logRecords":[{"body":{"stringValue":"m"}}]}]}]}'
    _, submission = read(old, is_json=True)

    assert b"no log records" in otlp.OtlpLogs().answer(submission, []).body


@pytest.mark.parametrize(
    ("kind", "answered"),
    [
        ("application/x-protobuf", b"application/x-protobuf"),
        ("application/x-protobuf; charset=utf-16", b"application/x-protobuf"),
        ("application/json", b"application/json"),
        ("text/plain", b"application/json"),
        ("", b"application/json"),
    ],
)
def test_errors_are_a_status_written_as_the_request_was(kind: str, answered: bytes) -> None:
    reply = otlp.OtlpLogs().refuse(BadRequestError("wrong"), None, head(kind))

    assert reply.content_type == answered
    if answered == b"application/json":
        assert json.loads(reply.body) == {"code": 3, "message": "wrong"}
    else:
        status = Status.FromString(reply.body)
        assert (status.code, status.message) == (3, b"wrong")


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/otlp/v1/traces"])
async def test_what_is_no_log_has_no_path_here_and_is_told_so_in_the_protocols_form(path: str) -> None:
    async with gateway(producers()) as client:
        answer = await client.post(path, content=b"", headers={"Content-Type": "application/x-protobuf"})

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/x-protobuf")
    assert Status.FromString(answer.content).code == 12


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
async def test_other_content_types_are_refused(kind: str) -> None:
    async with gateway(producers()) as client:
        answer = await client.post("/v1/logs", content=json_of([Line("m")]), headers={"Content-Type": kind})

    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/json")
    assert "application/x-protobuf" in answer.json()["message"]


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: bytes(cramjam.zstd.compress(data)),
    "snappy": lambda data: bytes(cramjam.snappy.compress_raw(data)),
    "x-snappy-framed": lambda data: bytes(cramjam.snappy.compress(data)),
    "deflate": lambda data: bytes(cramjam.deflate.compress(data)),
}


@pytest.mark.parametrize("coding", CODERS)
@pytest.mark.parametrize("path", otlp.PATHS)
async def test_bodies_come_in_any_coding_on_both_paths(coding: str, path: str) -> None:
    regions = producers()
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": coding}
    async with gateway(regions) as client:
        answer = await client.post(path, content=CODERS[coding](protobuf_of([Line("m")])), headers=headers)

    assert (answer.status_code, answer.content) == (200, b"")
    assert [event.message for event in regions["region-a"].written] == ["m"]


@pytest.mark.parametrize("coding", CODERS)
async def test_a_bomb_is_too_large_in_the_protocols_form(coding: str) -> None:
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": coding}
    async with gateway(producers()) as client:
        answer = await client.post("/v1/logs", content=CODERS[coding](bytes(65 * 1024 * 1024)), headers=headers)

    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/x-protobuf")
    assert Status.FromString(answer.content).code == 8
