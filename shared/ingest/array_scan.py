"""
The elements of a JSON array told apart without a parser, in short steps. Pure.

A parser in C takes the usual body at once. It refuses the whole for one NaN, though, and it stays in the body for as long as
that takes: four million brackets are 80 ms. This finds where elements end, by brackets and strings alone. Whether an element
is JSON, its reader finds, and the array is JSON if all of them are.
"""

import re

from collections.abc import Generator, Sequence
from typing import Final

from shared.event.explain import not_json
from shared.event.fields import FieldProblem, InvalidEventError
from shared.event.json_text import NotJSONError
from shared.event.sealed import NO_ARRAY

BLANKS: Final = b" \t\r\n"
# One step at most: as many tokens, and as many bytes with a long string.
_STEP_TOKENS: Final = 500
_STEP_BYTES: Final = 64 * 1024
# A string of many escapes has an end in a later token.
_IN_STRING: Final = rb'(?:[^"\\]++|\\.){0,1000}+(")?'
_REST: Final = re.compile(_IN_STRING, re.DOTALL)
_OUTER: Final = re.compile(rb'"' + _IN_STRING + rb"|[\[{]++|[\]}]|,", re.DOTALL)
# Commas between the parts of an element are of no interest.
_INNER: Final = re.compile(rb'"' + _IN_STRING + rb"|[\[{]++|[\]}]++", re.DOTALL)
_QUOTE, _COMMA, _END = b'",]'
_OPENING: Final = b"[{"

Elements = Generator[Sequence[bytes], None, Sequence[bytes]]
"""Yields nothing, for a pause, until it returns them."""


def elements_of(raw: bytes, most: int) -> Elements:  # noqa: C901, PLR0912 - one loop over tokens of four kinds
    """
    Return the elements without the blanks around them; one more than `most` if there are too many.

    Raises:
        InvalidEventError: It is no array, or no JSON for a reason that lies between elements.
    """
    place = len(raw) - len(raw.lstrip(BLANKS)) + 1
    if not raw.startswith(b"[", place - 1):
        raise InvalidEventError([FieldProblem("", NO_ARRAY)])
    elements: list[bytes] = []
    begin, depth, in_string = place, 1, False
    tokens, paused_at = 0, place
    while True:
        tokens += 1
        if tokens % _STEP_TOKENS == 0 or place - paused_at >= _STEP_BYTES:
            paused_at = place
            yield ()
        end = place + _STEP_BYTES
        if in_string:
            token = _REST.match(raw, place, end)
        else:
            token = (_OUTER if depth == 1 else _INNER).search(raw, place, end)
        if token is None and end < len(raw):
            place = end
            continue
        if token is None or token.end() == place:
            raise not_json(NotJSONError("it is cut off"))
        start, place = token.span()
        kind = raw[start]
        if in_string or kind == _QUOTE:
            in_string = token[1] is None
        elif kind in _OPENING:
            depth += place - start
        elif depth > 1:
            # What closes more than the element closes the array.
            closed = min(depth - 1, place - start)
            depth, place = depth - closed, start + closed
        else:
            elements.append(raw[begin:start].strip(BLANKS))
            begin = place
            if kind != _COMMA:
                break
            if len(elements) > most:
                return elements
    if kind != _END or raw[place:].strip(BLANKS):
        raise not_json(NotJSONError("something follows the end of the array"))
    return elements if len(elements) > 1 or elements[0] else ()
