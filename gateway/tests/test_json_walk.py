"""Elements and members of JSON text that is not parsed as a whole."""

import json

from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.json_walk import MalformedError, begin_of, elements, members

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('"\\[]{},: a\n', max_size=6)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\{a', max_size=3), inner, max_size=3)
)


def walk(walker: Any) -> tuple[list[Any], int]:
    found: list[Any] = []
    while True:
        try:
            item = next(walker)
        except StopIteration as done:
            return found, done.value
        if item is not None:
            found.append(item)


@given(values=st.lists(VALUES, max_size=5), indent=st.none() | st.integers(0, 2))
def test_all_elements_of_an_array_are_found(values: list[Any], indent: int | None) -> None:
    raw = b" " + json.dumps(values, indent=indent).encode() + b" tail"
    found, end = walk(elements(raw, begin_of(raw)))
    assert [json.loads(raw[begin:end]) for begin, end in found] == values
    assert raw[end:] == b" tail"


@given(values=st.dictionaries(st.text('"\\{a', max_size=3), VALUES, max_size=5), indent=st.none() | st.integers(0, 2))
def test_all_members_of_an_object_are_found(values: dict[str, Any], indent: int | None) -> None:
    raw = json.dumps(values, indent=indent).encode()
    found, end = walk(members(raw, 0))
    assert {json.loads(name): json.loads(raw[slice(*span)]) for name, span in found} == values
    assert end == len(raw)


@pytest.mark.parametrize("raw", [b'["\xff",NaN,"a\x01\n","\\ud83d"]'])
def test_what_is_between_brackets_may_be_bad(raw: bytes) -> None:
    found, _ = walk(elements(raw, 0))
    assert [raw[slice(*span)] for span in found] == [b'"\xff"', b"NaN", b'"a\x01\n"', b'"\\ud83d"']


@pytest.mark.parametrize(
    "raw", [b"", b"[", b"[1", b'["a', b"[1 2]", b"[,]", b"[1,]", b"{", b"[[1]", b"[" * 50_000, b'["' + b"\\" * 50_001]
)
def test_what_is_not_closed_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        walk(elements(raw, 0))


@pytest.mark.parametrize("raw", [b"", b"{", b"{a:1}", b'{"a"}', b'{"a":}', b'{"a":1', b'{"a":1,}', b'{"a":1 "b":2}'])
def test_an_object_needs_names_and_values(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        walk(members(raw, 0))


def test_long_work_has_pauses() -> None:
    assert list(elements(b"[" + b"[[]]," * 100 + b"[" + b"[],".join([b""] * 1000) + b"[]]]", 0)).count(None) >= 10
