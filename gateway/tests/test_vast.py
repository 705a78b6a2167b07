"""Records and bodies that would hold the event loop for long are not taken apart; what is beside them is."""

import json

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols import json_walk, otlp_pb2
from gateway.protocols.attributes import MOST_VALUES, are_many
from gateway.protocols.bulk import Bulk, _Asked
from gateway.protocols.bulk_lines import actions
from gateway.protocols.convert import Converter
from gateway.protocols.converted import MAX_RECORD_BYTES
from gateway.protocols.hec import HecEvent, HecRaw
from gateway.protocols.hec_source import Asked as HecAsked
from gateway.protocols.ingest import Asked, Ingest
from gateway.protocols.json_lines import records
from gateway.protocols.loki import LokiPush
from gateway.protocols.loki_pb2 import Entry, PushRequest, Stream
from gateway.protocols.otlp import OtlpLogs
from gateway.protocols.presets import GUESSED
from gateway.protocols.record import Group, Record
from gateway.tests.front_door import drained
from shared.event.fields import MAX_EVENT_BYTES
from shared.event.outcome import Accepted, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.receipt import example
from shared.wire.problem import BadRequestError

BEYOND = MAX_RECORD_BYTES + 1
LONG = "x" * BEYOND
WALKED = "y" * (13 * 1024 * 1024)


def of_otlp_json(lines: list[str]) -> list[SealedEvent]:
    logs = [{"body": {"stringValue": line}} for line in lines]
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]}
    return drained(OtlpLogs().read(json.dumps(body).encode(), example("/v1/logs"), asked=True))[0]


def of_otlp_protobuf(lines: list[str]) -> list[SealedEvent]:
    request = otlp_pb2.LogsRequest()
    scoped = request.resource_logs.add().scope_logs.add()
    for line in lines:
        record = otlp_pb2.LogRecord()
        record.body.string_value = line.encode()
        scoped.log_records.append(record.SerializeToString())
    return drained(OtlpLogs().read(request.SerializeToString(), example("/v1/logs"), asked=False))[0]


def of_loki_json(lines: list[str]) -> list[SealedEvent]:
    body = {"streams": [{"stream": {"app": "a"}, "values": [["1795700000123456789", line] for line in lines]}]}
    return drained(LokiPush().read(json.dumps(body).encode(), example("/loki"), asked=True))[0]


def of_loki_protobuf(lines: list[str]) -> list[SealedEvent]:
    entries = [Entry(line=line.encode()).SerializeToString() for line in lines]
    stream = Stream(labels=b'{app="a"}', entries=entries).SerializeToString()
    return drained(LokiPush().read(PushRequest(streams=[stream]).SerializeToString(), example("/loki"), asked=False))[0]


def of_bulk(lines: list[str]) -> list[SealedEvent]:
    body = b"".join(b'{"create":{}}\n%b\n' % json.dumps({"message": line}).encode() for line in lines)
    return drained(Bulk().read(body, example("/_bulk"), _Asked("logs", b"")))[0]


def of_ingest(lines: list[str]) -> list[SealedEvent]:
    body = b"\n".join(json.dumps({"message": line}).encode() for line in lines)
    return drained(Ingest().read(body, example("/ingest"), Asked(GUESSED, ())))[0]


def of_hec_event(lines: list[str]) -> list[SealedEvent]:
    body = b"".join(json.dumps({"event": line}).encode() for line in lines)
    return drained(HecEvent().read(body, example("/services/collector"), HecAsked()))[0]


def of_hec_raw(lines: list[str]) -> list[SealedEvent]:
    return drained(HecRaw().read("\n".join(lines).encode(), example("/services/collector/raw"), HecAsked()))[0]


READERS = [of_otlp_json, of_otlp_protobuf, of_loki_json, of_loki_protobuf, of_bulk, of_ingest, of_hec_event, of_hec_raw]


@pytest.mark.parametrize("vast", [LONG, WALKED], ids=["1 MiB", "13 MiB"])
@pytest.mark.parametrize("read", READERS)
def test_of_a_vast_record_the_beginning_is_kept_and_the_others_are_whole(
    read: Callable[[list[str]], list[SealedEvent]], vast: str
) -> None:
    first, second, third = (msgspec.json.decode(event.encoded) for event in read(["one", vast, "three"]))

    assert (first["message"], third["message"]) == ("one", "three")
    assert vast[:1000] in second["message"]
    assert {"cut", "record"} <= set(second["attributes"]["_repaired"].split(",")) <= {"cut", "record", "utf8"}
    name, size = second["attributes"]["_cut"].split()
    assert name == "record"
    assert int(size) >= len(vast)
    assert not any("_cut" in event["attributes"] for event in (first, third))


