"""What was learned of earlier documents changes nothing about what becomes of one; it is only read faster."""

import json

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.protocols import documents, shapes
from gateway.protocols.convert import Converter
from gateway.protocols.documents import Documents
from gateway.protocols.lenient_json import read_json
from gateway.protocols.presets import BULK
from gateway.protocols.record import Group, Record
from gateway.protocols.shapes import Expected, Learned, Shapes
from shared.event.json_text import NotJSONError
from shared.ingest.receipt import example as receipt

NAMES = st.sampled_from([
    "a", "b", "a.b", "message", "@timestamp", "log", "level", "service", "name", "host", "trace", "id", "é", "__init__",
    "self", "class", 'q"', "back\\slash", "\u0000", "", "x" * 300,
])  # fmt: skip
LEAVES = st.one_of(
    st.text(max_size=5),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1]),
    st.booleans(),
    st.none(),
    st.floats(),
    st.lists(st.text(max_size=2), max_size=2),
    st.just({}),
    st.sampled_from(["\ud800", "\u0000", "2026-11-27T06:30:00.123456Z", "ERROR", "0" * 31 + "1"]),
)
DOCUMENTS = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda below: st.dictionaries(NAMES, below, max_size=3), max_leaves=8), max_size=6
)


@pytest.fixture(autouse=True)
def learns_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_WORTH_LEARNING", 1)
    monkeypatch.setattr(documents, "_shapes", Shapes())


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    """Some documents of few kinds, as their clients write them: in any order of fields, and with other values."""
    kinds = draw(st.lists(DOCUMENTS, min_size=1, max_size=3))
    lines = []
    for _ in range(draw(st.integers(1, 8))):
        document = varied(draw, draw(st.sampled_from(kinds)))
        written = json.dumps(document, ensure_ascii=draw(st.booleans()))
        lines.append(written.encode("utf-8", "surrogatepass"))
    return lines


def varied(draw: Any, document: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name in draw(st.permutations(list(document))):
        value = document[name]
        if isinstance(value, dict):
            found[name] = varied(draw, value)
        elif type(value) is str and draw(st.booleans()):
            found[name] = draw(st.text(max_size=3))
        elif type(value) is int and draw(st.booleans()):
            found[name] = draw(st.integers() | st.integers(2**62, 2**65))
        else:
            found[name] = value if draw(st.integers(0, 9)) else draw(LEAVES)
    return found


def usual(raw: bytes) -> tuple[Record, str] | None:
    document, repairs = read_json(raw)
    return Documents(BULK).record(raw, document, repairs) if type(document) is dict else None


def event(read: tuple[Record, str]) -> Any:
    """Return the event that a record becomes, as values."""
    record, host = read
    converter = Converter(receipt("/_bulk"), "bulk")
    made = converter.convert(converter.source(Group(b"key", "service", host)), msgspec.structs.replace(record))
    return msgspec.json.decode(made.encoded), made.event_id, converter.counts()


def values(read: tuple[Record, str]) -> Any:
    record, host = read
    return (
        repr([getattr(record, name) for name in Record.__struct_fields__ if name not in {"attributes", "is_plain"}]),
        {
            name: bytes(value) if isinstance(value, msgspec.Raw) else repr(value)
            for name, value in record.attributes.items()
        },
        host,
    )


@given(alike())
@example([b'{"a.b":1,"a":{"b":2}}', b'{"a":{"b":2},"a.b":1}', b'{"a":{"b":2},"a.b":1}'])
@example([b'{"a":{"b":1}}', b'{"a":{"b":2,"b":3}}', b'{"a":{"b":1},"a":{"b":2}}'])
@example([b'{"a":{"b":1,"c":2}}', b'{"a":{"b":18446744073709551616,"c":2}}', b'{"a":{"b":1.0,"c":2}}'])
@example([b'{"a":{"b":1,"c":2}}', b'{"a":{"b":1,"c":2,"d":3}}', b'{"a":{"b":1}}', b'{"a":{"b":1,"c":2},"d":3}'])
@example([b'{"a":{"b":"x","c":2}}', b'{"a":{"b":"\\ud800","c":2}}', b'{"a":{"b":"\\u0000","c":2}}'])
def test_a_document_becomes_the_same_whatever_was_learned(lines: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(documents, "_shapes", Shapes())
        learning = Documents(BULK)
        for raw in lines:
            try:
                expected = usual(raw)
            except NotJSONError:
                with pytest.raises(NotJSONError):
                    learning.read(raw)
                continue
            read, again = learning.read(raw), usual(raw)
            assert (read is None) == (expected is None)
            if read is not None and expected is not None and again is not None:
                assert values(read) == values(expected)
                assert event(read) == event(again)


@given(DOCUMENTS)
def test_what_is_said_to_be_plain_is(document: dict[str, Any]) -> None:
    raw = json.dumps(document).encode()
    try:
        kind = Learned(read_json(raw)[0], tuple(documents.flat(read_json(raw)[0], documents._Under(None, [100]))))
        fields = kind.read(raw)
    except (ValueError, TypeError, NotJSONError):
        return  # not every document can be learned
    for value in fields.values():
        assert type(value) in {str, int, bool, type(None)}
        assert type(value) is not int or -(2**63) <= value < 2**63


def nested(number: int) -> bytes:
    return json.dumps({"a": {"b": number, "c": "x"}}).encode()


def reads(expected: Expected, lines: Sequence[bytes]) -> Iterator[bool]:
    """Tell of each document whether it was read by what was learned; note the others."""
    for raw in lines:
        if expected.read(raw) is None:
            document = json.loads(raw)
            expected.note(document, documents.flat(document, documents._Under(None, [100])))
            yield False
        else:
            yield True


def test_the_documents_after_those_that_are_learned_are_read_faster() -> None:
    learned = Shapes()
    assert list(reads(Expected(learned), [nested(n) for n in range(3)])) == [False, True, True]
    assert list(reads(Expected(learned), [nested(n) for n in range(3)])) == [False, True, True]


def test_a_request_whose_documents_change_all_the_time_is_not_slowed_down_for_ever() -> None:
    lines = [json.dumps({"a": {f"b{n % 2}": 1, "c": "x"}}).encode() for n in range(100)]
    tried: list[int] = []
    expected = Expected(Shapes())
    for number, raw in enumerate(lines):
        [was_read] = reads(expected, [raw])
        assert not was_read
        if expected._learned is not None:
            tried.append(number)

    assert len(tried) <= 20


def test_one_request_teaches_few_kinds_and_little_is_kept() -> None:
    learned = Shapes()
    for request in range(40):
        expected = Expected(learned)
        list(reads(expected, [json.dumps({"a": {f"b{request}/{n}": 1, "c": "x"}}).encode() for n in range(10)]))

    assert len(learned._learned) <= 64
    assert len(learned._seen) <= 512
