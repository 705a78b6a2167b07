"""
JSON text into Python's values and back, with every number as it was written. Pure.

* NotJSONError   the bytes are no JSON; says where they cease to be
"""

import json
import re

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from pydantic_core import from_json

BOM: Final = b"\xef\xbb\xbf"

_MAX_INT_CHARS: Final = 64
_TOO_LARGE_INT: Final = 10**_MAX_INT_CHARS
_NOT_A_NUMBER: Final = Decimal("NaN")
# Longer than any number that a double needs, and short enough to be harmless.
_USUAL_CHARS: Final = 25


# What the standard library's parser takes and no value is made of, here without letters. As long as before, so that places stay
# the same; and after a digit or a sign, where there is no value either, this is none.
_ODD_NUMBERS: Final = ((b"-Infinity", b"[       ]"), (b"Infinity", b"[      ]"), (b"NaN", b"[ ]"))
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
ODD: Final = (b"NaN", b"Infinity", b"\\ud", b"\\uD")
"""Without any of these, what `parse_json` takes every parser takes."""
_AT_BYTE: Final = re.compile(r"(?:JSON is malformed: )?(?P<what>.*) \(byte (?P<at>\d+)\)", re.DOTALL)


class NotJSONError(Exception):
    """Bytes that are no JSON."""


def parse_json(raw: bytes) -> Any:
    r"""
    Parse UTF-8 JSON: numbers with a fraction or an exponent become `Decimal`, others `int`.

    A byte order mark at the beginning is ignored, as RFC 8259 allows. A client that cuts a string in the middle of an emoji
    sends "\ud83d", another one NaN or a number of 5,000 digits. That is one bad value, not bad JSON: the parser lets it
    through, and the check of that field judges it. So one bad event does not spoil the array it is in.

    Raises:
        NotJSONError: The bytes are no JSON.
    """
    raw = raw.removeprefix(BOM)
    with suppress(ValueError, RecursionError):
        return _decode_strictly(raw)
    try:
        return _decode(raw.decode())
    except (ValueError, RecursionError) as exc:
        raise NotJSONError(_reason(raw, exc)) from None


def has_odd_values(raw: bytes) -> bool:
    """Return whether `without_odd_values` may change anything."""
    return any(odd in raw for odd in ODD)


def without_odd_values(raw: bytes) -> bytes:
    """
    Return JSON with the same elements and members at the same places, which every parser takes if `parse_json` takes the other.

    What is left out has no value: numbers that are none become lists, and halves of surrogate pairs other characters.
    """
    for odd, instead in _ODD_NUMBERS:
        raw = raw.replace(odd, instead)
    return _SURROGATE.sub(rb"\\u0000", raw)


def reason_in_brief(raw: bytes, exc: Exception) -> str:
    """Return where bytes cease to be JSON, as msgspec has found it; costs less than to parse them again."""
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    if isinstance(exc, UnicodeDecodeError):
        what, at = "invalid UTF-8", exc.start
    elif found := _AT_BYTE.fullmatch(str(exc)):
        what, at = found["what"], int(found["at"])
    else:
        return "it is cut off"
    line, begin = raw.count(b"\n", 0, at) + 1, raw.rfind(b"\n", 0, at)
    return f"{what} at line {line} column {at - begin}"


def as_written(digits: str) -> msgspec.Raw | Decimal:
    """
    Keep a number with a fraction or an exponent: as it is written where that is usual, else as a decimal.

    A decoder calls this for what it would make a double of. Most are only passed on, and need no conversion.
    """
    if len(digits) > _USUAL_CHARS or "e" in digits or "E" in digits:
        return _parse_decimal(digits)
    return msgspec.Raw(digits)


def write_decimal(value: Decimal) -> msgspec.Raw:
    """Return a finite number as JSON that is read as a decimal again, with the same digits."""
    text = str(value)
    # 1.5e1 is written 15 then, which would be taken for an integer, and need not fit into 64 bits.
    return msgspec.Raw(text if "." in text or "E" in text else text + "E0")


def _reason(raw: bytes, exc: Exception) -> str:
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    # The other parser has the better sentences, and echoes nothing.
    try:
        from_json(raw)
    except ValueError as better:
        return str(better)
    return str(exc)


def _parse_int(digits: str) -> int:
    # No field takes a number of that size, whatever its digits are. Reading them all would cost quadratic time.
    return int(digits) if len(digits) <= _MAX_INT_CHARS else _TOO_LARGE_INT


def _parse_decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:  # its exponent has too many digits
        return _NOT_A_NUMBER


_decode_strictly: Final = msgspec.json.Decoder(float_hook=_parse_decimal).decode
"""Faster, and the same for what has no value that is bad by itself."""
_decode: Final = json.JSONDecoder(
    parse_int=_parse_int, parse_float=_parse_decimal, parse_constant=lambda _: _NOT_A_NUMBER
).decode
