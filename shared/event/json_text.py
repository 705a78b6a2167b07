"""
JSON text into Python's values and back, with every number as it was written. Pure.

* NotJSONError   the bytes are no JSON; says where they cease to be
"""

import json

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from pydantic_core import from_json

BOM: Final = b"\xef\xbb\xbf"

_MAX_INT_CHARS: Final = 64
_TOO_LARGE_INT: Final = 10**_MAX_INT_CHARS
_NOT_A_NUMBER: Final = Decimal("NaN")


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


def write_decimal(value: Decimal) -> msgspec.Raw:
    """Return a finite number as JSON that is read as a decimal again, with the same digits."""
    text = str(value)
    # 1.5e1 is written 15 then, which would be taken for an integer, and need not fit into 64 bits.
    return msgspec.Raw(text if "." in text or "E" in text else text + "E0")


def _reason(raw: bytes, exc: Exception) -> str:
    # The other parser has the better sentences, and echoes nothing.
    try:
        from_json(raw)
    except ValueError as better:
        return str(better)
    return "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)


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
