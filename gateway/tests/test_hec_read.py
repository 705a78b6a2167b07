"""Requests to Splunk's HTTP Event Collector, as events, and their answers."""

import json

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.hec import HecAck, HecEvent, HecRaw
from gateway.protocols.hec_answers import ack_id, hec_health
from gateway.tests.front_door import drained
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.outcome import Accepted, Refused
from shared.event.sealed import SealedEvent
from shared.event.times import EPOCH, format_time
from shared.ingest.head import Head
from shared.ingest.protocol import Reply, Submission
from shared.ingest.receipt import example
from shared.wire.problem import (
    BadRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    ProblemError,
    UnavailableError,
)

EVENT, RAW, ACK = HecEvent(), HecRaw(), HecAck()
TIME = 1795703906.123
WRITTEN = "2026-11-26T14:38:26.123000Z"
HERE = Accepted("region-a")


def head(query: str = "", **headers: str) -> Head:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/services/collector", "query_string": query.encode()}
    return Head({**scope, "headers": pairs})


def read(
    raw: bytes, query: str = "", way: HecEvent | HecRaw = EVENT, **known: Any
) -> tuple[list[SealedEvent], Submission]:
    headers = known.pop("headers", {})
    return drained(way.read(raw, example("/services/collector", **known), way.check(head(query, **headers))))


def events(raw: bytes, query: str = "", way: HecEvent | HecRaw = EVENT) -> list[ReceivedEvent]:
    return [decode_received(event.encoded) for event in read(raw, query, way)[0]]


def one(document: Any, query: str = "") -> ReceivedEvent:
    [event] = events(document if isinstance(document, bytes) else json.dumps(document).encode(), query)
    return event


def line(raw: bytes, query: str = "") -> ReceivedEvent:
    [event] = events(raw, query, RAW)
    return event


def refused(raw: bytes, way: HecEvent | HecRaw | HecAck = EVENT) -> dict[str, Any]:
    try:
        drained(way.read(raw, example(), way.check(head())))  # type: ignore[arg-type]
    except ProblemError as exc:
        reply = way.refuse(exc, None, head())
        assert reply.content_type == b"application/json"
        said: dict[str, Any] = json.loads(reply.body)
        return said | {"status": reply.status}
    pytest.fail("it was not refused")


# --- how a body is written -------------------------------------------------------------------------------------------


TEXTS = st.text('{}[]",:\\\n a\u2028é', max_size=8)


@given(
    said=st.lists(
        TEXTS | st.integers() | st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=2), max_size=3),
        min_size=1,
        max_size=5,
    ),
    numbers=st.data(),
)
def test_all_ways_to_write_events_have_the_same_ones(said: list[Any], numbers: st.DataObject) -> None:
    objects = [{"event": event, "time": 1795703906 + number} for number, event in enumerate(said)]
    written = [json.dumps(item) for item in objects]
    cut = numbers.draw(st.integers(0, len(written)))
    shapes = [
        "".join(written),
        "\n".join(written),
        "\r\n\r\n".join(written),
        ", ".join(written),
        json.dumps(objects),
        json.dumps(objects[:cut]) + "".join(written[cut:]),
        "\ufeff" + "".join(written) + "\n",
    ]
    found = [
        [(event.message, event.timestamp, event.attributes) for event in events(shape.encode())] for shape in shapes
    ]
    assert len(found[0]) == len(said)
    assert all(shape == found[0] for shape in found)
    for indented in (json.dumps(objects, indent=2), "".join(json.dumps(item, indent=1) for item in objects)):
        # An object without a message is its own, as it is written.
        assert [(at, rest) for _, at, rest in found[0]] == [
            (event.timestamp, event.attributes) for event in events(indented.encode())
        ]


