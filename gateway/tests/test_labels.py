"""Label sets, as Prometheus and its clients write them."""

import json

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.labels import parse_labels

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (b'{app="checkout",pod="web-1"}', {b"app": b"checkout", b"pod": b"web-1"}),
        (b' { app = "checkout" , pod="web-1", } ', {b"app": b"checkout", b"pod": b"web-1"}),
        (b"{}", {}),
        (b"", {}),
        (b'{a=""}', {b"a": b""}),
        (rb'{a="x\"y\\z\n\t\x41\u00e9\U0001F600\101"}', {b"a": 'x"y\\z\n\tAé😀A'.encode()}),
        (b"{a='it',b=`raw\\n\"`}", {b"a": b"it", b"b": b'raw\\n"'}),
        (b'{"service.name"="checkout", `k`="v"}', {b"service.name": b"checkout", b"k": b"v"}),
        (b'{a="1",a="2"}', {b"a": b"2"}),  # the last one counts
        (b'{a="x,y}{=",b="2"}', {b"a": b"x,y}{=", b"b": b"2"}),
        (rb'{path="C:\dir"}', {b"path": rb"C:\dir"}),  # no escape that Go knows
        (rb'{a="\ud83d"}', {b"a": "�".encode()}),
        (rb'{a="\UFFFFFFFF"}', {b"a": "�".encode()}),
        (b'{a="\xff"}', {b"a": b"\xff"}),
        (b'a="1"', {b"a": b"1"}),
        (b"{a=b,c=d}", {b"a": b"b", b"c": b"d"}),
        (b'{a="say "hi"",b="x, y"}', {b"a": b'say "hi"', b"b": b"x, y"}),
        (b'{a="{"k":"v"}",b="2"}', {b"a": b'{"k":"v"}', b"b": b"2"}),
        (b'{a=~"b.*"}', None),
        (b'{a!="b"}', None),
        (b'{a="b" c="d"}', {b"a": b'b" c="d'}),
        (b'{a="b}', None),
        (b"nonsense", None),
        (b'{="b"}', None),
        (b"{,}", None),
    ],
)
def test_reads_what_is_certain(text: bytes, labels: dict[bytes, bytes] | None) -> None:
    assert parse_labels(text) == labels


@given(labels=st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,9}", fullmatch=True), TEXT, max_size=6))
def test_whatever_is_quoted_comes_back(labels: dict[str, str]) -> None:
    pairs = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items())
    # JSON's quoting is Go's for everything but "\/" and surrogate pairs, neither of which is written here.
    assert parse_labels(f"{{{pairs}}}".encode()) == {n.encode(): v.encode() for n, v in labels.items()}


@given(text=st.binary(max_size=60))
def test_any_bytes_are_a_label_set_or_none(text: bytes) -> None:
    labels = parse_labels(text)
    assert labels is None or all(type(name) is type(value) is bytes for name, value in labels.items())


@pytest.mark.parametrize(
    "text", [b"{" * 100_000, b'{a="' + b"\\" * 100_000, b"a=," * 100_000, b'"' * 100_001, b" " * 100_000]
)
def test_long_nonsense_takes_no_longer_than_its_length(text: bytes) -> None:
    parse_labels(text)  # quadratic time would not end here
