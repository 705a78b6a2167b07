"""A batch that is read in slices is read as it would be in one go, and one of too many events is not read at all."""

import gzip
import json
import time
import tracemalloc

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any
from unittest import mock
from uuid import UUID

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.event.json_text import BOM
from shared.event.model import MAX_BATCH_EVENTS, InvalidEventError
from shared.event.outcome import Accepted
from shared.event.sealed import NO_ARRAY, Intake, SealedEvent
from shared.ingest import slices
from shared.ingest.head import Head
from shared.ingest.logs_api import MAX_BATCH_BYTES, LogBatch
from shared.ingest.protocol import Reply, problem_reply
from shared.ingest.turns import at_once
from shared.wire.problem import BadRequestError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOOD = json.dumps({"serviceName": "s", "level": "INFO", "message": "m", "correlationId": "c"}).encode()
MIB = 1024 * 1024


def intake() -> Intake:
    ids = count()
    return Intake(NOW, lambda: UUID(int=next(ids)))


def head(kind: bytes) -> Head:
    return Head({"type": "http", "headers": [(b"content-type", kind)]})


def read(body: bytes, *, lines: bool) -> Any:
    """What a batch is read as; an error as its text."""
    protocol = LogBatch()
    asked = protocol.check(head(b"application/x-ndjson" if lines else b"application/json"))
    try:
        submission = protocol.read(body, intake(), asked)
        if isinstance(submission, Iterator):
            submission = at_once(submission)
    except (InvalidEventError, BadRequestError) as exc:
        # What is no JSON may be no array as well, and is told where it was found.
        return "no array" if str(exc).startswith(("not valid JSON", NO_ARRAY)) else str(exc)
    return [item if isinstance(item, SealedEvent) else str(item) for item in submission.context.items]


def answer(body: bytes, kind: bytes) -> Reply:
    protocol = LogBatch()
    submission = protocol.read(body, intake(), protocol.check(head(kind)))
    if isinstance(submission, Iterator):
        submission = at_once(submission)
    return protocol.answer(submission, [Accepted("region-a")] * len(submission.events))


ELEMENTS = st.sampled_from(
    [
        GOOD,
        GOOD.replace(b'"m"', b'"\\u00e9,[{"'),
        GOOD.replace(b"INFO", b"nonsense"),
        GOOD.replace(b'"m"', b'"\xff"'),
        GOOD.replace(b'"m"', b'"\\ud800"'),
        GOOD.replace(b'"m"', b'"\\q"'),
        GOOD.replace(b'"m"', b'"x\ny"'),
        GOOD.replace(b"{", b"{\r", 1),
        b"{}",
        b"0",
        b"[[],{}]",
        b'"a,b"',
        b"nul",
        b"",
        b" ",
        b"NaN",
    ]
)


@given(
    st.lists(ELEMENTS, max_size=12),
    st.sampled_from([b",", b" , ", b"\n", b"\r\n", b"\r", b"\n\n \n", b",,"]),
    st.sampled_from([(b"[", b"]"), (b" [", b"] "), (b"", b""), (BOM + b"[", b"]"), (BOM, b"\n"), (b"[", b"")]),
    st.booleans(),
    st.tuples(st.integers(1, 4), st.sampled_from([-1, 10**9])),
)
def test_slices_are_read_as_the_whole(
    elements: list[bytes],
    separator: bytes,
    around: tuple[bytes, bytes],
    lines: bool,  # noqa: FBT001
    limits: tuple[int, int],
) -> None:
    events, many = limits
    body = around[0] + separator.join(elements) + around[1]
    whole = read(body, lines=lines)

    with (
        mock.patch.object(slices, "SMALL_BYTES", -1),
        mock.patch.object(slices, "SLICE_EVENTS", events),
        mock.patch.object(slices, "SLICE_BYTES", 300),
        mock.patch.object(slices, "_MANY_COMMAS", many),
    ):
        assert read(body, lines=lines) == whole


@pytest.mark.parametrize("number", [MAX_BATCH_EVENTS, MAX_BATCH_EVENTS + 1])
@pytest.mark.parametrize("many_commas", [0, 10**9])
@pytest.mark.parametrize("lines", [False, True])
def test_the_number_of_events_is_counted_exactly(number: int, many_commas: int, lines: bool) -> None:  # noqa: FBT001
    body = b"\n".join([GOOD] * number) if lines else b"[" + b",".join([GOOD] * number) + b"]"
    with mock.patch.object(slices, "_MANY_COMMAS", many_commas):
        result = read(body, lines=lines)

    if number > MAX_BATCH_EVENTS:
        assert f"a batch may have {MAX_BATCH_EVENTS} events, this one has" in result
    else:
        assert len(result) == number


