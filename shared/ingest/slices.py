"""
Batches cut into small ones, which are read one after the other, and batches of too many events refused unread. Pure.

A body of the allowed size may hold millions of elements. As objects they would take a hundred times its memory, so they are
counted first where there may be so many.
"""

import re

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from shared.event.explain import not_json
from shared.event.json_text import BOM, ODD, NotJSONError, reason_in_brief
from shared.event.model import MAX_BATCH_EVENTS, FieldProblem, InvalidEventError
from shared.event.sealed import NO_ARRAY, split_lines
from shared.ingest.array_scan import Elements, elements_of

# A body with no more bytes and elements than this is read in one go.
SMALL_BYTES: Final = 32 * 1024
SMALL_EVENTS: Final = 600
# As much is read in one go else.
SLICE_BYTES: Final = 32 * 1024
SLICE_EVENTS: Final = 50
# With fewer commas and brackets the elements can be told apart at once without any harm; few real batches have as many.
_MANY_COMMAS: Final = 30 * MAX_BATCH_EVENTS
_MANY_BRACKETS: Final = 60 * MAX_BATCH_EVENTS
# So many steps are one turn's at most.
_STEPS: Final = 1000
_LONG: Final = 1000

# A line, or blanks between two; not too many of them at once, since a body may have nothing else.
_LINE: Final = {
    b"\n": re.compile(rb"([^ \t\r\n][^\n]*)|[ \t\r\n]{1,65536}"),
    b"\r": re.compile(rb"([^ \t\r][^\r]*)|[ \t\r]{1,65536}"),
}
_split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def is_small(raw: bytes) -> bool:
    """Return whether a batch is read within some milliseconds, whatever it is."""
    return len(raw) <= SMALL_BYTES and raw.count(b",") <= SMALL_EVENTS and raw.count(b"\n") <= SMALL_EVENTS


def of_array(raw: bytes) -> Iterator[Sequence[bytes]]:
    """
    Yield the elements of a JSON array in order, some at a time; none of them where this is only a pause.

    Raises:
        InvalidEventError: It is no JSON array, or has too many elements.
    """
    raw = raw.removeprefix(BOM)
    elements = yield from _split_array(raw)
    if len(elements) > MAX_BATCH_EVENTS:
        raise _too_many("more")
    yield ()
    for begin in range(0, len(elements), SLICE_EVENTS):
        some = elements[begin : begin + SLICE_EVENTS]
        if sum(map(len, some)) <= SLICE_BYTES:
            yield some
        else:
            for element in some:
                yield (element,)


def _split_array(raw: bytes) -> Elements:
    """Tell the elements apart, at once where that takes some milliseconds, and else step by step."""
    many_commas = raw.count(b",") > _MANY_COMMAS
    yield ()
    many_brackets = raw.count(b"[") + raw.count(b"{") > _MANY_BRACKETS
    yield ()
    try:
        raw.decode()  # else only the elements with bad UTF-8 would be refused, and the others taken
        yield ()
        if many_commas or many_brackets:
            return (yield from elements_of(raw, MAX_BATCH_EVENTS))
        elements = list(map(bytes, _split(raw)))
    except msgspec.ValidationError:
        raise InvalidEventError([FieldProblem("", NO_ARRAY)]) from None
    except (ValueError, RecursionError) as exc:
        error = exc
    else:
        if (number := len(elements)) > MAX_BATCH_EVENTS:
            raise _too_many(str(number))
        return elements
    yield ()
    if isinstance(error, msgspec.DecodeError):
        for odd in ODD:
            if odd in raw:
                return (yield from elements_of(raw, MAX_BATCH_EVENTS))
            yield ()
    raise not_json(NotJSONError(reason_in_brief(raw, error)))


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


def _too_many(events: str) -> InvalidEventError:
    problem = f"a batch may have {MAX_BATCH_EVENTS} events, this one has {events}; split it"
    return InvalidEventError([FieldProblem("", problem)])
