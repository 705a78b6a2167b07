"""
The parameters of a request: known by name, or refused. Pure.

One that is misspelt would otherwise be a filter that does nothing.
"""

import re

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from shared.event.fields import MAX_NAME_CHARS, check_text
from shared.wire.problem import BadRequestError

ATTRIBUTE: Final = "attr."
MAX_TEXT_CHARS: Final = 4096
MAX_PARAMETERS: Final = 100
_MANY: Final = frozenset({"service", "text", "-text"})
_ECHO: Final = 64


class Parameters:
    """
    The parameters of one request, all of them known.

    Args:
        pairs: Names and values.
        known: Names that there are.
        attributes: Whether `attr.NAME` is known, too.

    Raises:
        BadRequestError: One is not known, or there twice without need.

    Attributes:
        pairs: All of them.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], known: Sequence[str], *, attributes: bool = False) -> None:
        self.pairs = list(pairs)
        self._found: dict[str, list[str]] = {}
        for count, (name, value) in enumerate(self.pairs, start=1):
            if count > MAX_PARAMETERS:
                raise BadRequestError(f"there may be {MAX_PARAMETERS} parameters")
            is_attribute = attributes and name.startswith(ATTRIBUTE) and name != ATTRIBUTE
            if name not in known and not is_attribute:
                names = [*known, *([f"{ATTRIBUTE}NAME"] if attributes else [])]
                raise BadRequestError(f"{echo(name)} is no parameter here; there are {', '.join(names)}")
            if value == "" and not is_attribute:  # as a form sends what was not filled in
                continue
            if name in self._found and name not in _MANY and not is_attribute:
                raise BadRequestError(f"{name} is there twice")
            self._found.setdefault(name, []).append(_checked(name, value))

    def many(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return self._found.get(name, [])

    def one(self, name: str) -> str | None:
        """Return the value of a parameter; None if it is not there."""
        return next(iter(self.many(name)), None)

    def is_set(self, name: str) -> bool:
        """
        Return whether a parameter is `true`.

        Raises:
            BadRequestError: It is neither that nor `false`.
        """
        return self.choice(name, ("true", "false"), "false") == "true"

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """
        Return the value of a parameter that has only a few.

        Raises:
            BadRequestError: It is none of them.
        """
        value = self.one(name)
        if value is None:
            return default
        if value not in choices:
            raise BadRequestError(f"{name} must be one of {', '.join(choices)}, and is {echo(value)}")
        return value

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """
        Return the value of a parameter that is a whole number.

        Raises:
            BadRequestError: It is none, or too small or too large.
        """
        value = self.one(name)
        if value is None:
            return default
        if not re.fullmatch(r"\d{1,9}", value, re.ASCII) or not least <= int(value) <= most:
            raise BadRequestError(f"{name} must be a number from {least} to {most}, and is {echo(value)}")
        return int(value)

    def attributes(self) -> Iterable[tuple[str, str]]:
        """Return names and values of all `attr.NAME`."""
        for name, values in self._found.items():
            if name.startswith(ATTRIBUTE):
                for value in values:
                    yield name.removeprefix(ATTRIBUTE), value


def split_query(raw: bytes) -> list[tuple[str, str]]:
    """
    Take a URL's query apart.

    Raises:
        BadRequestError: It is not UTF-8.
    """
    try:
        return [
            (_decoded(name), _decoded(value))
            for name, _, value in (part.partition(b"=") for part in raw.split(b"&") if part)
        ]
    except UnicodeDecodeError:
        raise BadRequestError("the query of the URL is not UTF-8; percent-encode it as such") from None


def _checked(name: str, value: str) -> str:
    most = MAX_TEXT_CHARS if name in ("text", "-text") or name.startswith(ATTRIBUTE) else 4 * MAX_NAME_CHARS
    if len(value) > most:
        raise BadRequestError(f"{echo(name)} may have {most} characters, and has {len(value)}")
    try:
        check_text(name)
        return check_text(value)
    except ValueError as exc:
        raise BadRequestError(f"{echo(name)} {exc}; no event has such a character") from None


def _decoded(part: bytes) -> str:
    return unquote_to_bytes(part.replace(b"+", b" ")).decode()


def echo(text: str) -> str:
    """Return what a client wrote, for a sentence about it."""
    return repr(text if len(text) <= _ECHO else text[:_ECHO] + "…")
