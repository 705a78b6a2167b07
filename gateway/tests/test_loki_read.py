"""Loki's push requests, as records and as events."""

import json

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocols import loki_json, loki_protobuf, wire_walk
from gateway.protocols.convert import Converter
from gateway.protocols.converted import converted
from gateway.protocols.lines import level_in_line
from gateway.protocols.loki_pb2 import Entry, LabelPair, PushRequest, Stream, Timestamp
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.sealed import SealedEvent
from shared.event.times import format_time
from shared.ingest.receipt import example
from shared.wire.problem import BadRequestError

NS = 1795703906_123456789
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True)
LABELS = st.dictionaries(NAMES, TEXT, min_size=1, max_size=4)
ENTRIES = st.tuples(st.integers(10**17, 7 * 10**18), TEXT, st.none() | st.dictionaries(NAMES, TEXT, max_size=3))
STREAMS = st.lists(st.tuples(LABELS, st.lists(ENTRIES, max_size=4)), max_size=3)
Streams = Sequence[tuple[dict[str, str], Sequence[tuple[int, str, dict[str, str] | None]]]]


def as_json(streams: Streams) -> bytes:
    return json.dumps(
        {
            "streams": [
                {
                    "stream": labels,
                    "values": [[str(ns), line] if more is None else [str(ns), line, more] for ns, line, more in values],
                }
                for labels, values in streams
            ]
        }
    ).encode()


def selector(labels: dict[str, str]) -> bytes:
    return f"{{{', '.join(f'{n}={json.dumps(v, ensure_ascii=False)}' for n, v in labels.items())}}}".encode()


