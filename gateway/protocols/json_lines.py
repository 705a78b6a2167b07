"""
The records in a body of lines, whatever shape it has. Pure.

* a JSON array, each element a record
* JSON objects: one a line, several in a line, or one over several lines, as pretty printers write it
* lines of text, of which each is a record

They may be mixed. What begins like JSON and is none is a line of text: in `[2026-11-27] started` there is no array,
nor is there one in `[started]`.
"""

from collections.abc import Generator, Iterator
from typing import Final

import msgspec

from gateway.protocols.json_walk import MalformedError, begin_of, elements, end_of
from shared.event.json_text import BOM
from shared.event.model import MAX_EVENT_BYTES

# How far an object over several lines is followed, and how often to no end: each time costs as much.
_MOST_BYTES: Final = 2 * MAX_EVENT_BYTES
_TRIES: Final = 8

_is_json: Final = msgspec.json.Decoder(msgspec.Raw).decode


def records(body: bytes) -> Iterator[bytes | None]:
    """Yield the bytes of each record, in order; None is a pause."""
    body = body.removeprefix(BOM)
    begin = begin_of(body)
    if body[begin : begin + 1] == b"[" and (yield from _is_array(body, begin)):
        for span in elements(body, begin):
            yield None if span is None else body[slice(*span)]
        return
    yield from _lines(body, 0)


def _is_array(body: bytes, begin: int) -> Generator[None, None, bool]:
    """Walk to the end, with a pause for each step. Elements may be bad once one is an object; without one, all have to be JSON."""
    walk = elements(body, begin)
    has_object, is_json = False, True
    try:
        while True:
            span = next(walk)
            if span is not None and not has_object:
                has_object = body[span[0] : span[0] + 1] == b"{"
                is_json = is_json and (has_object or _is_whole(body[slice(*span)]))
            yield
    except MalformedError:
        return False
    except StopIteration as done:
        return (has_object or is_json) and begin_of(body, done.value) == len(body)


def _lines(body: bytes, at: int) -> Iterator[bytes | None]:
    ending = b"\n" if b"\n" in body else b"\r"
    tries, size = _TRIES, len(body)
    is_within = False  # a line, behind an object
    while at < size:
        end = body.find(ending, at)
        if end < 0:
            end = size
        begin = begin_of(body, at)
        if begin >= end:  # an empty line, and all that follow it
            at = max(end + 1, begin)
            is_within = False
            yield None
            continue
        if body[begin : begin + 1] == b"{" and tries:
            whole = not is_within and end - begin <= _MOST_BYTES and _is_whole(body[begin:end])
            if not whole:
                if until := (yield from _object(body, begin)):
                    yield body[begin:until]
                    at = begin_of(body, until)
                    at += body[at : at + 1] == b","
                    is_within = True
                    continue
                tries -= 1
        if line := body[at:end].rstrip(b" \t\r\n"):
            yield line
        at = end + 1
        is_within = False


def _object(body: bytes, at: int) -> Generator[None, None, int]:
    """Return where the object that begins at `at` ends, 0 if none does."""
    try:
        end = yield from end_of(body, at, at + _MOST_BYTES)
    except MalformedError:
        return 0
    return end if _is_whole(body[at:end]) else 0


def _is_whole(text: bytes) -> bool:
    try:
        _is_json(text)
    except (ValueError, RecursionError):
        return False
    return True
