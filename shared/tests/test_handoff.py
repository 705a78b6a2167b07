"""The hop from gateway to producer: what one side writes the other one reads, and nothing else."""

import contextlib

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.outcome import Accepted, Outcome, Refused
from shared.ingest.turns import at_once
from shared.tests import strategies
from shared.wire.handoff import (
    MAX_EVENTS,
    HandoffError,
    TooManyEventsError,
    decode_events,
    decode_outcomes,
    encode_events,
    encode_outcomes,
    join_encoded,
    split_traceparents,
    with_traceparent,
)

refusals = st.builds(Refused, st.integers(400, 599), st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
outcomes = st.just(Accepted("region-a")) | refusals


@given(st.lists(strategies.received_events(), max_size=5))
def test_events_arrive_as_they_were_sent(events: list[ReceivedEvent]) -> None:
    assert [decode_received(event.encoded) for event in at_once(decode_events(encode_events(events)))] == events


@given(st.lists(strategies.received_events(), max_size=5))
def test_events_encoded_before_make_the_same_body(events: list[ReceivedEvent]) -> None:
    assert join_encoded([event.encode() for event in events]) == encode_events(events)


traceparents = st.builds(
    "00-{:032x}-{:016x}-{:02x}".format, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255)
).map(str.encode)


@given(st.lists(st.tuples(strategies.received_events(), st.none() | traceparents), max_size=5))
def test_each_event_arrives_with_its_own_traceparent(sent: list[tuple[ReceivedEvent, bytes | None]]) -> None:
    lines = [event.encode() if traced is None else with_traceparent(event.encode(), traced) for event, traced in sent]

    body, traced = split_traceparents(join_encoded(lines))

    assert [decode_received(event.encoded) for event in at_once(decode_events(body))] == [event for event, _ in sent]
    assert list(traced or [None] * len(sent)) == [traceparent for _, traceparent in sent]


def test_where_no_event_has_one_the_body_is_not_touched() -> None:
    body = b'{"a":1}\n{"a":2}'

    assert split_traceparents(body) == (body, None)
    assert split_traceparents(b'{"a":\t1}\n') == (b'{"a":\t1}', [None])


@given(st.lists(outcomes, max_size=5))
def test_outcomes_arrive_as_they_were_sent(sent: list[Outcome]) -> None:
    assert decode_outcomes(encode_outcomes(sent), "region-a", len(sent)) == sent


@given(st.lists(outcomes, max_size=3), st.integers(0, 5))
def test_an_answer_for_another_number_of_events_is_no_answer(sent: list[Outcome], expected: int) -> None:
    """Shifted by one, an acknowledgement would be given to an event that was never written."""
    body = encode_outcomes(sent)

    if len(sent) != expected:
        with pytest.raises(HandoffError, match="outcomes for"):
            decode_outcomes(body, "region-a", expected)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"null", b"[1]", b"[[503,true]]", b'[[503,"x","y"]]', b'[["503",true,"y",1]]', b"<html>", b"[null",
     b'[[200,true,"x"]]', b'[[0,true,"x"]]', b'[[99999,false,"x"]]'],
)  # fmt: skip
def test_an_answer_out_of_contract_is_refused(body: bytes) -> None:
    with pytest.raises(HandoffError):
        decode_outcomes(body, "region-a", 1)


@given(st.binary(max_size=100))
def test_bytes_from_anywhere_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(HandoffError):
        at_once(decode_events(body))


@given(st.lists(strategies.received_events(), max_size=3), st.data())
def test_one_broken_event_refuses_the_whole_request(events: list[ReceivedEvent], data: st.DataObject) -> None:
    lines = [event.encode() for event in events]
    lines.insert(data.draw(st.integers(0, len(lines))), b'{"serviceName":"half"}')

    with pytest.raises(HandoffError):
        at_once(decode_events(b"\n".join(lines)))


def test_more_lines_than_events_can_be_are_refused_unread() -> None:
    with pytest.raises(TooManyEventsError, match="at most"):
        split_traceparents(b"\n" * MAX_EVENTS)