@pytest.mark.parametrize("raw", [b"", b" \r\n", b"[]", b" [ ] [] ", b"\xef\xbb\xbf"])
def test_a_body_without_an_event_is_no_data(raw: bytes) -> None:
    said = refused(raw)
    assert (said["status"], said["text"], said["code"]) == (400, "No data", 5)


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"text", 0),
        (b"5", 0),
        (b'"text"', 0),
        (b'{"event":"a"', 0),
        (b'{"event":"a}', 0),
        (b'{"event":"a"}{"event":"b', 1),
        (b'{"event":"a"}{"event":"b"}}', 2),
        (b'{"event":"a"} and {"event":"b"}', 1),
        (b'[{"event":"a"},{"event":"b"}', 2),
        (b'[{"event":"a"} {"event":"b"}]', 1),
        (b'{"event":"a"},,{"event":"b"}', 1),
    ],
)
def test_a_body_whose_events_cannot_be_told_apart_is_refused_as_a_whole_and_names_the_first_that_is_wrong(
    raw: bytes, number: int
) -> None:
    said = refused(raw)
    assert (said["status"], said["text"], said["code"]) == (400, "Invalid data format", 6)
    assert said["invalid-event-number"] == number
    assert "nothing of the request was stored" in said["detail"]


def test_nothing_is_stored_of_a_large_body_that_is_cut_off() -> None:
    reading = EVENT.read(b'{"event":"x"}' * 50_000 + b'{"event":', example(), EVENT.check(head()))
    with pytest.raises(BadRequestError, match="event 50000 is no JSON"):
        assert not any(reading)


def test_fifty_thousand_events_are_taken_in_order() -> None:
    raw = b"".join(b'{"event":"line %d"}' % number for number in range(50_000))
    assert [event.message for event in events(raw)] == [f"line {number}" for number in range(50_000)]


