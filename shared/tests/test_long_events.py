"""Long events are judged as short ones are, and none costs much more than the longest honest one."""

import time

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from unittest import mock
from uuid import UUID

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.event import long_events, sealed
from shared.event.decode import Sent, read_sent
from shared.event.explain import RefusalError
from shared.event.fields import MAX_ATTRIBUTES, MAX_EVENT_BYTES, InvalidEventError
from shared.event.json_text import NotJSONError, has_odd_values, parse_json
from shared.event.long_events import read_long
from shared.event.sealed import Intake, SealedEvent
from shared.tests import odd_json, profiles

BEGIN = b'{"serviceName":"s","level":"INFO","correlationId":"c","message":"m"'
MESSAGE = BEGIN[:-2]
ATTRIBUTES = BEGIN + b',"attributes":{'
# Times what the longest honest events cost. Before there was a bound it was 100 and more.
MOST = 40


def verdict(read: Callable[[bytes], Sent], raw: bytes) -> object:
    try:
        return read(raw)
    except (RefusalError, NotJSONError) as exc:
        return type(exc)


def intake() -> Intake:
    ids = count()
    return Intake(datetime(2026, 11, 23, 12, tzinfo=UTC), lambda: UUID(int=next(ids)))


@profiles.times(6)
@given(odd_json.events(odd_json.USUAL), st.sampled_from([-1, 4000]))
def test_a_long_event_is_judged_as_a_short_one(raw: bytes, few: int) -> None:
    with mock.patch.object(long_events, "_FEW", few), mock.patch.object(long_events, "LONG_BYTES", 10):
        long = verdict(read_long, raw)
    short = verdict(read_sent, raw)

    # Of thousands of members the last of two equal ones does not save a value that is none.
    assert long == short or (few < 0 and has_odd_values(raw) and long is RefusalError)


@profiles.times(6)
@given(odd_json.events(odd_json.USUAL), st.integers(-40, 40))
def test_an_element_that_is_too_long_is_measured_without_blanks(raw: bytes, more: int) -> None:
    try:
        value = parse_json(raw)
        size = len(sealed._encode_number(value))
    except (NotJSONError, ValueError):
        return
    with mock.patch.object(sealed, "MAX_EVENT_BYTES", max(0, size + more)):
        wanted = intake()._seal_value(value, measure=True)
        taken = intake()._seal_larger(raw)

    if isinstance(wanted, SealedEvent):
        # The last of two equal members does not save a value that is none, as in other events of thousands of them.
        assert taken == wanted or (has_odd_values(raw) and isinstance(taken, InvalidEventError))
    else:
        assert isinstance(taken, InvalidEventError)


