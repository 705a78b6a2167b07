"""
JSON documents of any shape as records: which of their fields says what. Pure.

Names are dotted, and stand for nested objects as well: `log.level` is `{"log": {"level": …}}`, too. What a field says that is
not taken for another purpose stays an attribute.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from gateway.protocols.attributes import MAX_DEPTH, free_name
from gateway.protocols.record import Record, Repair
from gateway.protocols.written_times import written_ns
from shared.event.levels import LevelName

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_NUMBERS: Final = (int, float, msgspec.Raw)


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


def flat(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with dotted names in the place of nested objects, up to the depth that attributes have."""
    for value in document.values():
        if type(value) is dict and value:
            found: dict[str, Any] = {}
            _flatten(document, "", found, MAX_DEPTH)
            return found
    return document


def _flatten(values: dict[str, Any], prefix: str, found: dict[str, Any], depth: int) -> None:
    for key, value in values.items():
        name = prefix + key
        if type(value) is dict and value and depth > 1:
            _flatten(value, name + ".", found, depth - 1)
        else:
            found[free_name(name, found) if name in found else name] = value


def record_of(raw: bytes, fields: dict[str, Any], names: Names, repairs: tuple[Repair, ...] = ()) -> Record:
    """
    Return a document's record.

    Args:
        raw: Its bytes as sent.
        fields: Its flat fields; what is taken is removed.
        names: What they are called.
        repairs: What was repaired of it.
    """
    time_ns, written = None, ""
    for name in names.time:
        if (value := fields.get(name)) is not None and value != "":
            time_ns, written = written_ns(value)
            del fields[name]
            break
    level = ""
    for name in names.level:
        if (value := fields.get(name)) is not None and (level := _level(value, names.number)):
            del fields[name]
            break
    return Record(
        raw=raw,
        message=_message(raw, fields, names.message),
        time_ns=time_ns,
        level=level,
        service=_text(fields, names.service),
        own_id=own if (own := first(fields, names.own_id)) else b"",
        attributes=fields,
        time_written=written,
        repairs=repairs,
    )


def first(fields: dict[str, Any], names: Sequence[str]) -> str:
    """Return the first text or number among some fields, as a text; empty if there is none."""
    for name in names:
        value = fields.get(name)
        if type(value) is str:
            if value:
                return value
        elif type(value) is int:
            return str(value)
    return ""


def _text(fields: dict[str, Any], names: Sequence[str]) -> str:
    for name in names:
        if type(value := fields.get(name)) is str and value.strip():
            del fields[name]
            return value  # type: ignore[no-any-return]
    return ""


def _message(raw: bytes, fields: dict[str, Any], names: Sequence[str]) -> str | bytes:
    for name in names:
        value = fields.get(name)
        if type(value) is str:
            del fields[name]
            return value  # type: ignore[no-any-return]
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