def entry(ns: int, line: bytes, more: dict[str, str] | None = None) -> bytes:
    pairs = [LabelPair(name=n.encode(), value=v.encode()) for n, v in (more or {}).items()]
    time = Timestamp(seconds=ns // 10**9, nanos=ns % 10**9)
    return bytes(Entry(timestamp=time, line=line, structured_metadata=pairs).SerializeToString())


def push(*streams: tuple[bytes, Sequence[bytes]]) -> bytes:
    raw = [Stream(labels=labels, entries=entries).SerializeToString() for labels, entries in streams]
    return bytes(PushRequest(streams=raw).SerializeToString())


def as_protobuf(streams: Streams) -> bytes:
    return push(
        *(
            (selector(labels), [entry(ns, line.encode(), more) for ns, line, more in values])
            for labels, values in streams
        )
    )


def sealed(items: Any, **receipt: Any) -> list[SealedEvent]:
    return [event for event in converted(items, Converter(example("/loki/api/v1/push", **receipt), "loki")) if event]


def events(items: Any, **receipt: Any) -> list[ReceivedEvent]:
    return [decode_received(event.encoded) for event in sealed(items, **receipt)]


def of_json(streams: Any) -> list[ReceivedEvent]:
    return events(loki_json.read(json.dumps({"streams": streams}).encode()))


def one(*value: Any, stream: Any = None) -> ReceivedEvent:
    [event] = of_json([{"stream": stream or {"app": "checkout"}, "values": [list(value)]}])
    return event


@given(streams=STREAMS)
def test_json_and_protobuf_mean_the_same(streams: Streams) -> None:
    read = [events(loki_json.read(as_json(streams))), events(loki_protobuf.read(as_protobuf(streams)))]
    plain = [[event.model_dump(exclude={"event_id", "correlation_id"}) for event in some] for some in read]
    assert plain[0] == plain[1]
    assert len(read[0]) == sum(len(values) for _, values in streams)


@given(streams=STREAMS)
def test_a_line_arrives_with_its_labels_its_metadata_and_its_time(streams: Streams) -> None:
    arrived = iter(events(loki_json.read(as_json(streams))))
    for labels, values in streams:
        for ns, line, more in values:
            event = next(arrived)
            written = event.attributes.get("time_unix_nano")
            assert written in (None, str(ns))
            assert line.replace("\0", "␀").startswith(event.message)
            for name, value in labels.items():
                kept = {value.replace("\0", "␀"), (more or {}).get(name, value).replace("\0", "␀")}
                assert event.attributes[name] in kept
            for name, value in (more or {}).items():
                assert event.attributes[name] == value.replace("\0", "␀")


@given(streams=STREAMS)
def test_dense_bodies_are_read_alike(streams: Streams) -> None:
    body = as_json(streams)
    assert sealed(loki_json._walked(body)) == sealed(loki_json.read(body))
    body = as_protobuf(streams)
    assert sealed(loki_protobuf._walked(body)) == sealed(loki_protobuf.read(body))


@given(body=st.binary(max_size=80))
def test_any_bytes_are_a_request_or_refused_as_a_whole(body: bytes) -> None:
    for read in (loki_protobuf.read, loki_protobuf._walked, loki_json.read):
        with suppress(BadRequestError):
            events(read(body))


@given(body=st.builds(lambda text: b'{"streams":[' + text.encode() + b"]}", st.text('{}[]",: 1ntv\\', max_size=40)))
@settings(max_examples=200)
def test_any_json_is_a_request_or_refused_as_a_whole(body: bytes) -> None:
    with suppress(BadRequestError):
        events(loki_json.read(body))


def test_the_same_bytes_have_the_same_ids_and_equal_lines_differ() -> None:
    streams: Streams = [({"app": "a"}, [(NS, "twice", None), (NS, "twice", None), (NS - 789, "x", None)])]
    for body, read in ((as_json(streams), loki_json.read), (as_protobuf(streams), loki_protobuf.read)):
        first, second = sealed(read(body), digest=b"1"), sealed(read(body), digest=b"1")
        assert first == second
        assert len({event.event_id for event in first}) == 3


def test_a_batch_that_is_merged_with_newer_lines_repeats_the_ids_of_the_older_ones() -> None:
    old: Streams = [({"app": "a"}, [(NS, "one", None), (NS, "one", None), (NS + 1, "two", None)])]
    merged: Streams = [({"app": "a"}, [*old[0][1], (NS + 2, "three", None), (NS + 2, "one", None)])]
    ids = [
        [event.event_id for event in sealed(loki_protobuf.read(as_protobuf(some)), digest=bytes([n]))]
        for n, some in enumerate((old, merged))
    ]
    assert ids[1][:3] == ids[0]
    assert len(set(ids[1])) == 5


def test_one_stream_has_one_key_and_another_has_another() -> None:
    values = [[str(NS + n), f"line {n}"] for n in range(5)]
    arrived = of_json(
        [
            {"stream": {"app": "a", "host": "n1"}, "values": values},
            {"stream": {"app": "a", "host": "n2"}, "values": values},
        ]
    )
    assert len({event.correlation_id for event in arrived[:5]}) == 1
    assert len({event.correlation_id for event in arrived}) == 2
    assert arrived[0].correlation_id.startswith("a/n1/")


def test_a_level_among_the_labels_does_not_split_a_source() -> None:
    """As clients write it that make the level a label: the lines of one process belong together."""
    keys = set()
    for level in ("info", "error"):
        labels = {"app": "a", "host": "n1", "level": level}
        keys |= {event.correlation_id for event in of_json([{"stream": labels, "values": [[str(NS), "x"]]}])}
        keys |= {e.correlation_id for e in events(loki_protobuf.read(push((selector(labels), [entry(NS, b"x")]))))}
    assert len(keys) == 1


def test_the_trace_in_the_metadata_is_the_key() -> None:
    event = one(str(NS), "line", {"trace_id": "0AF7651916CD43DD8448EB211C80319C"})
    assert event.correlation_id == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("labels", "service"),
    [
        ({"service_name": "a", "service": "b", "app": "c"}, "a"),
        ({"app": "c", "service": "b"}, "b"),
        ({"job": "j", "container": "k"}, "k"),
        ({"k8s_job_name": "z"}, "z"),
        ({"service_name": " ", "app": "c"}, "c"),
        ({"filename": "/var/log/x"}, "unknown_service"),
        ({}, "unknown_service"),
    ],
)
def test_the_service_is_the_first_label_of_lokis_list(labels: dict[str, str], service: str) -> None:
    assert of_json([{"stream": labels, "values": [[str(NS), "x"]]}])[0].service_name == service


@pytest.mark.parametrize(
    ("labels", "line", "metadata", "level"),
    [
        ({"level": "warn"}, "x", {"detected_level": "error"}, "ERROR"),
        ({"level": "warn"}, "level=error", {"detected_level": "unknown"}, "WARN"),
        ({"severity": "critical"}, "x", {}, "FATAL"),
        ({"level": "info"}, "x", {"level": "debug"}, "DEBUG"),
        ({}, '{"level":"error","msg":"x"}', {}, "ERROR"),
        ({}, '{"msg":"level=error"}', {}, "INFO"),
        ({}, '{"level":50}', {}, "ERROR"),
        ({}, 'ts=1 level=warning msg="all good"', {}, "WARN"),
        ({}, 'lvl="error" x', {}, "ERROR"),
        ({}, "no error here, level of water", {}, "INFO"),
        ({}, "sublevel=error", {}, "INFO"),
        ({}, '{"nested":{"level":"error"}}', {}, "INFO"),
        ({}, '{"level":"error"', {}, "INFO"),
    ],
)
def test_the_level_is_a_field_and_never_a_word_in_prose(
    labels: dict[str, str], line: str, metadata: dict[str, str], level: str
) -> None:
    [event] = of_json([{"stream": {"app": "a"} | labels, "values": [[str(NS), line, metadata]]}])
    assert event.level == level
    body = push((selector({"app": "a"} | labels), [entry(NS, line.encode(), metadata)]))
    assert events(loki_protobuf.read(body))[0].level == level


