"""
Batches cut into small ones, which are read one after the other, and batches of too many events refused unread. Pure.

A body of the allowed size may hold millions of elements. As objects they would take a hundred times its memory, so they are
counted first where there may be so many.
"""

import re

from collections.abc import Iterator
from typing import Final

import msgspec

from shared.event.json_text import BOM
from shared.event.model import MAX_BATCH_EVENTS, FieldProblem, InvalidEventError
from shared.event.sealed import split_lines

# A body with no more bytes and elements than this is read in one go.
SMALL_BYTES: Final = 32 * 1024
SMALL_EVENTS: Final = 600
# As much is read in one go else.
SLICE_BYTES: Final = 64 * 1024
SLICE_EVENTS: Final = 50
# With fewer commas the elements can be told apart without any harm; few real batches have as many.
_MANY_COMMAS: Final = 30 * MAX_BATCH_EVENTS
# So many steps are one turn's at most.
_STEPS: Final = 1000
_LONG: Final = 1000

_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)
_OPENING: Final = (b"[", b"{")
_CLOSING: Final = (b"]", b"}")
# A line, or blanks between two; not too many of them at once, since a body may have nothing else.
_LINE: Final = {
    b"\n": re.compile(rb"([^ \t\r\n][^\n]*)|[ \t\r\n]{1,65536}"),
    b"\r": re.compile(rb"([^ \t\r][^\r]*)|[ \t\r]{1,65536}"),
}
_split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def is_small(raw: bytes) -> bool:
    """Return whether a batch is read within some milliseconds, whatever it is."""
    return len(raw) <= SMALL_BYTES and raw.count(b",") <= SMALL_EVENTS and raw.count(b"\n") <= SMALL_EVENTS


def of_array(raw: bytes) -> Iterator[bytes | None]:
    """
    Yield JSON arrays that have the elements of one, in order; the one itself where it is none. None is a pause.

    Raises:
        InvalidEventError: It has too many elements.
    """
    if raw.count(b",") > _MANY_COMMAS:
        yield from _count_elements(raw)
    try:
        raw.decode()  # else only the elements with bad UTF-8 would be refused, and the others taken
        elements = _split(raw.removeprefix(BOM))
    except (ValueError, RecursionError):
        yield raw
        return
    if len(elements) > MAX_BATCH_EVENTS:
        raise _too_many(str(len(elements)))
    yield None
    for begin in range(0, len(elements), SLICE_EVENTS):
        some = elements[begin : begin + SLICE_EVENTS]
        joined = b",".join(some)
        if len(joined) <= SLICE_BYTES:
            yield b"[%b]" % joined
        else:
            for element in some:
                yield b"[%b]" % element


def of_lines(raw: bytes) -> Iterator[bytes | None]:
    """
    Yield the lines of NDJSON that are not empty, in order. None is a pause.

    Raises:
        InvalidEventError: There are too many.
    """
    raw = raw.removeprefix(BOM)
    ending = b"\n" if b"\n" in raw else b"\r"
    if raw.count(ending) <= MAX_BATCH_EVENTS:
        yield from split_lines(raw)
        return
    lines = _LINE[ending]
    yield from _count_lines(raw, lines)
    for line in lines.finditer(raw):
        yield line[1]


def _count_lines(raw: bytes, lines: re.Pattern[bytes]) -> Iterator[None]:
    count = 0
    for number, line in enumerate(lines.finditer(raw)):
        count += line.lastindex is not None
        if count > MAX_BATCH_EVENTS:
            raise _too_many("more")
        if number % _STEPS == 0 or line.end() - line.start() > _LONG:
            yield None


def _count_elements(raw: bytes) -> Iterator[None]:
    depth = elements = 0
    for number, token in enumerate(_TOKEN.finditer(raw)):
        kind = token[0]
        if kind in _OPENING:
            depth += 1
        elif kind in _CLOSING:
            depth -= 1
        elif kind == b"," and depth == 1:
            elements += 1
            if elements >= MAX_BATCH_EVENTS:
                raise _too_many("more")
        if number % _STEPS == 0:
            yield None


def _too_many(events: str) -> InvalidEventError:
    problem = f"a batch may have {MAX_BATCH_EVENTS} events, this one has {events}; split it"
    return InvalidEventError([FieldProblem("", problem)])
