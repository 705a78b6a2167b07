"""JSON and lines of any shape, as records and as events."""

import json

from typing import Any

import pytest

from hypothesis import example as always
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.ingest import Ingest
from gateway.protocols.json_lines import records
from gateway.tests.front_door import drained
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.outcome import Accepted, Refused
from shared.event.sealed import SealedEvent
from shared.event.times import format_time
from shared.ingest.head import Head
from shared.ingest.protocol import Submission
from shared.ingest.receipt import example
from shared.wire.problem import BadRequestError

INGEST = Ingest()
TIME = "2026-11-26T14:38:26.123Z"
MS = 1795703906123


def head(query: str = "") -> Head:
    return Head({"type": "http", "method": "POST", "path": "/ingest", "headers": [], "query_string": query.encode()})


def read(raw: bytes, query: str = "", **receipt: Any) -> tuple[list[SealedEvent], Submission]:
    return drained(INGEST.read(raw, example("/ingest", **receipt), INGEST.check(head(query))))


def events(raw: bytes, query: str = "") -> list[ReceivedEvent]:
    return [decode_received(event.encoded) for event in read(raw, query)[0]]


def one(document: Any, query: str = "") -> ReceivedEvent:
    [event] = events(document if isinstance(document, bytes) else json.dumps(document).encode(), query)
    return event


def lines(raw: bytes) -> list[bytes]:
    return [line for line in records(raw) if line is not None]


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":1}\r\n\r\n{"b":2}', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":1}\r{"b":2}\r', [b'{"a":1}', b'{"b":2}']),
        (b'\xef\xbb\xbf{"a":1}', [b'{"a":1}']),
        (b'{"a":1}{"b":2} {"c":3}\n{"d":4}', [b'{"a":1}', b'{"b":2}', b'{"c":3}', b'{"d":4}']),
        (b'{"a":1},\n{"b":2}', [b'{"a":1}', b'{"b":2}']),
        (b'{\n "a": {\n  "b": 1\n }\n}\n{"c":3}\n', [b'{\n "a": {\n  "b": 1\n }\n}', b'{"c":3}']),
        (b' [ {"a":1} , {"b":[2]} ] ', [b'{"a":1}', b'{"b":[2]}']),
        (b"[]", []),
        (b'["text",1]', [b'"text"', b"1"]),
        (b"[2026-11-27] started\n[2026-11-27] done\n", [b"[2026-11-27] started", b"[2026-11-27] done"]),
        (b'[{"a":1}]\n[{"b":2}]\n', [b'[{"a":1}]', b'[{"b":2}]']),
        (b"[started]\n", [b"[started]"]),
        (b"[main, worker]", [b"[main, worker]"]),
        (b"[1, null, NaN]", [b"[1, null, NaN]"]),
        (b'[{"a":1}, NaN, {"b":2}]', [b'{"a":1}', b"NaN", b'{"b":2}']),
        (b"plain\n   at indented\n\n", [b"plain", b"   at indented"]),
        (b'{"a":"cut\n{"b":2}\ntext {"c":3}\n', [b'{"a":"cut', b'{"b":2}', b'text {"c":3}']),
        (b"{not json}\n", [b"{not json}"]),
        (b'{"a":1} tail\n{"b":2}', [b'{"a":1}', b"tail", b'{"b":2}']),
    ],
)
def test_records_are_found_in_any_shape(raw: bytes, found: list[bytes]) -> None:
    assert lines(raw) == found


@given(
    documents=st.lists(
        st.dictionaries(st.text(max_size=3), st.text('{}[]",\\\n a', max_size=5) | st.integers()), max_size=5
    )
)
def test_all_ways_to_write_documents_have_the_same_ones(documents: list[Any]) -> None:
    written = [json.dumps(document) for document in documents]
    shapes = [
        json.dumps(documents),
        json.dumps(documents, indent=2),
        "\n".join(written),
        "".join(written),
        ",".join(written),
        "\n".join(json.dumps(document, indent=1) for document in documents),
    ]
    for shape in shapes:
        assert [json.loads(line) for line in lines(shape.encode())] == documents


@given(raw=st.binary(max_size=60) | st.text('{}[]",:\\\n 1a', max_size=40).map(str.encode))
@always(raw=b"[\x00]")
@always(raw=b"[{a}, 1]")
def test_nothing_of_any_body_is_lost(raw: bytes) -> None:
    text = raw.removeprefix(b"\xef\xbb\xbf")
    kept = b"".join(lines(raw))
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list):
        blanks = b" \t\r\n,"
        whole, found = text.translate(None, blanks), kept.translate(None, blanks)
        # An array may have bad elements beside an object. Its brackets are no part of a record.
        assert found == whole or (b"{" in whole and b"[%b]" % found == whole)