@pytest.mark.parametrize("mark", [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"])
@pytest.mark.parametrize("way", [EVENT, RAW])
def test_what_is_compressed_without_saying_so_is_told(mark: bytes, way: HecEvent | HecRaw) -> None:
    assert "Content-Encoding" in refused(mark + b"...", way)["detail"]


@given(raw=st.binary(max_size=60) | st.text('{}[]",:\\\n 1event', max_size=40).map(str.encode))
def test_any_bytes_are_events_or_refused_as_a_whole(raw: bytes) -> None:
    for way in (EVENT, RAW):
        with suppress(BadRequestError):
            assert events(raw, "", way)


@pytest.mark.parametrize(
    "bad",
    [
        b"{nonsense}",
        b'{"event":"\xff"}',
        b'{"event":NaN}',
        b'{"event":"\\ud83d"}',
        b'{"event":"a\\u0000b"}',
        b'{"event":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"event":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b"{}",
        b'{"time":"yesterday","event":1}',
        b'{"time":1e400,"event":1}',
        b'{"event":1,"fields":[1]}',
        b'{"event":1,"host":{"a":1}}',
    ],
)
def test_a_bad_event_of_a_thousand_costs_only_itself(bad: bytes) -> None:
    good = [b'{"event":"line %d"}' % number for number in range(1000)]
    arrived = events(b"".join([*good[:500], bad, *good[500:]]))
    assert [event.message for event in arrived if event.message.startswith("line ")] == [
        f"line {number}" for number in range(1000)
    ]
    assert len(arrived) == 1001


def test_an_element_that_is_no_object_is_kept_and_marked() -> None:
    arrived = events(b'[{"event":"a"},5,"text",{"event":"b"}]')
    assert [event.message for event in arrived] == ["a", "5", '"text"', "b"]
    assert [event.attributes.get("_repaired") for event in arrived] == [None, "record", "record", None]


# --- what an object says ---------------------------------------------------------------------------------------------


def test_an_event_arrives_with_all_its_fields() -> None:
    event = one(
        {
            "time": TIME,
            "host": "n17",
            "source": "/var/log/checkout.log",
            "sourcetype": "access",
            "index": "main",
            "event": {"message": "hello", "severity": "warning", "n": 1, "nested": {"x": 1.50}},
            "fields": {"region": "eu", "tags": ["a", "b"]},
        }
    )
    assert (event.message, event.level, event.service_name) == ("hello", "WARN", "checkout.log")
    assert format_time(event.timestamp) == WRITTEN
    assert {name: str(value) for name, value in event.attributes.items()} == {
        "n": "1",
        "nested.x": "1.5",
        "region": "eu",
        "tags": '["a","b"]',
        "severity_text": "warning",
        "host": "n17",
        "source": "/var/log/checkout.log",
        "sourcetype": "access",
        "index": "main",
    }
    assert event.correlation_id.startswith("checkout.log/n17/")


@pytest.mark.parametrize(
    ("time", "written"),
    [
        (1795703906, "2026-11-26T14:38:26.000000Z"),
        (1795703906.123, WRITTEN),
        ("1795703906.123", WRITTEN),
        ("1795703906", "2026-11-26T14:38:26.000000Z"),
        (1795703906123, WRITTEN),
        ("2026-11-26T14:38:26.123Z", WRITTEN),
        (1795703906.123456, "2026-11-26T14:38:26.123456Z"),
        ("1795703906.1234567", "2026-11-26T14:38:26.123456Z"),
    ],
)
def test_times_are_read_in_all_the_ways_in_which_clients_write_them(time: Any, written: str) -> None:
    event = one({"time": time, "event": "x"})
    assert format_time(event.timestamp) == written
    assert "_repaired" not in event.attributes


def test_an_event_without_a_time_beside_it_may_have_one_of_its_own() -> None:
    assert format_time(one({"event": {"timestamp": TIME}}).timestamp) == WRITTEN
    beside = one({"time": TIME, "event": {"timestamp": "2020-01-01T00:00:00Z"}})
    assert (format_time(beside.timestamp), beside.attributes) == (WRITTEN, {"timestamp": "2020-01-01T00:00:00Z"})
    for nothing in ("", None):
        assert format_time(one({"time": nothing, "event": {"timestamp": TIME}}).timestamp) == WRITTEN


@pytest.mark.parametrize(
    ("document", "service"),
    [
        ({"fields": {"service.name": "a"}, "source": "/s.log", "sourcetype": "t"}, "a"),
        ({"fields": {"container_name": "c"}, "source": "/s.log"}, "c"),
        ({"event": {"service": {"name": "a"}}, "source": "/s.log"}, "a"),
        ({"source": "/var/log/pods/api/0.log", "sourcetype": "t"}, "0.log"),
        ({"source": "C:\\logs\\api.log"}, "api.log"),
        ({"source": "http:api"}, "http:api"),
        ({"source": "/", "sourcetype": "t"}, "t"),
        ({"event": {"logger": "com.example.Api"}, "source": "api"}, "api"),
        ({"sourcetype": "t"}, "t"),
        ({}, "unknown_service"),
    ],
)
def test_the_service_is_the_first_that_is_named(document: Any, service: str) -> None:
    assert one({"event": "x"} | document).service_name == service


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("hello", "hello"),
        ("hello\n", "hello"),
        ("", ""),
        (5, "5"),
        (1.50, "1.5"),
        (True, "true"),
        ([1, "a"], '[1,"a"]'),
        ({"message": "m", "msg": "n"}, "m"),
        ({"line": "from a container", "source": "stdout", "tag": "api"}, "from a container"),
        ({"line": {"msg": "from a container", "level": "warn"}, "source": "stdout"}, "from a container"),
        ({"a": {"b": 1.50}}, '{"a": {"b": 1.5}}'),
        ('{"message": "m", "n": 1}', "m"),
        ('{"a":1}', '{"a":1}'),
        ("{not json}", "{not json}"),
    ],
)
def test_the_message_is_what_the_event_says(event: Any, message: str) -> None:
    assert one({"event": event}).message == message


@pytest.mark.parametrize("document", [{"other": 1}, {"event": None, "other": 1}])
def test_an_object_without_an_event_is_its_own_message(document: Any) -> None:
    event = one(document)
    assert (event.message, event.attributes) == (json.dumps(document), {"other": 1})