def full(unit: bytes, begin: bytes = b"", end: bytes = b"") -> bytes:
    return begin + unit * ((MAX_BATCH_BYTES - len(begin) - len(end) - 1) // len(unit)) + end


UNKNOWN = b"{" + b",".join(b'"%x":0' % number for number in range(20_000)) + b"}"
ARRAYS = {
    "zeros": full(b"0,", b"[", b"0]"),
    "empty objects": b"[" + b",".join([b"{}"] * MAX_BATCH_EVENTS) + b"]",
    "empty arrays": full(b"[],", b"[", b"[]]"),
    "unknown names": b"[" + b",".join([UNKNOWN] * 6) + b"]",
    "long unknown names": full(b'{"' + b"f" * 700 + b'":0},', b"[", b"0]"),
    "escapes": full(GOOD[:-1].replace(b'"m"', b'"' + b"\\u0001" * 100 + b'"') + b"},", b"[", GOOD + b"]"),
    "commas in text": full(GOOD.replace(b'"m"', b'"' + b"m," * 400 + b'"') + b",", b"[", GOOD + b"]"),
    "nested": full(b"["),
}
LINES = {
    "zeros": full(b"0\n"),
    "empty lines": full(b"\n", b"", b"0"),
    "blanks": full(b" \r\n", b"", b"0"),
    "escapes": full(GOOD.replace(b'"m"', b'"' + b"\\u0001" * 100 + b'"') + b"\n"),
}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        *(pytest.param(body, b"application/json", id=name) for name, body in ARRAYS.items()),
        *(pytest.param(body, b"application/x-ndjson", id=f"{name} as lines") for name, body in LINES.items()),
    ],
)
def test_the_largest_batches_of_the_worst_kind_are_read_in_bounded_memory_and_have_a_bounded_answer(
    body: bytes, kind: bytes
) -> None:
    assert len(body) <= MAX_BATCH_BYTES
    tracemalloc.start()
    try:
        try:
            reply = answer(body, kind)
        except (InvalidEventError, BadRequestError) as exc:
            reply = problem_reply(BadRequestError(str(exc)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(reply.body) <= MIB or reply.status == 202
    assert peak < 6 * len(body) + 16 * MIB, f"{peak / MIB:.0f} MiB for {len(body) / MIB:.0f}"


DEEP = GOOD[:-1] + b',"attributes":{"a":' + b"[" * 400 + b"]" * 400 + b"}}"
SLOW = {
    "unknown names and NaN": ARRAYS["unknown names"][:-1] + b",NaN]",
    "deep lists and NaN": full(DEEP + b",", b"[", b"NaN]"),
    "half a pair in each": b"["
    + b",".join([GOOD.replace(b'"m"', b'"' + b"m" * 200 + b'\\ud83d"')] * MAX_BATCH_EVENTS)
    + b"]",
    "one huge element": b"[{" + b",".join(b'"%x":0' % number for number in range(700_000)) + b"}]",
    "many attributes": b"["
    + GOOD[:-1]
    + b',"attributes":{'
    + b",".join(b'"%x":0' % number for number in range(700_000))
    + b"}}]",
    "no array": full(b"\\u0001", b'"', b'"'),
    "cut off": ARRAYS["escapes"][:-1],
}


def longest_step(body: bytes) -> float:
    protocol = LogBatch()
    work = protocol.read(body, intake(), protocol.check(head(b"application/json")))
    assert isinstance(work, Iterator)
    longest = 0.0
    while True:
        began = time.process_time()
        try:
            next(work)
        except (StopIteration, InvalidEventError):
            return max(longest, time.process_time() - began)
        longest = max(longest, time.process_time() - began)


@pytest.mark.parametrize("name", [*SLOW, "unknown names", "escapes", "nested"])
def test_no_batch_is_read_in_long_steps(name: str) -> None:
    """By processor time, against that of a whole honest batch; read again as a whole, they took twice to a hundred times that."""
    honest = b"[" + b",".join([GOOD.replace(b'"m"', b'"' + b"m" * 700 + b'"')] * MAX_BATCH_EVENTS) + b"]"
    began = time.process_time()
    assert len(read(honest, lines=False)) == MAX_BATCH_EVENTS
    whole = time.process_time() - began

    assert min(longest_step((SLOW | ARRAYS)[name]) for _ in range(2)) < whole


def test_refusals_are_explained_as_long_as_there_is_room() -> None:
    wrong = b'{"serviceName":"s","level":"' + b"x" * 100 + b'","message":"m","correlationId":"c"}'
    few = answer(b"[" + b",".join([wrong] * 100) + b"]", b"application/json")
    many = answer(b"[" + b",".join([wrong] * MAX_BATCH_EVENTS) + b"]", b"application/json")

    assert all("level: " in item["detail"] for item in json.loads(few.body)["items"])
    items = json.loads(many.body)["items"]
    assert "level: " in items[0]["detail"]
    assert items[-1] == {
        "index": MAX_BATCH_EVENTS - 1,
        "status": 400,
        "retryable": False,
        "detail": "invalid; the first items say how",
    }


def test_the_worst_batches_are_small_on_the_wire() -> None:
    """Which is why they are worth bounding."""
    assert len(gzip.compress(ARRAYS["zeros"])) < 10_000