@given(line=st.binary(max_size=60) | st.text(max_size=60))
def test_a_level_is_looked_for_in_any_line(line: bytes | str) -> None:
    level_in_line(line)


@pytest.mark.parametrize(
    ("sent", "message"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("\n", ""), ("", ""), ("a", "a")]
)
def test_one_end_of_line_is_no_part_of_the_message(sent: str, message: str) -> None:
    assert one(str(NS), sent).message == message


@pytest.mark.parametrize(
    ("time", "stored", "written"),
    [
        (str(NS), "2026-11-26T14:38:26.123456Z", None),
        (NS, "2026-11-26T14:38:26.123456Z", None),
        ("1795703906", "2026-11-26T14:38:26.000000Z", None),
        ("2026-11-26T14:38:26.5Z", "2026-11-26T14:38:26.500000Z", None),
        ("soon", "1970-01-01T00:00:00.000000Z", "soon"),
        ("-1", "1970-01-01T00:00:00.000000Z", "-1000000000"),
        ("9" * 30, "1970-01-01T00:00:00.000000Z", "9" * 30),
        ([1], "1970-01-01T00:00:00.000000Z", "[1]"),
        ("\u0661" * 19, "1970-01-01T00:00:00.000000Z", "\u0661" * 19),
    ],
)
def test_any_time_is_taken_and_what_cannot_be_kept_is_told(time: Any, stored: str, written: str | None) -> None:
    event = one(time, "x")
    assert format_time(event.timestamp) == stored
    assert event.attributes.get("_time") == written


def test_a_line_without_a_time_has_that_of_its_receipt_and_is_counted() -> None:
    for body, read in (
        (b'{"streams":[{"stream":{"a":"b"},"values":[[null,"x"]]}]}', loki_json.read),
        (push((b'{a="b"}', [Entry(line=b"x").SerializeToString()])), loki_protobuf.read),
    ):
        converter = Converter(example(), "loki")
        [event] = [event for event in converted(read(body), converter) if event]
        assert (event.timestamp, converter.untimed) == ("1970-01-01T00:00:00.000000Z", 1)


def test_thirty_days_old_lines_are_stored_with_their_time() -> None:
    assert format_time(one(str(NS - 30 * 86400 * 10**9), "x").timestamp).startswith("2026-10-27")


def test_the_form_of_lokis_first_version_is_read() -> None:
    body = {
        "streams": [
            {"labels": '{app="old",x="1"}', "entries": [{"ts": "2026-11-26T14:38:26.123456789Z", "line": "hello"}]}
        ]
    }
    [event] = events(loki_json.read(json.dumps(body).encode()))
    assert (event.service_name, event.message, event.attributes) == (
        "old",
        "hello",
        {"app": "old", "x": "1", "time_unix_nano": str(NS)},
    )


@pytest.mark.parametrize(
    "bad",
    [
        b'["1795703906123456789","\xff"]',
        b'["1795703906123456789","a\x01\nb"]',
        b'["1795703906123456789","\\ud83d"]',
        b'["1795703906123456789",NaN]',
        b'["1795703906123456789","a",{"x":NaN,"y":{"z":[1,2]}}]',
        b'["1795703906123456789","a","b","c"]',
        b'["1795703906123456789",{"json":"object"}]',
        b'["1795703906123456789",null]',
        b'["1795703906123456789"]',
        b"[]",
        b"{}",
        b"null",
        b"17",
        b'"text"',
        b"[1, nonsense]",
        b'["1795703906123456789",' + b"[" * 100 + b"]" * 100 + b"]",
        b'["1795703906123456789",' + b"[" * 5000 + b"]" * 5000 + b"]",
    ],
)
def test_one_bad_json_entry_of_many_costs_only_itself(bad: bytes) -> None:
    good = b",".join(b'["%d","line %d"]' % (NS + n, n) for n in range(1000))
    body = b'{"streams":[{"stream":{"app":"a"},"values":[%b,%b,%b]}]}' % (good, bad, good)
    arrived = events(loki_json.read(body))
    assert [event.message for event in arrived if event.message.startswith("line ")] == [
        f"line {n}" for n in range(1000)
    ] * 2
    assert len(arrived) == 2001


