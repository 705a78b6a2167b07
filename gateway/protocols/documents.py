"""
JSON documents of any shape as records: which of their fields says what. Pure.

Names are dotted, and stand for nested objects as well: `log.level` is `{"log": {"level": …}}`, too. What a field says that is
not taken for another purpose stays an attribute.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gateway.protocols.attributes import MAX_DEPTH, free_name
from gateway.protocols.lenient_json import read_json
from gateway.protocols.record import Record, Repair
from gateway.protocols.shapes import Expected, Shapes
from gateway.protocols.written_times import written_ns
from shared.event.fields import MAX_NAME_CHARS
from shared.event.levels import LevelName

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_NUL: Final = b"\\u0000"
_TEXTS: Final = {str}
_PLANS_KEPT: Final = 256
_NAMES_KEPT: Final = 4096
_NUMBERS: Final = (int, float, msgspec.Raw)
_shapes: Final = Shapes()


class Names(msgspec.Struct, frozen=True, gc=False):
    """
    Where documents of one kind have what; of several names the first that is there counts.

    Attributes:
        time, message, level, service: Names of fields that become the event's own, and are attributes no more.
        own_id: Names of fields whose values are the same whenever the record is sent.
        host, file: Names of fields that tell one source from another.
        number: What a level means that is a number.
    """

    time: Sequence[str]
    message: Sequence[str]
    level: Sequence[str]
    service: Sequence[str]
    own_id: Sequence[str]
    host: Sequence[str]
    file: Sequence[str]
    number: Callable[[int], LevelName | None]


class _Plan(NamedTuple):
    """Which of a document's fields are the event's own, in the order in which they are asked."""

    time: Sequence[str]
    message: Sequence[str]
    level: Sequence[str]
    service: Sequence[str]
    own_id: Sequence[str]
    host: Sequence[str]
    file: Sequence[str]
    trace: Sequence[str]


class Documents:
    """
    Reads the documents of one request, most of which have the same fields.

    Args:
        names: Which fields say what.
        trace: Names of fields that have a trace's or a request's id, beside those that are known anyway.
    """

    def __init__(self, names: Names, trace: Sequence[str] = ()) -> None:
        self._names = names
        self._trace = trace
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._under = _Under(None, [_NAMES_KEPT])
        self._expected = Expected(_shapes)

    def read(self, raw: bytes) -> tuple[Record, str] | None:
        """
        Return a document's record and its host, as `record` does; None if it is another JSON value than an object.

        Raises:
            NotJSONError: It is no JSON.
        """
        if (fields := self._expected.read(raw)) is not None:
            return self._record(raw, fields, (), is_plain=True)
        document, repairs = read_json(raw)
        if type(document) is not dict:
            return None
        fields = flat(document, self._under)
        if fields is not document and not repairs:  # a flat one is read as fast as it can be
            self._expected.note(document, fields)
        return self._record(raw, fields, repairs)

    def record(self, raw: bytes, document: dict[str, Any], repairs: tuple[Repair, ...]) -> tuple[Record, str]:
        """
        Return a document's record, and its host; empty if it names none.

        Args:
            raw: Its bytes as sent.
            document: Its value, which is not needed any more.
            repairs: What was repaired of it.
        """
        return self._record(raw, flat(document, self._under), repairs)

    def _record(
        self, raw: bytes, fields: dict[str, Any], repairs: tuple[Repair, ...], *, is_plain: bool = False
    ) -> tuple[Record, str]:
        plan = self._plans.get(shape := tuple(fields)) or self._plan(shape)
        time_ns, written = None, ""
        for name in plan.time:
            if (value := fields[name]) is not None and value != "":
                time_ns, written = written_ns(value)
                del fields[name]
                break
        level = ""
        for name in plan.level:
            if (value := fields[name]) is not None and (level := _level(value, self._names.number)):
                del fields[name]
                break
        host = _first(fields, plan.host) if plan.host else ""
        record = Record(
            raw,
            _message(raw, fields, plan.message),
            time_ns,
            level,
            _service(fields, plan.service),
            _first(fields, plan.own_id) if plan.own_id else b"",
            attributes=fields,
            time_written=written,
            repairs=repairs,
            is_plain=is_plain,
        )
        if plan.file:
            record.stream = _first(fields, plan.file).encode("utf-8", "replace")
        if plan.trace and len(trace := _first(fields, plan.trace)) <= MAX_NAME_CHARS:
            record.correlation = trace
        return record, host

    def _plan(self, shape: tuple[str, ...]) -> _Plan:
        there = frozenset(shape)
        names = self._names
        roles = (
            names.time,
            names.message,
            names.level,
            names.service,
            names.own_id,
            names.host,
            names.file,
            self._trace,
        )
        if len(self._plans) >= _PLANS_KEPT:
            self._plans.clear()
        plan = self._plans[shape] = _Plan(*[[name for name in role if name in there] for role in roles])
        return plan


class _Under(dict[str, "_Under"]):
    """
    A dotted name, and below it those of its members; the outermost has no name.

    Documents of one request share their names, which need to be put together once. How many are kept is bounded for all.
    """

    __slots__ = ("name", "room")

    def __init__(self, name: str | None, room: list[int]) -> None:
        super().__init__()
        self.name = name
        self.room = room

    def __missing__(self, key: str) -> "_Under":
        below = _Under(key if self.name is None else f"{self.name}.{key}", self.room)
        if self.room[0]:
            self.room[0] -= 1
            self[key] = below
        return below


def flat(document: dict[str, Any], names: _Under) -> dict[str, Any]:
    """Return a document with dotted names in the place of nested objects, up to the depth that attributes have."""
    kinds = set(map(type, document.values()))
    if dict in kinds or list in kinds:
        found: dict[str, Any] = {}
        _flatten(document, names, found, MAX_DEPTH)
        return found
    return document


def _flatten(values: dict[str, Any], names: _Under, found: dict[str, Any], depth: int) -> None:
    for key, value in values.items():
        below = names[key]
        kind = type(value)
        if kind is dict and value and depth > 1:
            _flatten(value, below, found, depth - 1)
            continue
        name: Any = below.name
        if name in found:
            name = free_name(name, found)
        found[name] = _listed(value) if kind is list and set(map(type, value)) == _TEXTS else value


def _listed(texts: list[str]) -> Any:
    """Return a list of texts as the JSON that it becomes as an attribute, unless a text needs care."""
    try:
        written = _encode(texts)
    except ValueError:
        return texts
    return texts if _NUL in written else written.decode()


def _first(fields: dict[str, Any], names: Sequence[str]) -> str:
    """Return the first text or number among some fields, as a text; empty if there is none."""
    for name in names:
        value = fields.get(name)
        if type(value) is str:
            if value:
                return value
        elif type(value) is int:
            return str(value)
    return ""


def _service(fields: dict[str, Any], names: Sequence[str]) -> str:
    for name in names:
        if type(value := fields.get(name)) is str and value.strip():
            del fields[name]
            return value
    return ""


def _message(raw: bytes, fields: dict[str, Any], names: Sequence[str]) -> str | bytes:
    for name in names:
        value = fields.get(name)
        if type(value) is str:
            del fields[name]
            return value
        if isinstance(value, _NUMBERS) or type(value) is bool:
            del fields[name]
            return _encode(value)
        if type(value) is list and (octets := _octets(value)) is not None:  # as journald exports what is no UTF-8
            del fields[name]
            return octets
    return raw


def _octets(values: list[Any]) -> bytes | None:
    try:
        return bytes(values) if values and all(type(value) is int for value in values) else None
    except ValueError:
        return None


def _level(value: Any, number: Callable[[int], LevelName | None]) -> str:
    if type(value) is str:
        text = value.strip()
        if not (text.isascii() and text.isdecimal()):
            return text
        value = int(text[:4])
    elif type(value) is not int:
        return ""
    return number(value) or str(value)
