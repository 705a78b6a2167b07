"""
Where the elements of an array and the members of an object lie in JSON text that is not parsed as a whole. Pure.

A parser refuses a body of thousands of records for one bad character, and makes an object of each of a million elements. So
here only brackets and strings are told apart, and what lies between is left to the caller, one by one.

* MalformedError   brackets or commas are not where they have to be
"""

import re

from collections.abc import Generator
from typing import Final

Span = tuple[int, int]
Spans = Generator[Span | None, None, int]
"""Yields where each value lies, or None for a pause; returns where what comes after the last one begins."""

_STEPS: Final = 64
# As much is looked at without a pause.
_WINDOW: Final = 256 * 1024
# No more blanks in a row are passed over than one look takes, and what follows them is malformed.
_BLANKS: Final = re.compile(rb"[ \t\r\n]{0,1048576}+")
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_WITHIN: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR: Final = re.compile(rb'[^ \t\r\n,:"\[\]{}]{1,1048576}+')
_MARK: Final = re.compile(rb'["\[\]{}]')
_TO_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{}])', re.DOTALL)
_OPENING: Final = b"[{"
_NULL: Final = b"null"


class MalformedError(ValueError):
    """Bytes that are no JSON."""


def elements(raw: bytes, at: int) -> Spans:
    """Yield where each element of the array that begins at `at` lies."""
    at = _blanks(raw, _expect(raw, at, b"["))
    if raw[at : at + 1] == b"]":
        return at + 1
    while True:
        begin = at
        at = yield from _value(raw, at)
        yield begin, at
        at = _blanks(raw, at)
        mark = raw[at : at + 1]
        at += 1
        if mark == b"]":
            return at
        if mark != b",":
            raise MalformedError("an array is not closed, or lacks a comma")
        at = _blanks(raw, at)


def members(raw: bytes, at: int) -> Generator[tuple[bytes, Span] | None, None, int]:
    """Yield the name, in quotes as it is written, and the place of each member of the object that begins at `at`."""
    at = _blanks(raw, _expect(raw, at, b"{"))
    if raw[at : at + 1] == b"}":
        return at + 1
    while True:
        if (name := _STRING.match(raw, at, at + _WINDOW)) is None:
            raise MalformedError("a member of an object has no name")
        at = _blanks(raw, _expect(raw, _blanks(raw, name.end()), b":"))
        begin = at
        at = yield from _value(raw, at)
        yield name[0], (begin, at)
        at = _blanks(raw, at)
        mark = raw[at : at + 1]
        at += 1
        if mark == b"}":
            return at
        if mark != b",":
            raise MalformedError("an object is not closed, or lacks a comma")
        at = _blanks(raw, at)


def placed(raw: bytes, at: int) -> Generator[None, None, tuple[dict[bytes, Span], int]]:
    """Return where the members of the object that begins at `at` lie, by name in quotes, and where what comes after it begins."""
    found: dict[bytes, Span] = {}
    walk = members(raw, at)
    while True:
        try:
            member = next(walk)
        except StopIteration as done:
            return found, done.value
        if member is None:
            yield
        else:
            found[member[0]] = member[1]


def end_of(raw: bytes, at: int, limit: int) -> Generator[None, None, int]:
    """Return where the array or object ends that begins at `at`; it has to be closed before `limit`."""
    return (yield from _container(raw, at, min(limit, len(raw))))


def is_null(raw: bytes, span: Span) -> bool:
    """Return whether a value is null."""
    begin, end = span
    return end - begin == len(_NULL) and raw[begin:end] == _NULL


def begin_of(raw: bytes, at: int = 0) -> int:
    """Return where the first character lies that is no blank."""
    return _blanks(raw, at)


def _value(raw: bytes, at: int) -> Generator[None, None, int]:
    mark = raw[at : at + 1]
    if mark == b'"':
        scalar = _STRING.match(raw, at, at + _WINDOW)
        if scalar is None:
            return (yield from _long_text(raw, at, len(raw)))
    elif mark and mark in _OPENING:
        return (yield from _container(raw, at, len(raw)))
    else:
        scalar = _SCALAR.match(raw, at)
    if scalar is None:
        raise MalformedError("a value is missing or not closed")
    return scalar.end()


def _container(raw: bytes, at: int, limit: int) -> Generator[None, None, int]:
    depth = steps = 0
    while True:
        if (bracket := _TO_BRACKET.match(raw, at, min(at + _WINDOW, limit))) is None:
            at = yield from _far(raw, at, limit)
            continue
        at = bracket.end()
        depth += 1 if bracket[1] in _OPENING else -1
        if not depth:
            return at
        steps += 1
        if not steps % _STEPS:
            yield


def _far(raw: bytes, at: int, limit: int) -> Generator[None, None, int]:
    """Go on towards a bracket that is further away than one look reaches."""
    if raw[at : at + 1] == b'"':
        return (yield from _long_text(raw, at, limit))
    mark = _MARK.search(raw, at, min(at + _WINDOW, limit))
    if mark is not None:
        return mark.start()
    if at + _WINDOW >= limit:
        raise MalformedError("an array, an object or a text is not closed")
    yield
    return at + _WINDOW


def _long_text(raw: bytes, at: int, limit: int) -> Generator[None, None, int]:
    """Return where a text of any length ends that begins at `at`."""
    at += 1
    while True:
        until = min(at + _WINDOW, limit)
        if (within := _WITHIN.match(raw, at, until)) is not None:
            at = within.end()
        if raw[at : at + 1] == b'"' and at < limit:
            return at + 1
        if until == limit:
            raise MalformedError("a text is not closed")
        yield


def _expect(raw: bytes, at: int, mark: bytes) -> int:
    if raw[at : at + 1] != mark:
        raise MalformedError(f"{mark.decode()} is expected")
    return at + 1


def _blanks(raw: bytes, at: int) -> int:
    blanks = _BLANKS.match(raw, at)
    return blanks.end() if blanks else at