def test_one_that_is_just_not_vast_is_taken_apart_as_ever() -> None:
    line = "x" * (MAX_RECORD_BYTES - 1000)
    for read in (of_otlp_json, of_otlp_protobuf, of_bulk, of_ingest, of_hec_event):
        [event] = read([line])
        assert msgspec.json.decode(event.encoded)["attributes"]["_cut"] == f"message {len(line)}"


def convert(record: Record, group: Group) -> Any:
    converter = Converter(example("/x"), "otlp")
    event = converter.convert(converter.source(group), record)
    assert len(event.encoded) <= MAX_EVENT_BYTES
    return msgspec.json.decode(event.encoded)


MANY = {f"n{number}": number for number in range(MOST_VALUES + 1)}


@pytest.mark.parametrize("attributes", [MANY, {"a": {"b": MANY}}, {"a": list(range(3000))}, {"a": [[[1] * 3000]]}])
def test_a_record_of_too_many_values_keeps_its_message_and_its_bytes(attributes: dict[str, Any]) -> None:
    event = convert(Record(b"raw", "said", 1_795_700_000_123_456_789, attributes=attributes), Group(b"key", "checkout"))

    assert (event["message"], event["serviceName"]) == ("said", "checkout")
    assert event["attributes"]["_raw"] == "cmF3"
    assert "record" in event["attributes"]["_repaired"]
    assert "_cut" not in event["attributes"]


def test_so_does_one_whose_group_has_too_many() -> None:
    event = convert(Record(b"raw", "said", attributes={"own": 1}), Group(b"key", "checkout", layers=[("r.", MANY)]))

    assert event["attributes"]["own"] == 1
    assert event["attributes"]["_raw"] == "a2V5"


def test_bytes_that_do_not_fit_are_cut_and_that_is_said() -> None:
    event = convert(Record(b"r" * 900_000, "said", attributes=MANY), Group(b"key"))

    assert event["attributes"]["_cut"].startswith("_raw 900000")


VALUES = st.recursive(st.integers(), lambda below: st.lists(below) | st.dictionaries(st.text(max_size=2), below))


@given(VALUES, st.integers(0, 20))
def test_values_are_counted_as_if_one_by_one(value: Any, most: int) -> None:
    def number(of: Any) -> int:
        below = of.values() if isinstance(of, dict) else of if isinstance(of, list) else ()
        return 1 + sum(map(number, below))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gateway.protocols.attributes.MOST_VALUES", most)
        assert are_many(value) == (number(value) > most)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=20) | st.sampled_from(['"', "\\", '\\"', "[", "}{", "\n"]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=9), below, max_size=4),
)


def walked(raw: bytes) -> Any:
    found: list[bytes] = []
    walk = json_walk.elements(raw, 0)
    while True:
        try:
            span = next(walk)
        except StopIteration as done:
            return found, done.value
        except json_walk.MalformedError:
            return "malformed"
        if span is not None:
            found.append(raw[slice(*span)])


@given(st.lists(JSON), st.integers(16, 40), st.integers(0, 30), st.integers(0, 1))
def test_the_walk_finds_the_same_however_little_it_looks_at_at_once(
    values: list[Any], window: int, cut: int, only: int
) -> None:
    raw = json.dumps(values, ensure_ascii=bool(only)).encode()
    raw = raw[: len(raw) - cut]
    whole = walked(raw)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_walk, "_WINDOW", window * 4)
        assert walked(raw) == whole


def test_empty_lines_are_passed_over_with_pauses() -> None:
    body = b"\n" * 100_000 + b'{"a":1}'
    assert [record for record in records(body) if record] == [b'{"a":1}']

    found = list(actions(b"\n" * 100_000 + b'{"create":{}}\n{}\n', "logs"))
    assert sum(action is not None for action in found) == 1
    assert found.count(None) >= 50
    with pytest.raises(BadRequestError, match="request body is required"):
        drained(Bulk().read(b"\n" * 50_000, example("/_bulk"), _Asked("logs", b"")))


def test_a_vast_action_line_is_malformed() -> None:
    with pytest.raises(BadRequestError, match="Malformed action"):
        list(actions(b'{"create":{"_id":"%b"}}\n{}\n' % (b"x" * 3_000_000), "logs"))


def test_items_stand_in_their_places_however_many_there_are() -> None:
    body = b'{"create":{"_index":"i"}}\n{"message":"m"}\n' * 2500
    events, submission = drained(Bulk().read(body, example("/_bulk"), _Asked("", b"application/json")))
    outcomes = [Refused(400, "no", retryable=False) if n in {3, 2499} else Accepted("region-a") for n in range(2500)]

    answer = msgspec.json.decode(Bulk().answer(submission, outcomes).body)

    assert len(events) == len(answer["items"]) == 2500
    assert answer["errors"]
    assert [n for n, item in enumerate(answer["items"]) if item["create"]["status"] == 400] == [3, 2499]
