"""Elasticsearch's bulk requests, as actions, as events, and their answers."""

import json

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.bulk import Bulk, _Asked
from gateway.protocols.bulk_lines import MAX_ACTIONS, actions
from gateway.tests.front_door import drained
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.outcome import Accepted, Refused
from shared.event.sealed import SealedEvent
from shared.event.times import format_time
from shared.ingest.protocol import Submission
from shared.ingest.receipt import example
from shared.wire.problem import BadRequestError, PayloadTooLargeError

BULK = Bulk()
TIME = "2026-11-26T14:38:26.123Z"
HERE = Accepted("region-a")


def body(*lines: Any) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def read(raw: bytes, index: str = "", **receipt: Any) -> tuple[list[SealedEvent], Submission]:
    return drained(BULK.read(raw, example("/_bulk", **receipt), _Asked(index, b"application/json")))


def events(raw: bytes, index: str = "") -> list[ReceivedEvent]:
    return [decode_received(event.encoded) for event in read(raw, index)[0]]


def one(document: Any, action: Any = None, index: str = "logs") -> ReceivedEvent:
    [event] = events(body(action or {"index": {}}, document), index)
    return event


def answer(raw: bytes, index: str = "logs", outcomes: Sequence[Any] | None = None) -> Any:
    sealed, submission = read(raw, index)
    reply = BULK.answer(submission, outcomes or [HERE] * len(sealed))
    assert reply.status == 200
    return json.loads(reply.body)


def test_a_document_arrives_with_all_its_fields() -> None:
    event = one(
        {
            "@timestamp": TIME,
            "message": "hello",
            "log": {"level": "warning", "file": {"path": "/var/log/a.log"}},
            "service": {"name": "checkout"},
            "host": {"name": "n17"},
            "n": 1,
            "x": 1.50,
            "tags": ["a", "b"],
            "none": None,
        }
    )
    assert (event.message, event.level, event.service_name) == ("hello", "WARN", "checkout")
    assert format_time(event.timestamp) == "2026-11-26T14:38:26.123000Z"
    assert {name: str(value) for name, value in event.attributes.items()} == {
        "log.file.path": "/var/log/a.log",
        "host.name": "n17",
        "n": "1",
        "x": "1.5",
        "tags": '["a","b"]',
        "none": "None",
        "severity_text": "warning",
        "_index": "logs",
    }
    assert event.correlation_id.startswith("checkout/n17/")


@pytest.mark.parametrize(
    ("document", "service"),
    [
        ({"service": {"name": "a"}, "agent": {"name": "z"}}, "a"),
        ({"service.name": "a"}, "a"),
        ({"kubernetes": {"labels": {"app": "k"}}}, "k"),
        ({"container": {"name": "c"}}, "c"),
        ({"agent": {"name": "z"}}, "z"),
        ({"data_stream": {"dataset": "nginx"}}, "nginx"),
        ({}, "logs"),
    ],
)
def test_the_service_is_the_first_field_that_names_one(document: Any, service: str) -> None:
    assert one(document).service_name == service


def test_a_data_streams_name_has_the_service() -> None:
    assert one({}, {"create": {"_index": "logs-nginx.access-prod"}}).service_name == "nginx.access"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"message": "m", "event": {"original": "o"}}, "m"),
        ({"event": {"original": "o"}}, "o"),
        ({"log": "fluent"}, "fluent"),
        ({"message": 5}, "5"),
        ({"message": ""}, ""),
        ({"a": {"b": 1}}, '{"a": {"b": 1}}'),
        ({"message": {"nested": 1}}, '{"message": {"nested": 1}}'),
    ],
)
def test_a_document_without_a_message_is_its_own(document: Any, message: str) -> None:
    assert one(document).message == message


def test_each_action_has_one_item_in_order_under_its_own_name() -> None:
    raw = body(
        {"create": {"_index": "a", "_id": "1"}}, {"message": "one"},
        {"delete": {"_index": "a", "_id": "2"}},
        {"index": {}}, {"message": "two"},
        {"update": {"_index": "a", "_id": "3"}}, {"doc": {"message": "three"}},
        {"index": {"_index": "b"}}, {"message": "four"},
    )  # fmt: skip
    result = answer(raw)
    assert (result["errors"], [next(iter(item)) for item in result["items"]]) == (
        True,
        ["create", "delete", "index", "update", "index"],
    )
    assert [next(iter(item.values()))["status"] for item in result["items"]] == [201, 400, 201, 400, 201]
    assert [next(iter(item.values()))["_index"] for item in result["items"]] == ["a", "a", "logs", "a", "b"]
    assert result["items"][0]["create"]["_id"] == "1"
    assert result["items"][1]["delete"]["error"]["type"] == "illegal_argument_exception"
    assert [event.message for event in events(raw)] == ["one", "two", "four"]
    assert result["items"][2]["index"]["_id"] == str(events(raw, "logs")[1].event_id)