def filled(begin: bytes, units: Iterator[bytes] | bytes, end: bytes) -> bytes:
    """As many of them as there is room for, the last one without its comma."""
    room = MAX_EVENT_BYTES - len(begin) - len(end)
    if isinstance(units, bytes):
        return begin + (units * (room // len(units))).removesuffix(b",") + end
    parts = [begin]
    for unit in units:
        room -= len(unit)
        if room < 0:
            break
        parts.append(unit)
    return b"".join(parts).removesuffix(b",") + end


def names(value: bytes) -> Iterator[bytes]:
    return (b'"%x":%b,' % (number, value) for number in count())


HONEST = {
    "escapes": filled(MESSAGE, b"\\u0001", b'"}'),
    "text": filled(MESSAGE, b"some, text. ", b'"}'),
    "64 attributes": ATTRIBUTES + b",".join(b'"%x":"%b"' % (n, b"\\n" * 2000) for n in range(64)) + b"}}",
}
WORST = {
    "unknown names": filled(BEGIN + b",", names(b"0"), b"}"),
    "unknown names of decimals": filled(BEGIN + b",", names(b"0.5"), b"}"),
    "unknown names, cut off": filled(BEGIN + b",", names(b"0"), b""),
    "unknown names and half a pair": filled(BEGIN + b',"\\ud800":0,', names(b"0"), b"}"),
    "a name many times": filled(BEGIN + b",", b'"message":"",', b"}"),
    "a name many times, wrong": filled(BEGIN + b",", b'"message":0,', b"}"),
    "many attributes": filled(ATTRIBUTES, names(b"0"), b"}}"),
    "many attributes of decimals": filled(ATTRIBUTES, names(b"0.5"), b"}}"),
    "many attributes of powers": filled(ATTRIBUTES, names(b"1e5"), b"}}"),
    "many attributes of lists": filled(ATTRIBUTES, names(b"[[]]"), b"}}"),
    "many attributes of none": filled(ATTRIBUTES, names(b"NaN"), b"}}"),
    "an attribute many times": filled(ATTRIBUTES, b'"a":1e5,', b"}}"),
    "decimals in a list": filled(ATTRIBUTES + b'"a":[', b"0.5,", b"]}}"),
    "powers in a list": filled(ATTRIBUTES + b'"a":[', b"1e5,", b"]}}"),
    "lists in a list": filled(ATTRIBUTES + b'"a":[', b"[],", b"]}}"),
    "deep lists": filled(ATTRIBUTES + b'"a":[', b"[" * 400 + b"]" * 400 + b",", b"]}}"),
    "deep lists and half a pair": filled(ATTRIBUTES + b'"\\ud800":[', b"[" * 400 + b"]" * 400 + b",", b"]}}"),
    "zeros and half a pair": filled(ATTRIBUTES + b'"\\ud800":[', b"0,", b"]}}"),
    "objects, cut off": filled(ATTRIBUTES + b'"a":[', b"{},", b""),
    "halves of pairs": filled(MESSAGE, b"\\ud83d", b'"}'),
    "long integers": ATTRIBUTES + b",".join(b'"%x":%b' % (n, b"9" * 4000) for n in range(64)) + b"}}",
    "a long decimal": filled(ATTRIBUTES + b'"a":0.', b"9", b"}}"),
    "a long exponent": filled(ATTRIBUTES + b'"a":1e-', b"0", b"5}}"),
    "a time that is a list": filled(BEGIN + b',"timestamp":[', b"{},", b"]}"),
    "a long time": filled(BEGIN + b',"timestamp":"2026-11-23T12:00:00.', b"1", b'Z"}'),
    "brackets": b"[" * MAX_EVENT_BYTES,
    "blanks": b" " * MAX_EVENT_BYTES,
}  # fmt: skip


def cost(raw: bytes) -> float:
    """Processor time of its intake, the least of some."""
    least = float("inf")
    for _ in range(4):
        began = time.process_time()
        intake().seal_line(raw)
        least = min(least, time.process_time() - began)
    return least


@pytest.fixture(scope="module")
def honest() -> float:
    return max(map(cost, HONEST.values()))


@pytest.mark.parametrize("name", WORST)
def test_no_event_costs_much_more_than_the_longest_honest_one(name: str, honest: float) -> None:
    assert len(WORST[name]) <= MAX_EVENT_BYTES
    took = cost(WORST[name])

    assert took < MOST * honest, f"{took * 1000:.1f} ms, the longest honest ones {honest * 1000:.2f}"


@pytest.mark.parametrize("name", HONEST)
def test_long_honest_events_are_taken(name: str) -> None:
    assert isinstance(intake().seal_line(HONEST[name]), SealedEvent)


def test_many_attributes_are_counted() -> None:
    refused = intake().seal_line(WORST["many attributes"])

    assert str(refused).startswith(f"attributes: must have at most {MAX_ATTRIBUTES} entries, has 2")


def test_a_long_event_with_few_mistakes_has_all_of_them_explained() -> None:
    refused = intake().seal_line(b'{"level":"NO","message":"' + b"m, " * 1000 + b"m" * 20_000 + b'","host":1}')

    assert {problem.field for problem in refused.problems} == {"serviceName", "correlationId", "level", "host"}  # type: ignore[union-attr]