def test_one_broken_protobuf_entry_of_many_costs_only_itself() -> None:
    entries = [entry(NS + n, b"line %d" % n) for n in range(999)]
    entries.insert(500, entry(NS, b"cut off here")[:-3])
    arrived = events(loki_protobuf.read(push((b'{app="a"}', entries))))
    assert len(arrived) == 1000
    assert arrived[500].attributes["_repaired"].startswith("record")
    assert [event.message for event in arrived if "_raw" not in event.attributes] == [f"line {n}" for n in range(999)]


def test_invalid_utf8_in_one_line_a_label_and_metadata_costs_nothing_but_the_character() -> None:
    bad = Entry(
        timestamp=Timestamp(seconds=1795703906),
        line=b"a\xffb",
        structured_metadata=[LabelPair(name=b"k\xff", value=b"\xfe")],
    )
    arrived = events(loki_protobuf.read(push((b'{app="a",l="\xff"}', [bad.SerializeToString(), entry(NS, b"good")]))))
    assert [event.message for event in arrived] == ["a�b", "good"]
    assert arrived[0].attributes == {"k�": "�", "app": "a", "l": "�", "_repaired": "utf8"}


def test_labels_that_are_none_are_kept_as_they_are() -> None:
    [event] = events(loki_protobuf.read(push((b'{app=~"a.*"}', [entry(NS, b"x")]))))
    assert event.attributes["labels"] == '{app=~"a.*"}'


def test_a_broken_stream_of_many_costs_only_itself() -> None:
    raw = [Stream(labels=b'{app="a"}', entries=[entry(NS, b"x")]).SerializeToString(), b"\x12\xff", b""]
    arrived = events(loki_protobuf.read(PushRequest(streams=raw).SerializeToString()))
    assert arrived[0].message == "x"
    assert arrived[1].attributes["_raw"] == "Ev8="
    assert len(arrived) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"stream":[]}',
        b'{"streams":{}}',
        b'{"streams":1}',
        b'{"streams":[]} x',
        b"text",
    ],
)
def test_json_that_is_no_push_request_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        events(loki_json.read(body))


@pytest.mark.parametrize(
    "body",
    [
        b'{"streams":[]}',
        b'{"streams":null}',
        b'\xef\xbb\xbf {"streams": [ ] , "x": 1 }',
        b'{"streams":[{"stream":{}}]}',
        b'{"streams":[{"stream":{},"values":null}]}',
    ],
)
def test_a_request_may_have_no_lines(body: bytes) -> None:
    assert events(loki_json.read(body)) == []
    assert events(loki_json._walked(body.removeprefix(b"\xef\xbb\xbf"))) == []


def test_truncated_protobuf_is_refused_as_a_whole() -> None:
    body = push((b'{app="a"}', [entry(NS, b"x" * 50)] * 3))
    for cut in range(1, len(body)):
        for read in (loki_protobuf.read, loki_protobuf._walked):
            with pytest.raises(BadRequestError):
                events(read(body[:cut]))
    assert events(loki_protobuf.read(b"")) == []


def test_fifteen_thousand_lines_are_taken() -> None:
    streams: Streams = [({"app": "a"}, [(NS + n, f"line {n}", None) for n in range(15_000)])]
    assert len(events(loki_json.read(as_json(streams)))) == 15_000
    assert len(events(loki_protobuf.read(as_protobuf(streams)))) == 15_000


def test_bodies_with_nothing_but_tiny_entries_take_no_more_memory_than_their_bytes() -> None:
    body = push((b'{app="a"}', [b""] * 300_000))
    assert wire_walk.is_dense(body)
    assert sum(item is not None for item in loki_protobuf.read(body)) == 300_000
    many = b'{"streams":[{"stream":{},"values":[%b[]]}]}' % (b"[]," * 30_000)
    assert sum(item is not None for item in loki_json.read(many)) == 30_001


def test_large_bodies_are_walked_and_not_parsed_at_once() -> None:
    line = "x" * 1000
    streams: Streams = [({"app": "a"}, [(NS + n, line, None) for n in range(17_000)])]
    for items in (loki_json.read(as_json(streams)), loki_protobuf.read(as_protobuf(streams))):
        assert next(items) is None  # a pause, before the first record is found
        assert sum(item is not None for item in items) == 17_000