def test_a_text_that_is_json_has_its_fields() -> None:
    text = json.dumps({"message": "m", "level": "error", "trace_id": "ab" * 16, "n": 1})
    event = one({"event": text, "source": "api"})
    assert (event.message, event.level, event.correlation_id) == ("m", "ERROR", "ab" * 16)
    assert event.attributes == {"n": 1, "trace_id": "ab" * 16, "source": "api"}


@pytest.mark.parametrize(
    ("document", "level"),
    [
        ({"event": {"severity": "error"}}, "ERROR"),
        ({"event": {"level": "W"}}, "WARN"),
        ({"event": {"level": 50}}, "ERROR"),
        ({"event": "x", "fields": {"severity": "fatal"}}, "FATAL"),
        ({"event": "x", "fields": {"otel.log.severity.text": "Debug"}}, "DEBUG"),
        ({"event": "level=error msg=x"}, "ERROR"),
        ({"event": "no error at all"}, "INFO"),
    ],
)
def test_the_level_is_a_field_and_no_word_in_prose(document: Any, level: str) -> None:
    assert one(document).level == level


def test_an_events_own_names_stay_and_those_beside_it_give_way() -> None:
    event = one(
        {
            "event": {"host": "inner", "region": "a", "message": "m"},
            "fields": {"region": "b", "message": "n", "host": "field"},
            "host": "outer",
            "region": "c",
        }
    )
    assert event.message == "m"
    assert event.attributes == {
        "host": "inner",
        "region": "a",
        "fields.region": "b",
        "fields.message": "n",
        "fields.host": "field",
        "hec.region": "c",
        "hec.host": "outer",
    }
    assert event.correlation_id.startswith("unknown_service/outer/")


def test_a_field_called_message_beside_a_text_stays_a_field() -> None:
    event = one({"event": "said", "fields": {"message": "beside"}})
    assert (event.message, event.attributes) == ("said", {"message": "beside"})


def test_what_the_url_says_holds_for_events_that_do_not_say_it() -> None:
    raw = b'{"event":"a"}{"event":"b","host":"own","time":1795703906.5}'
    first, second = events(raw, "host=url&source=%2Fapi.log&sourcetype=t&index=i&time=1795703906.123")
    assert first.attributes == {"host": "url", "source": "/api.log", "sourcetype": "t", "index": "i"}
    assert (first.service_name, format_time(first.timestamp)) == ("api.log", WRITTEN)
    assert second.attributes["host"] == "own"
    assert format_time(second.timestamp) == "2026-11-26T14:38:26.500000Z"


LEAVES = st.sampled_from(
    [
        "event",
        "time",
        "host",
        "source",
        "sourcetype",
        "index",
        "fields",
        "message",
        "severity",
        "service",
        "timestamp",
        "x",
    ]
)


@given(data=st.data())
def test_nothing_that_an_object_says_is_lost(data: st.DataObject) -> None:
    said: list[str] = []

    def leaf() -> str:
        said.append(f"value-{len(said)}-")
        return said[-1]

    def value(depth: int) -> Any:
        kind = data.draw(st.sampled_from(["text", "text", "list", "object"] if depth else ["text"]))
        if kind == "text":
            return leaf()
        if kind == "list":
            return [value(depth - 1) for _ in range(data.draw(st.integers(0, 2)))]
        names = data.draw(st.lists(LEAVES, unique=True, max_size=4))
        return {name: value(depth - 1) for name in names}

    document = {name: value(2) for name in data.draw(st.lists(LEAVES, unique=True, max_size=8))}
    [(event)] = read(json.dumps(document).encode())[0]
    stored = event.encoded.decode()
    assert [text for text in said if text not in stored] == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(documents=st.lists(st.dictionaries(LEAVES | st.text(max_size=3), VALUES, max_size=5), min_size=1, max_size=4))
