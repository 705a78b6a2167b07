r"""
JSON as log shippers write it, into Python's values. Pure.

Bytes that are nearly JSON are read, too, since one bad value must not cost its record: bad UTF-8, control characters in a
string, a lone surrogate, NaN, an integer of any length.

* NotJSONError    the bytes are no JSON even so (`shared.event.json_text`)
"""

import json

from typing import Any, Final

import msgspec

from gateway.protocols.record import Repair
from shared.event.json_text import BOM, NotJSONError, as_written

_MAX_INT_CHARS: Final = 64
_strictly: Final = msgspec.json.Decoder(float_hook=as_written).decode


def read_json(raw: bytes) -> tuple[Any, tuple[Repair, ...]]:
    """
    Return the value, and what had to be repaired of it.

    Repairs are `Repair.UTF8`, and `Repair.NUMBER` for one that JSON does not have and that is a text now. Strings may have lone surrogates. Numbers with a fraction or an exponent are a `msgspec.Raw`, as they were written, or a
    `Decimal`. The last of two equal keys counts.

    Raises:
        NotJSONError: The bytes are no JSON.
    """
    try:
        return _strictly(raw), ()
    except (ValueError, RecursionError):
        return _leniently(raw)


def _leniently(raw: bytes) -> tuple[Any, tuple[Repair, ...]]:
    repairs: list[Repair] = []
    raw = raw.removeprefix(BOM)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode(errors="replace")
        repairs.append(Repair.UTF8)

    def number_as_text(written: str) -> str:
        repairs.append(Repair.NUMBER)
        return written

    def integer(digits: str) -> int | str:
        # Reading all of them would cost quadratic time, and no integer of that size can be kept as one.
        return int(digits) if len(digits) <= _MAX_INT_CHARS else number_as_text(digits)

    read = json.JSONDecoder(
        strict=False, parse_int=integer, parse_float=as_written, parse_constant=number_as_text
    ).decode
    try:
        value = read(text)
    except RecursionError:
        raise NotJSONError("it is nested too deeply") from None
    except ValueError as exc:
        raise NotJSONError(str(exc)) from None
    return value, tuple(dict.fromkeys(repairs))
