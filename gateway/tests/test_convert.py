"""Whatever record comes out of a protocol, it becomes an event that every later service takes, and nothing of it is lost."""

import copy
import re

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.convert import Converter
from gateway.protocols.record import Group, Record
from shared.event.decode import read_received
from shared.event.fields import MAX_ATTRIBUTES, MAX_EVENT_BYTES
from shared.event.opened import decode_received
from shared.event.sealed import decode_handoff
from shared.ingest.receipt import Receipt

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)

odd = st.sampled_from(["\0", "\ud800", "x" * 300, "INFO", "warning", "trace_id", "_repaired", "_more", "_cut", ""])
texts = st.one_of(st.text(max_size=20), st.binary(max_size=20), odd)
scalars = st.one_of(
    texts,
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([-(2**63) - 1, -(2**63), 2**64 - 1, 2**64]),
    st.floats(),
    st.decimals(),
    st.booleans(),
    st.none(),
    st.just(msgspec.Raw(b"1.25")),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
attributes = st.dictionaries(texts, values, max_size=8)
records = st.builds(
    Record,
    raw=st.binary(max_size=20),
    message=texts,
    time_ns=st.one_of(st.none(), st.integers(-10, 2**64), st.just(1_795_700_000_123_456_789)),
    level=texts,
    service=texts,
    own_id=st.one_of(st.just(b""), texts),
    correlation=st.one_of(st.just(""), st.text(max_size=20), odd),
    stream=st.binary(max_size=4),
    attributes=attributes,
    time_written=st.sampled_from(["", "yesterday"]),
)
layers = st.lists(st.tuples(st.sampled_from(["scope.", "resource."]), attributes), max_size=2)
groups = st.builds(Group, key=st.binary(max_size=8), service=texts, host=texts, layers=layers)


def receipt(**known: Any) -> Receipt:
    return Receipt(NOW, path="/v1/logs", **known)


def events(group: Group, sent: list[Record], **known: Any) -> list[Any]:
    converter = Converter(receipt(**known), "test")
    source = converter.source(group)
    return [converter.convert(source, record) for record in sent]


@given(groups, st.lists(records, max_size=4))
def test_whatever_record_comes_out_is_an_event_in_canonical_form(group: Group, sent: list[Record]) -> None:
    for event in events(group, sent, tenant="t"):
        read_received(event.encoded)
        assert decode_handoff(event.encoded) == event


@pytest.mark.parametrize("text", ["x" * 300_000, "\x01" * 100_000, "ä" * 200_000, "\ud800" * 90_000])
def test_an_event_that_is_too_large_is_cut_and_says_so(text: str) -> None:
    [event] = events(Group(b""), [Record(b"", text, attributes={"a": text[: len(text) // 2]})])
    decoded = decode_received(event.encoded)

    assert len(event.encoded) <= MAX_EVENT_BYTES
    assert "cut" in decoded.attributes["_repaired"]
    assert f"message {len(text)}" in decoded.attributes["_cut"]


def test_what_exceeds_the_number_of_attributes_is_kept_in_one() -> None:
    sent = {f"a{number}": number for number in range(MAX_ATTRIBUTES + 20)}
    [event] = events(Group(b""), [Record(b"", "m", attributes=dict(sent))])
    attributes = decode_received(event.encoded).attributes

    assert len(attributes) <= MAX_ATTRIBUTES
    assert "more" in attributes["_repaired"]
    kept = {name: value for name, value in attributes.items() if not name.startswith("_")}
    assert kept | msgspec.json.decode(attributes["_more"]) == sent


def test_a_dotted_and_a_nested_name_that_are_equal_are_both_kept() -> None:
    [event] = events(Group(b""), [Record(b"", "m", attributes={"a.b": 1, "a": {"b": 2, "b_": 3}})])

    assert decode_received(event.encoded).attributes == {"a.b": 1, "a.b_": 2, "a.b__": 3}


@given(groups, st.lists(records, min_size=1, max_size=4), st.integers(2, 9))
def test_a_spread_changes_nothing_but_the_names_of_sources(group: Group, sent: list[Record], spread: int) -> None:
    # A conversion writes into its records.
    alone = events(group, [copy.copy(record) for record in sent])
    shared = events(group, sent, spread=spread)

    for event, other in zip(alone, shared, strict=True):
        read_received(other.encoded)
        assert (event.event_id, event.timestamp) == (other.event_id, other.timestamp)
        name, share = event.correlation_id, other.correlation_id
        if share != name:
            assert re.fullmatch(re.escape(name) + rf"/[0-{spread - 1}]", share)
            assert re.search("/?[0-9a-f]{12}$", name)


def test_a_source_that_is_spread_keeps_its_order_within_each_second() -> None:
    second = 1_795_700_000_000_000_000
    times = [second + number * 250_000_000 + 1 for number in range(24)]
    sent = [Record(raw=b"%d" % time_ns, message="m", time_ns=time_ns) for time_ns in times]
    group = Group(key=b"", service="checkout", host="node-17", stream=b"a file")

    names = [event.correlation_id for event in events(group, sent, spread=3)]
    [whole] = {event.correlation_id for event in events(group, sent)}
    assert names == [f"{whole}/{time_ns // 10**9 % 3}" for time_ns in times]
    assert len(set(names)) == 3


def test_a_source_that_is_spread_has_records_without_time_by_that_of_their_receipt() -> None:
    group = Group(key=b"", service="checkout")
    untimed, odd_time = Record(raw=b"a", message="m"), Record(raw=b"b", message="m", time_ns=-1)

    names = {event.correlation_id for event in events(group, [untimed, odd_time], spread=7)}
    assert [name.rpartition("/")[2] for name in names] == [str(int(NOW.timestamp()) % 7)]


def test_what_belongs_to_a_trace_is_never_spread() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    times = [second * 10**9 + 1 for second in range(1_795_700_000, 1_795_700_004)]
    sent = [Record(raw=b"1", message="m", time_ns=time_ns, correlation=trace) for time_ns in times]
    sent += [Record(raw=b"2", message="m", time_ns=time_ns, attributes={"trace_id": trace}) for time_ns in times]

    assert {event.correlation_id for event in events(Group(key=b""), sent, spread=4)} == {trace}