def test_any_objects_are_as_many_events_that_can_be_stored(documents: list[Any]) -> None:
    assert len(events("".join(map(json.dumps, documents)).encode())) == len(documents)


# --- lines -----------------------------------------------------------------------------------------------------------


def test_each_line_is_an_event_with_what_the_url_says() -> None:
    arrived = events(b"first\r\n\nlevel=warn second\n", "host=n1&source=api&channel=c", RAW)
    assert [(event.message, event.level, event.service_name) for event in arrived] == [
        ("first", "INFO", "api"),
        ("level=warn second", "WARN", "api"),
    ]
    assert arrived[0].attributes == {"host": "n1", "source": "api"}
    assert arrived[0].correlation_id == arrived[1].correlation_id
    assert arrived[0].correlation_id.startswith("api/n1/")


def test_a_line_that_is_json_has_its_fields_and_one_that_is_nearly_json_is_text() -> None:
    event = line(b'{"time":1795703906.123,"level":"error","msg":"hi","host":"n2"}', "source=api")
    assert (event.message, event.level, format_time(event.timestamp)) == ("hi", "ERROR", WRITTEN)
    assert event.correlation_id.startswith("api/n2/")
    odd = line(b"{main} started")
    assert (odd.message, odd.attributes) == ("{main} started", {})


@pytest.mark.parametrize("raw", [b"", b"\n \r\n", b"[]"])
def test_raw_without_a_line_is_no_data(raw: bytes) -> None:
    assert refused(raw, RAW)["code"] == 5


# --- identity --------------------------------------------------------------------------------------------------------


def ids(raw: bytes, query: str = "", **known: Any) -> list[str]:
    return [event.event_id for event in read(raw, query, **known)[0]]


def test_the_same_bytes_are_the_same_events_and_equal_events_differ() -> None:
    raw = b'{"time":1795703906,"event":"twice"}{"time":1795703906,"event":"twice"}'
    first, second, other = (ids(raw, digest=digest) for digest in (b"1", b"1", b"2"))
    assert first == second
    assert len({*first, *other}) == 4


def test_what_is_sent_again_in_other_batches_is_the_same_if_its_time_is_fine() -> None:
    rows = [b'{"time":1795703906.%06d,"event":"line"}' % (123457 + number) for number in range(100)]
    shipped = [
        [found for at in range(0, 100, size) for found in ids(b"".join(rows[at : at + size]), digest=bytes([at, size]))]
        for size in (7, 100)
    ]
    assert shipped[0] == shipped[1]
    assert len(set(shipped[0])) == 100


@pytest.mark.parametrize("own_id", [{"eventId": "x"}, {"event_id": "019ab0c4-52a0-7c1a-9d53-0242ac120002"}])
@pytest.mark.parametrize("where", ["fields", "event"])
def test_an_event_with_an_id_is_the_same_in_any_batch(own_id: Any, where: str) -> None:
    raw = json.dumps({"event": "m"} | {where: own_id | {"message": "m"}}).encode()
    assert {ids(raw, digest=b"1")[-1], ids(b'{"event":"other"}' + raw, digest=b"2")[-1]} == {ids(raw)[0]}


def test_a_kind_of_event_is_no_events_id() -> None:
    raw = b'{"time":1795703906,"event":"logon","fields":{"event_id":"4624"}}'
    assert len({*ids(raw, digest=b"1"), *ids(raw, digest=b"2")}) == 2


def test_what_the_url_says_is_a_part_of_the_identity() -> None:
    fine = b'{"time":1795703906.123457,"event":"same"}'
    for way in (EVENT, RAW):
        assert len({ids(fine, query, way=way)[0] for query in ("host=a", "host=b", "")}) == 3


def test_one_source_has_one_key() -> None:
    objects = [
        {"event": "x", "source": source, "host": host}
        for source, host in (("s", "n1"), ("s", "n1"), ("s", "n2"), ("t", "n1"))
    ]
    keys = [event.correlation_id for event in events(json.dumps(objects).encode())]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