def test_beats_read_the_answer() -> None:
    # They stop at an item whose status they do not find, or that has another count of members than one.
    result = answer(body({"create": {}}, {"message": "x"}))
    assert set(result) == {"took", "errors", "items"}
    [item] = result["items"]
    assert list(item) == ["create"]
    assert item["create"] | {"status": 201, "result": "created", "_version": 1} == item["create"]


def test_a_permanent_refusal_is_told_in_its_item() -> None:
    result = answer(
        body({"create": {"_id": "1"}}, {}, {"index": {}}, {}), outcomes=[Refused(400, "too odd", retryable=False), HERE]
    )
    assert result["errors"] is True
    assert result["items"][0] == {
        "create": {
            "_index": "logs",
            "_id": "1",
            "status": 400,
            "error": {"type": "document_parsing_exception", "reason": "too odd"},
        }
    }
    assert result["items"][1]["index"]["status"] == 201


@pytest.mark.parametrize(
    "bad",
    [
        b'{"message":"cut of',
        b"plain text",
        b"[1,2]",
        b'"text"',
        b"17",
        b"null",
        b'{"m":"\xff"}',
        b'{"m":NaN,"n":1e999}',
        b'{"m":"\\ud83d"}',
    ],
)
def test_a_bad_document_of_a_thousand_costs_only_itself(bad: bytes) -> None:
    lines: list[Any] = []
    for n in range(1000):
        lines += [{"create": {}}, bad if n == 500 else {"message": f"line {n}"}]
    raw = body(*lines)
    arrived = events(raw)
    assert [event.message for event in arrived if event.message.startswith("line ")] == [
        f"line {n}" for n in range(1000) if n != 500
    ]
    assert len(arrived) == 1000
    assert "_repaired" in arrived[500].attributes
    assert answer(raw)["errors"] is False


def test_a_control_character_in_a_text_is_kept() -> None:
    event = one(b'{"m":"a\x01b\tc"}')
    assert (event.attributes["m"], "_repaired" in event.attributes) == ("a\x01b\tc", False)


@pytest.mark.parametrize(
    "lines", [[{"index": {}}, b"", {"index": {}}, {"message": "x"}], [{"index": {}}, {"message": "x"}, {"index": {}}]]
)
def test_an_action_without_a_document_is_refused_by_itself(lines: list[Any]) -> None:
    result = answer(body(*lines))
    assert sorted(item["index"]["status"] for item in result["items"]) == [201, 400]


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense",
        b"{}",
        b'{"message":"x"}',
        b"[]",
        b'{"index":5}',
        b'{"index":{},"create":{}}',
        b'{"index":{"_index":5}}',
        b'{"index":null}',
        b"\xff",
    ],
)
def test_after_a_malformed_action_nothing_is_stored(bad: bytes) -> None:
    with pytest.raises(BadRequestError, match=r"line \[3\].*nothing of the request was stored"):
        read(body({"index": {}}, {"message": "x"}, bad, {"message": "y"}))


@pytest.mark.parametrize("raw", [b"", b"\n", b" \n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_body_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequestError, match="request body is required"):
        read(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"index":{}}\n{"message":"x"}',
        b'{"index":{}}\r\n{"message":"x"}\r\n',
        b'\n{"index":{}}\n{"message":"x"}\n\n',
        b'\xef\xbb\xbf{"index":{}}\n{"message":"x"}\n',
        b'{"index":{"_index":null,"_id":null,"pipeline":"p","routing":"r","require_alias":false,"dynamic_templates":{}}}\n{"message":"x"}\n',
    ],
)
def test_line_ends_and_parameters_of_all_kinds_are_taken(raw: bytes) -> None:
    assert [event.message for event in events(raw)] == ["x"]


def test_of_two_equal_keys_the_last_one_counts() -> None:
    assert one(b'{"message":"a","message":"b","x":1,"x":2}').attributes["x"] == 2
    assert one(b'{"message":"a","message":"b"}').message == "b"


