"""Elements are told apart as by a parser, wherever a step ends."""

import json

from collections.abc import Sequence
from typing import cast
from unittest import mock

import msgspec
import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from shared.event.model import InvalidEventError
from shared.ingest import array_scan
from shared.ingest.array_scan import Elements, elements_of
from shared.tests import profiles

split = msgspec.json.Decoder(list[msgspec.Raw]).decode
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\,[]{}\n\u00e9\U0001f469', max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\]', max_size=3), inner, max_size=4),
    max_leaves=20,
)
spoilt = st.text('[]{},"\\ 1a', max_size=12).map(str.encode)


def drained(elements: Elements) -> Sequence[bytes]:
    while True:
        try:
            next(elements)
        except StopIteration as done:
            return cast("Sequence[bytes]", done.value)


def scanned(raw: bytes, step: int) -> list[bytes] | None:
    """The elements if all are JSON."""
    with mock.patch.object(array_scan, "_STEP_BYTES", step):
        try:
            elements = drained(elements_of(raw, 1000))
            for element in elements:
                msgspec.json.decode(element)
        except (InvalidEventError, msgspec.DecodeError):
            return None
    return list(elements)


@profiles.times(6)
@given(st.lists(values, max_size=6), st.sampled_from([None, 1]), st.booleans(), st.integers(2, 40))
@example(array=["\\" * 5], indent=None, escape=True, step=3)
def test_elements_are_those_of_a_parser(array: list[object], indent: int | None, escape: bool, step: int) -> None:  # noqa: FBT001
    raw = b" \n" + json.dumps(array, ensure_ascii=escape, indent=indent).encode() + b"\t"

    assert scanned(raw, step) == list(map(bytes, split(raw)))


@profiles.times(6)
@given(st.lists(values, max_size=3), spoilt, st.integers(0, 60), st.integers(0, 4), st.integers(2, 40))
def test_what_is_no_array_for_a_parser_is_none(
    array: list[object], added: bytes, place: int, left_out: int, step: int
) -> None:
    sound = json.dumps(array).encode()
    raw = sound[:place] + added + sound[place + left_out :]
    try:
        wanted = list(map(bytes, split(raw)))
    except (msgspec.DecodeError, RecursionError):
        wanted = None

    assert scanned(raw, step) == wanted


def test_a_long_string_is_read_in_steps() -> None:
    raw = b'["' + b"\\u00e9" * 100_000 + b'",1]'
    pauses = sum(1 for _ in elements_of(raw, 10))

    assert pauses > len(raw) // (128 * 1024)
    assert drained(elements_of(raw, 10)) == [raw[1:-3], b"1"]


@pytest.mark.parametrize("most", [1, 5])
def test_too_many_are_not_read_to_the_end(most: int) -> None:
    assert len(drained(elements_of(b"[" + b"0," * 1000, most))) == most + 1
