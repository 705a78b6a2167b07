"""
Events of many bytes, read without an object for anything that no event may hold. Pure.

256 KiB have room for 30,000 unknown names, or for 130,000 lists in each other. As objects these take a hundred times as long
as the text of an honest event, and the event loop waits for all of it. So the parser passes over them here, and what is judged
is a value of the same form without them. What is taken is what `shared.event.decode` takes.

* TooLongError   an element of a batch is too long, whatever is left out of it
"""

import re

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, cast

import msgspec

from shared.event.decode import (
    Attributes,
    Key,
    Name,
    Sent,
    check_sent,
    check_texts,
    has_nul,
    read_sent_value,
)
from shared.event.explain import RefusalError, first_problem
from shared.event.fields import MAX_ATTRIBUTES, MAX_EVENT_BYTES, FieldProblem
from shared.event.json_text import (
    BOM,
    NotJSONError,
    as_written,
    has_odd_values,
    parse_json,
    reason_in_brief,
    without_odd_values,
)
from shared.event.model import LogEvent

LONG_BYTES: Final = 16 * 1024
"""A longer event is read here."""

# With no more objects than so many an event is read and explained as a short one is.
_FEW: Final = 4000
# A character is written with six bytes at most; so a longer text is too long in any other form.
_LONGEST_TEXT: Final = 6 * MAX_EVENT_BYTES + 2
_MANY_STRINGS: Final = 20_000
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
# Of more digits than 64 bits have; to read thousands of them takes quadratic time.
_LONG_INTEGER: Final = re.compile(rb"-?[0-9]{65,}+(?![.eE])")
_NESTED: Final = b"[{"
_QUOTE: Final = ord('"')
_TOO_MANY: Final = FieldProblem("attributes", f"must have at most {MAX_ATTRIBUTES} entries, and has far more")
_ODD: Final = FieldProblem("", "holds NaN, Infinity or half of a surrogate pair, which no field takes")
_WRONG: Final = (ValueError, RecursionError)


class TooLongError(Exception):
    """It has more bytes than an event may have, also without blanks and escapes."""


class _Long(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """As `Sent`; what could hold anything is not read yet."""

    service_name: Name
    level: str
    message: str
    correlation_id: Name
    timestamp: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    event_id: str | None = None
    attributes: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


# The last of two equal fields counts, and the other one may hold anything: nothing is read yet.
_Fields: Final = msgspec.defstruct(
    "_Fields",
    [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in Sent.__struct_fields__],
    rename="camel",
    forbid_unknown_fields=True,
    gc=False,
)
_decode_long: Final = msgspec.json.Decoder(_Long).decode
_decode_fields: Final = msgspec.json.Decoder(_Fields).decode
_decode_attributes: Final = msgspec.json.Decoder(Attributes | None, float_hook=as_written).decode
_split_attributes: Final = msgspec.json.Decoder(dict[Key, msgspec.Raw]).decode
_split_any: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_one: Final = msgspec.json.Decoder(float_hook=as_written).decode
_pass_over: Final = msgspec.json.Decoder(msgspec.Raw).decode


def read_long(raw: bytes) -> Sent:
    """
    Read an event as sent by a client, as `shared.event.decode.read_sent` does.

    Raises:
        NotJSONError: The bytes are no JSON.
        RefusalError: They are no event.
    """
    try:
        long = _decode_long(raw)
        sent = Sent(
            long.service_name,
            long.level,
            long.message,
            long.correlation_id,
            None if long.timestamp is msgspec.UNSET else _read_one(long.timestamp),
            long.event_id,
            None if long.attributes is msgspec.UNSET else _read_attributes(long.attributes),
        )
        if has_nul(raw):
            check_texts(sent)
        check_sent(sent)
    except _WRONG:
        few = raw.count(b",") + raw.count(b"[") + raw.count(b"{") <= _FEW
        return read_sent_value(parse_json(raw) if few else flat_value(raw))
    return sent


def flat_value(raw: bytes) -> object:
    """
    Return the JSON value of an event without what an event cannot hold: with no list and no object but empty ones.

    Raises:
        NotJSONError: The bytes are no JSON.
        RefusalError: They are no event, which is certain already.
        TooLongError: They are one element of a batch, and longer than any event.
    """
    text = raw.removeprefix(BOM)
    if len(raw) > MAX_EVENT_BYTES and raw.count(b"[") + raw.count(b"{") > MAX_EVENT_BYTES:
        raise TooLongError
    try:
        text.decode()
        fields = _decode_fields(text)
    except msgspec.ValidationError as exc:
        _demand_json(text)
        is_object = text.lstrip(b" \t\r\n").startswith(b"{")
        raise RefusalError(LogEvent, [], first_problem(cast("ValueError", exc)), explicable=not is_object) from None
    except _WRONG as exc:
        raise _not_readable(text, exc) from None
    value: dict[str, Any] = {}
    for name, alias in zip(_Fields.__struct_fields__, _Fields.__struct_encode_fields__, strict=True):
        part = getattr(fields, name)
        if part is not msgspec.UNSET:
            value[alias] = _flat_attributes(part) if name == "attributes" else _flat(part)
    return value


def _not_readable(text: bytes, exc: Exception) -> Exception:
    """Return what is wrong with bytes that the parser stopped at: what has no value may still be JSON of a kind."""
    if isinstance(exc, msgspec.DecodeError) and has_odd_values(text):
        if len(text) <= MAX_EVENT_BYTES:
            _demand_json(without_odd_values(text))
        return RefusalError(LogEvent, [], _ODD, explicable=False)
    return NotJSONError(reason_in_brief(text, exc))


def _demand_json(text: bytes) -> None:
    try:
        _pass_over(text)
    except _WRONG as exc:
        if isinstance(error := _not_readable(text, exc), NotJSONError):
            raise error from None


def _read_one(part: msgspec.Raw) -> Any:
    if memoryview(part)[0] in _NESTED or _LONG_INTEGER.match(part):
        raise ValueError
    return _decode_one(part)


def _read_attributes(part: msgspec.Raw) -> dict[str, Any] | None:
    if len(part) <= LONG_BYTES:
        return cast("dict[str, Any] | None", _decode_attributes(part))
    return {key: _read_one(item) for key, item in _entries(part, _split_attributes).items()}


def _entries(part: msgspec.Raw, split: Callable[[msgspec.Raw], dict[str, msgspec.Raw]]) -> dict[str, msgspec.Raw]:
    entries = split(part)
    if (number := len(entries)) > MAX_ATTRIBUTES:
        problem = FieldProblem("attributes", f"must have at most {MAX_ATTRIBUTES} entries, has {number}")
        raise RefusalError(LogEvent, {}, problem, explicable=False)
    return entries


def _flat(part: msgspec.Raw) -> Any:
    first = memoryview(part)[0]
    if first in _NESTED:
        return [] if first == _NESTED[0] else {}
    if len(part) > (_LONGEST_TEXT if first == _QUOTE else MAX_EVENT_BYTES):
        raise TooLongError
    return parse_json(bytes(part))


def _flat_attributes(part: msgspec.Raw) -> Any:
    if memoryview(part)[0] != _NESTED[1]:
        return _flat(part)
    if len(part) > MAX_EVENT_BYTES:
        strings = sum(1 for _ in islice(_STRING.finditer(part), _MANY_STRINGS))
        if strings == _MANY_STRINGS:
            raise RefusalError(LogEvent, {}, _TOO_MANY, explicable=False)
    return {key: _flat(item) for key, item in _entries(part, _split_any).items()}