def test_a_dotted_name_beside_a_nested_one_loses_nothing() -> None:
    attributes = one({"a.b": 1, "a": {"b": 2}}).attributes
    assert sorted(value for name, value in attributes.items() if name.startswith("a.b")) == [1, 2]


def test_a_document_with_an_id_is_one_event_in_any_batch_and_at_any_place() -> None:
    x, y = [{"index": {"_id": "x"}}, {"@timestamp": TIME}], [{"index": {"_id": "y"}}, {"@timestamp": TIME}]
    first, _ = read(body(*x, *y), digest=b"1")
    second, _ = read(body(*y, {"create": {"_id": "x"}}, {"@timestamp": TIME, "message": "changed"}), digest=b"2")
    assert [event.event_id for event in first] == [event.event_id for event in second][::-1]
    assert one({}, {"index": {"_id": "x"}}).attributes["_id"] == "x"


def test_the_same_id_in_another_index_is_another_event() -> None:
    ids = [
        read(body({"index": {"_id": "x", "_index": index}}, {"@timestamp": TIME}))[0][0].event_id
        for index in ("a", "b")
    ]
    assert ids[0] != ids[1]


def test_without_ids_the_same_bytes_are_the_same_events_and_equal_documents_differ() -> None:
    raw = body(*[{"index": {}}, {"@timestamp": TIME, "message": "twice"}] * 2)
    first, second, other = (read(raw, digest=digest)[0] for digest in (b"1", b"1", b"2"))
    assert [event.event_id for event in first] == [event.event_id for event in second]
    assert len({event.event_id for event in [*first, *other]}) == 4


def test_a_file_keeps_its_key_when_a_new_days_index_begins() -> None:
    document = {"host": {"name": "n"}, "log": {"file": {"path": "/a"}}, "message": "x", "service": {"name": "s"}}
    keys = {one(document, index=index).correlation_id for index in ("logs-2026.11.26", "logs-2026.11.27")}
    assert len(keys) == 1
    assert one(document | {"log": {"file": {"path": "/b"}}}).correlation_id not in keys


def test_a_trace_is_the_key() -> None:
    assert (
        one({"trace": {"id": "0AF7651916CD43DD8448EB211C80319C"}}).correlation_id == "0af7651916cd43dd8448eb211c80319c"
    )


def test_fifteen_thousand_documents_are_taken_and_answered() -> None:
    raw = body(*chain.from_iterable(({"create": {}}, {"message": f"line {n}"}) for n in range(15_000)))
    result = answer(raw)
    assert len(result["items"]) == 15_000
    assert len({item["create"]["_id"] for item in result["items"]}) == 15_000


def test_more_actions_than_an_answer_may_have_are_refused_before_any_is_stored() -> None:
    line = b'{"index":{}}\n{}\n'
    with pytest.raises(PayloadTooLargeError, match="split it"):
        for _ in actions(line * (MAX_ACTIONS + 1), ""):
            pass


def test_old_documents_are_stored_with_their_time() -> None:
    assert format_time(one({"@timestamp": "2026-10-27T00:00:00Z"}).timestamp) == "2026-10-27T00:00:00.000000Z"


DOCUMENTS = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=5,
    ),
    max_size=5,
)


@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_any_documents_are_events_and_items(documents: list[Any]) -> None:
    raw = body(*chain.from_iterable(({"create": {}}, document) for document in documents))
    assert len(answer(raw)["items"]) == len(events(raw)) == len(documents)


@given(
    raw=st.lists(
        st.sampled_from(
            [
                b'{"index":{}}',
                b'{"create":{"_id":"\xff"}}',
                b'{"delete":{}}',
                b"{}",
                b"\xff",
                b"",
                b"text",
                b'{"message":"x"}',
                b"\r",
            ]
        ),
        max_size=8,
    ).map(b"\n".join)
    | st.binary(max_size=60)
)
def test_any_bytes_are_a_request_or_refused_as_a_whole(raw: bytes) -> None:
    with suppress(BadRequestError):
        answer(raw)


@pytest.mark.parametrize("index", ['we"ird', "ünï", "a\\b", "x" * 600])
def test_an_index_and_an_id_of_any_characters_are_answered(index: str) -> None:
    [item] = answer(body({"index": {"_index": index, "_id": index}}, {}))["items"]
    assert (item["index"]["_index"], item["index"]["_id"]) == (index, index)
