"""
The lines of a bulk request as actions, each with its document. Pure.

An action line that cannot be read makes the whole body unreadable, since after it no line can be told to be one or the other.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from gateway.protocols.lenient_json import read_json
from shared.event.json_text import BOM, NotJSONError
from shared.wire.problem import BadRequestError, PayloadTooLargeError

MAX_ACTIONS: Final = 150_000
"""Each has an item in the answer."""

_BLOCK: Final = 64 * 1024
_ECHO: Final = 100
_STEPS: Final = 1000
_VAST: Final = 1024 * 1024
_MOST_BYTES: Final = 256 * 1024
_END: Final = (0, None)


class _Meta(msgspec.Struct, gc=False):
    index: str | None = msgspec.field(name="_index", default=None)
    id: str | int | float | None = msgspec.field(name="_id", default=None)


class _Line(msgspec.Struct, gc=False):
    create: _Meta | None = None
    index: _Meta | None = None
    update: _Meta | None = None
    delete: _Meta | None = None


class Action(NamedTuple):
    """
    What is to be done with a document.

    Attributes:
        op: `create`, `index`, `update` or `delete`.
        where: The index; empty if neither the action nor the path says it.
        id: The document's id as the client gave it, empty if it gave none.
        source: The document's line; None for `delete`, and where the body ends before it. A vast one is not copied.
    """

    op: str
    where: str
    id: str
    source: bytes | memoryview | None


_decode: Final = msgspec.json.Decoder(_Line).decode
_DELETE: Final = "delete"
_OPS: Final = ("create", "index", "update", _DELETE)


def actions(body: bytes, index: str) -> Iterator[Action | None]:
    """
    Yield the actions of a body, in order; None is a pause.

    Args:
        body: Lines, the last one with or without its end.
        index: That of the path, for actions that name none.

    Raises:
        BadRequestError: A line that has to be an action is none.
        PayloadTooLargeError: There are too many.
    """
    last: bytes | memoryview | None = None
    op = where = name = ""
    count = 0
    lines = enumerate(_lines(body.removeprefix(BOM)), 1)
    for number, line in lines:
        if line != last:
            if not line or (isinstance(line, bytes) and not line.strip()):
                if not number % _STEPS:
                    yield None
                continue
            op, where, name = _action(line, number)
            where = where or index
            last = line
        count += 1
        if count > MAX_ACTIONS:
            raise PayloadTooLargeError(f"a bulk request may have {MAX_ACTIONS} actions; split it")
        yield Action(op, where, name, None if op == _DELETE else next(lines, _END)[1])


def _lines(body: bytes) -> Iterator[bytes | memoryview]:
    at, size = 0, len(body)
    while at < size:
        end = body.find(b"\n", min(at + _BLOCK, size))
        if end < 0:
            end = size
        if end - at > _VAST:  # a long line begins within this block
            begin = body.rfind(b"\n", at, at + _BLOCK) + 1 or at
            if begin > at:
                yield from body[at : begin - 1].split(b"\n")
            yield memoryview(body)[begin:end]
        else:
            yield from body[at:end].split(b"\n")
        at = end + 1


def _action(line: bytes | memoryview, number: int) -> tuple[str, str, str]:
    if len(line) > _MOST_BYTES or isinstance(line, memoryview):
        raise _malformed(bytes(line[:_ECHO]), number)
    try:
        found = _decode(line)
    except (ValueError, RecursionError):
        try:
            found = msgspec.convert(read_json(line)[0], _Line)
        except (NotJSONError, ValueError):
            raise _malformed(line, number) from None
    metas = [(op, meta) for op in _OPS if (meta := getattr(found, op)) is not None]
    if len(metas) != 1:
        raise _malformed(line, number)
    [(op, meta)] = metas
    return op, _clean(meta.index), _clean(meta.id)


def _clean(text: Any) -> str:
    return "" if text is None else str(text).encode("utf-8", "replace").decode()


def _malformed(line: bytes, number: int) -> BadRequestError:
    echo = line[:_ECHO].decode("utf-8", "replace")
    return BadRequestError(
        f"Malformed action/metadata line [{number}], expected one of create, index, update or delete, found {echo!r}; "
        "nothing of the request was stored"
    )