# --- answers ---------------------------------------------------------------------------------------------------------


def said(reply: Reply) -> Any:
    assert reply.content_type == b"application/json"
    return json.loads(reply.body)


def answer(raw: bytes = b'{"event":1}', query: str = "", outcomes: Sequence[Any] = (HERE,), **headers: str) -> Any:
    _, submission = read(raw, query, headers=headers)
    return said(EVENT.answer(submission, outcomes))


def test_success_is_what_clients_look_for() -> None:
    assert answer() == {"text": "Success", "code": 0}


def test_a_client_with_a_channel_gets_a_number_and_is_told_that_it_is_durable() -> None:
    numbers = [
        answer(x_splunk_request_channel="01234567-89ab-cdef-0123-456789abcdef")["ackId"],
        answer(query="channel=01234567-89ab-cdef-0123-456789abcdef")["ackId"],
    ]
    asked = ACK.read(json.dumps({"acks": numbers}).encode(), example(), None)
    assert not asked.events
    assert said(ACK.answer(asked, [])) == {"acks": {str(number): True for number in numbers}}


def test_each_request_has_its_own_number_which_every_client_can_hold() -> None:
    receipts = [
        example(digest=digest, now=EPOCH + timedelta(microseconds=late), salt=salt)
        for digest in (b"1", b"2")
        for late in (0, 1)
        for salt in (b"", b"1")
    ]
    numbers = {ack_id(receipt) for receipt in receipts}
    assert len(numbers) == len(receipts)
    assert all(0 <= number < 2**53 for number in numbers)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"acks":1}', b'{"acks":["1"]}', b'{"acks":[true]}', b"{"])
def test_a_question_that_names_no_numbers_is_refused(raw: bytes) -> None:
    assert (refused(raw, ACK)["status"], refused(raw, ACK)["code"]) == (400, 6)


def test_so_is_one_that_names_too_many() -> None:
    assert "several requests" in refused(json.dumps({"acks": [*range(10_001)]}).encode(), ACK)["detail"]


@pytest.mark.parametrize(
    ("error", "status", "text", "code"),
    [
        (UnavailableError("away"), 503, "Server is busy", 9),
        (BadRequestError("odd"), 400, "Invalid data format", 6),
        (PayloadTooLargeError("large"), 413, "Request entity too large", 27),
        (NotFoundError("nothing"), 404, "Not Found", 404),
        (MethodNotAllowedError("POST"), 405, "Method Not Allowed", 405),
    ],
)
def test_errors_have_the_collectors_codes_and_say_what_to_change(
    error: ProblemError, status: int, text: str, code: int
) -> None:
    reply = EVENT.refuse(error, None, head())
    assert (reply.status, said(reply)) == (status, {"text": text, "code": code, "detail": error.detail})


def test_not_now_says_when_to_come_again() -> None:
    assert (b"retry-after", b"1") in EVENT.refuse(UnavailableError("away"), None, head()).headers


def test_an_event_that_was_refused_for_good_is_told() -> None:
    with pytest.raises(BadRequestError, match="event 1 was refused, the others are stored: odd") as caught:
        answer(b'{"event":1}{"event":2}', outcomes=[HERE, Refused(400, "odd", retryable=False)])
    assert said(EVENT.refuse(caught.value, None, head()))["invalid-event-number"] == 1


@pytest.mark.parametrize("path", ["/services/collector/health", "/services/collector/health/1.0"])
def test_those_that_ask_for_its_health_find_the_collector_there(path: str) -> None:
    ask = hec_health(None)  # type: ignore[arg-type]  # it has no settings
    found, seen = ask("GET", path, head()), ask("HEAD", path, head())
    assert found is not None
    assert seen is not None
    assert (found.status, said(found)) == (200, {"text": "HEC is healthy", "code": 17})
    assert (seen.status, seen.body) == (200, b"")
    assert ask("POST", path, head()) is None
    assert ask("GET", "/services/collector", head()) is None
