"""Attributes of any shape as flat ones that can be stored: nothing is dropped, what was changed is named. Pure."""

import re

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Final

import msgspec

from gateway.protocols.record import Repair
from shared.event.fields import MAX_NAME_CHARS, check_attribute
from shared.event.json_text import write_decimal

MORE: Final = "_more"
MAX_DEPTH: Final = 8
MOST_VALUES: Final = 2000
"""Attributes with more values are kept as they were sent: to take them apart would hold the loop for long."""
_NAMES_KEPT: Final = 4096

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INT64: Final = range(-(2**63), 2**64)
_SMALLEST: Final = 1e-3
_LARGEST: Final = 1e15
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


def text_of(raw: bytes) -> str:
    """Return bytes as text; what is no UTF-8 stays lone surrogates, which `clean` finds."""
    return raw.decode("utf-8", "surrogateescape")


class _Names(dict[bytes, str]):
    def __missing__(self, raw: bytes) -> str:
        if len(self) >= _NAMES_KEPT:
            self.clear()
        name = self[raw] = text_of(raw)
        return name


NAMES: Final = _Names()
"""Names of attributes as text: most requests have the same few."""


def clean(text: str | bytes, repairs: set[Repair]) -> str:
    """Return a text that PostgreSQL stores; notes what had to be repaired."""
    if isinstance(text, bytes):
        text = text_of(text)
    if "\0" in text:
        text = text.replace("\0", "\u2400")
        repairs.add(Repair.NUL)
    if not text.isascii():
        text, found = _SURROGATE.subn("\ufffd", text)
        if found:
            repairs.add(Repair.UTF8)
    return text


def settle(layers: Sequence[tuple[str, Mapping[Any, Any]]], room: int, repairs: set[Repair]) -> dict[str, Any]:
    """
    Return all attributes as at most `room` flat ones that can be stored.

    Args:
        layers: The most important ones first, each with what comes before a name that a layer before has, too.
        room: How many there may be.
        repairs: What had to be repaired is added.
    """
    flat: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for prefix, layer in layers:
        own: dict[str, None] = {}
        for name, value in _flattened("", layer, MAX_DEPTH, repairs):
            free = name
            if free in own:  # a dotted name and a nested one
                free = free_name(name, flat)
            elif free in flat:
                free = prefix + name
            if not 0 < len(free) <= MAX_NAME_CHARS or free in flat:
                more[free_name(free, more)] = value
            else:
                flat[free] = value
                own[free] = None
    if more:
        repairs.add(Repair.NAME)
    if len(flat) + bool(more) > room:
        repairs.add(Repair.MORE)
        for name in list(flat)[room - 1 :]:
            more[free_name(name, more)] = flat.pop(name)
    if more:
        flat[free_name(MORE, flat)] = to_json(more, repairs)
    return flat


def are_many(values: object) -> bool:
    """Return whether attributes have more values than are taken apart; looks no further than to find out."""
    left = MOST_VALUES
    waiting: list[Iterator[object]] = [iter((values,))]
    while waiting:
        for value in waiting[-1]:
            left -= 1
            if left < 0:
                return True
            if isinstance(value, Mapping):
                waiting.append(iter(value.values()))
                break
            if isinstance(value, list | tuple):
                waiting.append(iter(value))
                break
        else:
            waiting.pop()
    return False


def to_json(value: object, repairs: set[Repair]) -> str:
    """Return any value as JSON that PostgreSQL takes, too, as a text."""
    return _encode(_plain(value, repairs)).decode()


def _flattened(prefix: str, values: Mapping[Any, Any], depth: int, repairs: set[Repair]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = prefix + clean(key, repairs)
        if isinstance(value, Mapping) and value and depth > 1:
            yield from _flattened(name + ".", value, depth - 1, repairs)
        else:
            yield name, _scalar(value, repairs)


def _scalar(value: object, repairs: set[Repair]) -> object:
    return to_json(value, repairs) if isinstance(value, Mapping | list | tuple) else _leaf(value, repairs)


def _leaf(value: object, repairs: set[Repair]) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | bytes):
        return clean(value, repairs)
    if isinstance(value, int | float | Decimal | msgspec.Raw):
        return _number(value, repairs)
    return clean(str(value), repairs)


def _number(value: int | float | Decimal | msgspec.Raw, repairs: set[Repair]) -> object:
    if isinstance(value, msgspec.Raw):
        return value
    if isinstance(value, int):
        written: object = value if value in _INT64 else _digits(value)
    elif isinstance(value, float):
        written = _written(value)
    else:
        try:
            check_attribute("", value)
            written = write_decimal(value)
        except ValueError:
            written = str(value)
    if isinstance(written, str):
        repairs.add(Repair.NUMBER)
    return written


def _written(value: float) -> float | msgspec.Raw | str:
    if not isfinite(value):
        return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    # Any other is written with an exponent, which has a canonical form.
    return value if not value or _SMALLEST <= abs(value) < _LARGEST else write_decimal(Decimal(repr(value)))


def _digits(value: int) -> str:
    # Python writes no more digits than it was told to; nor do people read them.
    try:
        return str(value)
    except ValueError:
        return hex(value)


def _plain(value: object, repairs: set[Repair]) -> object:
    if isinstance(value, Mapping):
        plain: dict[str, Any] = {}
        for key, item in value.items():
            plain[free_name(clean(key, repairs), plain)] = _plain(item, repairs)
        return plain
    if isinstance(value, list | tuple):
        return [_plain(item, repairs) for item in value]
    return _leaf(value, repairs)


def free_name(name: str, taken: Mapping[str, Any]) -> str:
    """Return the name, or what it becomes where that is taken."""
    while name in taken:
        name += "_"
    return name
