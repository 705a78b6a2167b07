"""JSON that is nearly JSON."""

import json

from contextlib import suppress
from typing import Any

import msgspec
import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.lenient_json import read_json
from gateway.protocols.record import Repair
from shared.event.json_text import NotJSONError

LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("raw", "value", "repairs"),
    [
        (b'{"a":1}', {"a": 1}, ()),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}, ()),
        (b'{"a":1,"a":2}', {"a": 2}, ()),
        (b'{"a":"\xff"}', {"a": "�"}, (Repair.UTF8,)),
        (b'{"a":NaN,"b":-Infinity,"c":NaN}', {"a": "NaN", "b": "-Infinity", "c": "NaN"}, (Repair.NUMBER,)),
        (b'{"a":"one\ntwo\tthree"}', {"a": "one\ntwo\tthree"}, ()),
        (b'{"a":"\\ud83d"}', {"a": "\ud83d"}, ()),
        (b'{"a":' + b"9" * 5000 + b"}", {"a": "9" * 5000}, (Repair.NUMBER,)),
        (b'"text"', "text", ()),
    ],
)
def test_a_bad_value_does_not_cost_the_others(raw: bytes, value: Any, repairs: tuple[Repair, ...]) -> None:
    assert read_json(raw) == (value, repairs)


def test_numbers_are_kept_as_written() -> None:
    value, _ = read_json(b'{"a":1.10,"b":"\xff"}')
    assert isinstance(value["a"], msgspec.Raw)
    assert bytes(value["a"]) == b"1.10"


@pytest.mark.parametrize("raw", [b"", b"{", b'{"a":}', b"plain text", b"{} {}", b"[" * 100_000, b'{"a":1}\xff', b"'a'"])
def test_what_is_no_json_is_none(raw: bytes) -> None:
    with pytest.raises(NotJSONError):
        read_json(raw)


@given(value=VALUES, ascii_only=st.booleans())
def test_json_comes_back_without_repairs(value: Any, ascii_only: Any) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == (value, ())


@given(raw=st.binary(max_size=40))
def test_any_bytes_are_json_or_not(raw: bytes) -> None:
    with suppress(NotJSONError):
        read_json(raw)