@given(raw=st.binary(min_size=1, max_size=60) | st.text('{}[]",:\\\n 1a', min_size=1, max_size=40).map(str.encode))
@always(raw=b"\x1f\x8b")
def test_any_bytes_that_are_not_compressed_are_events(raw: bytes) -> None:
    if raw.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        with pytest.raises(BadRequestError, match="Content-Encoding"):
            events(raw)
    elif raw.strip():
        assert len(events(raw)) == len(lines(raw))


def test_many_objects_that_never_end_take_no_longer_than_their_length() -> None:
    assert len(lines(b'{"a":{\n' * 100_000)) == 100_000


PRESETS: dict[str, tuple[Any, tuple[str, str, str, str]]] = {
    "pino": (
        {"level": 50, "time": MS, "pid": 7, "hostname": "n1", "name": "api", "msg": "hi"},
        ("api", "ERROR", "hi", "2026-11-26T14:38:26.123000Z"),
    ),
    "bunyan": (
        {"name": "api", "hostname": "n1", "pid": 7, "level": 30, "msg": "hi", "time": TIME, "v": 0},
        ("api", "INFO", "hi", "2026-11-26T14:38:26.123000Z"),
    ),
    "ecs": (
        {"@timestamp": TIME, "log.level": "ERROR", "message": "hi", "service.name": "api", "ecs.version": "1.6.0"},
        ("api", "ERROR", "hi", "2026-11-26T14:38:26.123000Z"),
    ),
    "docker": (
        {"log": "hi\n", "stream": "stderr", "time": "2026-11-26T14:38:26.123456789Z", "attrs": {"tag": "api"}},
        ("api", "INFO", "hi", "2026-11-26T14:38:26.123456Z"),
    ),
    "fluentbit": (
        {
            "date": 1795703906.123456,
            "log": "hi",
            "kubernetes": {"labels": {"app": "api"}, "pod_name": "api-1"},
            "level": "warn",
        },
        ("api", "WARN", "hi", "2026-11-26T14:38:26.123456Z"),
    ),
    "vector": (
        {
            "timestamp": "2026-11-26T14:38:26.123456789Z",
            "message": "hi",
            "host": "n1",
            "source_type": "file",
            "file": "/a",
        },
        ("file", "INFO", "hi", "2026-11-26T14:38:26.123456Z"),
    ),
    "journald": (
        {
            "__REALTIME_TIMESTAMP": "1795703906123456",
            "PRIORITY": "3",
            "SYSLOG_IDENTIFIER": "sshd",
            "_HOSTNAME": "n1",
            "MESSAGE": [104, 105],
            "__CURSOR": "s=1;i=2",
        },
        ("sshd", "ERROR", "hi", "2026-11-26T14:38:26.123456Z"),
    ),
    "winston": (
        {"level": "silly", "message": "hi", "timestamp": TIME, "service": "api"},
        ("api", "TRACE", "hi", "2026-11-26T14:38:26.123000Z"),
    ),
    "python": (
        {"levelname": "CRITICAL", "levelno": 50, "created": 1795703906.123456, "name": "api.views", "message": "hi"},
        ("api.views", "FATAL", "hi", "2026-11-26T14:38:26.123456Z"),
    ),
    "gelf": (
        {"version": "1.1", "host": "n1", "short_message": "hi", "timestamp": 1795703906.123, "level": 4, "_app": "api"},
        ("api", "WARN", "hi", "2026-11-26T14:38:26.123000Z"),
    ),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_know_their_formats(preset: str) -> None:
    document, (service, level, message, time) = PRESETS[preset]
    event = one(document, f"preset={preset}")
    assert (event.service_name, event.level, event.message, format_time(event.timestamp)) == (
        service,
        level,
        message,
        time,
    )
    assert "_repaired" not in event.attributes


def test_winstons_own_transport_is_known_in_both_of_its_forms() -> None:
    old = {"method": "collect", "params": {"level": "warn", "message": "hi", "meta": {"service": "api"}}}
    event = one(old, "preset=winston")
    assert (event.service_name, event.level, event.message, event.attributes) == (
        "api",
        "WARN",
        "hi",
        {"method": "collect"},
    )


@pytest.mark.parametrize("preset", ["ecs", "fluentbit", "winston"])
def test_most_formats_are_guessed(preset: str) -> None:
    document, (service, level, message, time) = PRESETS[preset]
    event = one(document)
    assert (event.service_name, event.level, event.message, format_time(event.timestamp)) == (
        service,
        level,
        message,
        time,
    )


@pytest.mark.parametrize(
    ("level", "is_ours"),
    [
        (10, "TRACE"),
        (30, "INFO"),
        (60, "FATAL"),
        (3, "ERROR"),
        ("6", "INFO"),
        ("W", "WARN"),
        ("notice", "INFO"),
        (999999, "FATAL"),
        (-1, "INFO"),
        ("odd", "INFO"),
    ],
)
def test_levels_of_which_nothing_is_known_are_guessed(level: Any, is_ours: str) -> None:
    assert one({"level": level, "message": "x"}).level == is_ours


def test_parameters_say_what_fields_mean() -> None:
    document = {
        "when": "1795703906",
        "was": "hi",
        "sev": "E",
        "unit": "api",
        "tid": "t-1",
        "n": 1,
        "uid": "u",
        "box": "n9",
    }
    event = one(document, "time=at,when&message=was&level=sev&service=unit&trace=tid&id=uid&host=box")
    assert (event.service_name, event.level, event.message, event.correlation_id) == ("api", "ERROR", "hi", "t-1")
    assert format_time(event.timestamp) == "2026-11-26T14:38:26.000000Z"
    assert event.attributes == {"tid": "t-1", "n": 1, "uid": "u", "box": "n9", "severity_text": "E"}


@pytest.mark.parametrize("query", ["preset=pinoo", "preset=pino&preset=ecs", "preset="])
def test_an_unknown_preset_is_refused(query: str) -> None:
    with pytest.raises(BadRequestError, match="preset must be one of pino, bunyan"):
        read(b"x", query)


@pytest.mark.parametrize(
    ("raw", "said"), [(b"", "empty"), (b" \n\n", "empty"), (b"\x1f\x8b\x08\x00", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd")]
)
def test_a_body_in_which_nothing_can_be_read_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        read(raw)


def test_a_line_that_is_no_json_is_the_message() -> None:
    event = one(b"\tat java.lang.Thread.run\xff")
    assert (event.message, event.service_name, event.attributes["_repaired"]) == (
        "\tat java.lang.Thread.run�",
        "unknown_service",
        "utf8",
    )


@pytest.mark.parametrize(
    "bad",
    [
        b'{"message":"cut of',
        b"text",
        b'{"m":"\xff"}',
        b'{"m":NaN}',
        b'{"m":"\\ud83d"}',
        b'{"m":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a":' * 5000,
    ],
)
def test_a_bad_line_of_a_thousand_costs_only_itself(bad: bytes) -> None:
    good = [b'{"message":"line %d"}' % n for n in range(1000)]
    arrived = events(b"\n".join([*good[:500], bad, *good[500:]]))
    assert [event.message for event in arrived if event.message.startswith("line ")] == [
        f"line {n}" for n in range(1000)
    ]
    assert len(arrived) == 1001


def test_the_same_bytes_are_the_same_events_and_equal_lines_differ() -> None:
    raw = b'{"msg":"twice"}\n{"msg":"twice"}\n'
    first, second, other = (read(raw, digest=digest)[0] for digest in (b"1", b"1", b"2"))
    assert first == second
    assert len({event.event_id for event in [*first, *other]}) == 4


def test_a_file_shipped_twice_in_other_batches_is_stored_once_where_its_times_are_fine() -> None:
    rows = [json.dumps({"time": 1795703906_123456789 + n, "msg": f"line {n}"}).encode() for n in range(100)]
    ids = [
        [
            event.event_id
            for size in (sizes,)
            for at in range(0, 100, size)
            for event in read(b"\n".join(rows[at : at + size]), digest=bytes([at, size]))[0]
        ]
        for sizes in (7, 100)
    ]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 100


def test_a_record_with_an_id_is_the_same_event_in_any_batch() -> None:
    ids = {
        read(raw, digest=raw)[0][-1].event_id
        for raw in (b'{"eventId":"x","ts":1795703906}', b'{}\n{"eventId":"x","ts":1795703906}')
    }
    assert len(ids) == 1


def test_one_source_has_one_key() -> None:
    documents = [
        {"service": "s", "hostname": "n1"},
        {"service": "s", "hostname": "n1"},
        {"service": "s", "hostname": "n2"},
        {"service": "t", "hostname": "n1"},
    ]
    keys = [event.correlation_id for event in events(json.dumps(documents).encode())]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert keys[0].startswith("s/n1/")


def test_fifteen_thousand_lines_are_taken() -> None:
    assert len(events(b'{"msg":"x"}\n' * 15_000)) == 15_000


def test_the_answer_says_how_many_are_stored() -> None:
    _, submission = read(b"a\nb")
    here = Accepted("region-a")
    assert INGEST.answer(submission, [here, here]).body == b'{"accepted":2}'
    assert (
        INGEST.answer(submission, [here, Refused(400, "odd", retryable=False)]).body == b'{"accepted":1,"rejected":1}'
    )
