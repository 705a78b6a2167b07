"""
What a single field of an event may hold: the limits, the checks, and how a wrong one is reported. Pure.

The decoder (`shared.event.decode`) and the model that explains (`shared.event.model`) check with the same functions.

* InvalidEventError       one or more fields are wrong; says which, and what to change
"""

import sys

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, cast

MAX_EVENT_BYTES: Final = 256 * 1024
MAX_ATTRIBUTES: Final = 128
MAX_NAME_CHARS: Final = 256
MAX_BATCH_EVENTS: Final = 10_000
# An error names what the client sent, but must not become a way to make a large answer out of it.
MAX_ECHO_CHARS: Final = 64

# Signed and unsigned numbers of 64 bits, whichever a client's language has.
_INT64: Final = range(-(2**63), 2**64)
# PostgreSQL keeps every digit of a number, so one of few characters can become one of millions.
_MAX_FRACTION_DIGITS: Final = 1000
_LARGEST: Final = Decimal(sys.float_info.max)


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """
    One thing that is wrong with an event.

    Attributes:
        field: Path of the field as the client wrote it, empty for the event as a whole.
        message: What is wrong and what to change, a sentence without the field's name.
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidEventError(Exception):
    """An event that breaks the contract; `problems` names every field that does."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


def check_text(value: str) -> str:
    """
    Return a text that PostgreSQL stores.

    Raises:
        ValueError: It has a character that PostgreSQL does not take.
    """
    if "\x00" in value:
        raise ValueError("must not contain the character U+0000, which PostgreSQL cannot store")
    # msgspec and pydantic refuse lone surrogates in JSON; elements of an array may come from the standard library's parser.
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds a lone surrogate, which is no character") from None
    return value


def check_attributes(value: dict[str, Any]) -> dict[str, Any]:
    """
    Return attributes that can be stored.

    Raises:
        ValueError: There are too many, or one cannot be stored.
    """
    if len(value) > MAX_ATTRIBUTES:
        raise ValueError(f"must have at most {MAX_ATTRIBUTES} entries, has {len(value)}")
    for key, item in value.items():
        if len(key) > MAX_NAME_CHARS:
            raise ValueError(f"keys must have at most {MAX_NAME_CHARS} characters")
        check_text(key)
        check_attribute(key, item)
    return value


def check_attribute(key: str, item: object) -> None:
    """
    Check the value of one attribute.

    Raises:
        ValueError: It cannot be stored.
    """
    kind = type(item)
    name = repr(cut(key))
    if kind is str:
        try:
            check_text(cast("str", item))
        except ValueError as exc:
            raise ValueError(f"value of {name} {exc}") from None
    elif kind is int:
        if item not in _INT64:
            raise ValueError(f"value of {name} must fit into 64 bits; send larger numbers as strings")
    elif kind is float or kind is Decimal:
        _check_decimal(name, Decimal(cast("float | Decimal", item)))
    elif item is not None and kind is not bool:
        raise ValueError(f"value of {name} must be a string, a number, true, false or null; flatten nested values")


def cut(text: str) -> str:
    """Return so much of a client's text as an answer may echo."""
    return text if len(text) <= MAX_ECHO_CHARS else text[:MAX_ECHO_CHARS] + "…"


def _check_decimal(name: str, value: Decimal) -> None:
    if not value.is_finite() or abs(value) > _LARGEST or value.adjusted() > _LARGEST.adjusted():
        raise ValueError(f"value of {name} must be a finite number, and fit into a double")
    if int(value.as_tuple().exponent) < -_MAX_FRACTION_DIGITS:
        raise ValueError(f"value of {name} must have at most {_MAX_FRACTION_DIGITS} digits after the point")
