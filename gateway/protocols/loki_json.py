r"""
Loki's push requests as JSON. Pure.

`{"streams": [{"stream": {label: value}, "values": [["nanoseconds", "line", {name: value}], …]}]}`, and the form of Loki's first
version: `{"streams": [{"labels": "{label=\"value\"}", "entries": [{"ts": RFC 3339, "line": …}]}]}`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.protocols.converted import MAX_RECORD_BYTES, Items, unreadable, vast
from gateway.protocols.json_walk import MalformedError, Span, begin_of, elements, is_null, placed
from gateway.protocols.lenient_json import read_json
from gateway.protocols.lines import Text, level_among, level_in_line, without_end_of_line
from gateway.protocols.loki_labels import MAX_LABELS_BYTES, SELECTOR, group_of, vast_labels
from gateway.protocols.loki_labels import stream_of as stream_of_selector
from gateway.protocols.record import Group, Record, Repair
from gateway.protocols.written_times import written_ns
from shared.event.json_text import BOM, NotJSONError
from shared.wire.problem import BadRequestError

Stream = tuple[Group, Text]

METADATA: Final = "metadata"
_NO_LABELS: Final = b"{}"
# A larger body is not parsed in one go, since nothing else is done meanwhile.
_AT_ONCE: Final = 8 * 1024 * 1024
# With fewer arrays, or larger ones, places of all of them take less memory than the body does.
_FEW: Final = 20_000
_PLACE_BYTES: Final = 80
_NS_DIGITS: Final = 19
_PAIR: Final = 2
_KEPT: Final = 512
_KEPT_BYTES: Final = 2048


_NONE: Final = msgspec.Raw(b"")


class _Stream(msgspec.Struct, gc=False):
    stream: msgspec.Raw = _NONE
    labels: msgspec.Raw = _NONE
    values: list[msgspec.Raw] | None = None
    entries: list[msgspec.Raw] | None = None


class _Body(msgspec.Struct, gc=False):
    streams: list[_Stream] | msgspec.UnsetType | None = msgspec.UNSET


_body: Final = msgspec.json.Decoder(_Body).decode
_list: Final = msgspec.json.Decoder(list[Any]).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


def read(body: bytes) -> Items:
    """
    Return all records of a body.

    Raises:
        BadRequestError: It is no JSON, or has no streams.
    """
    body = body.removeprefix(BOM)
    if len(body) <= _AT_ONCE and ((arrays := body.count(b"[")) < _FEW or arrays * _PLACE_BYTES < len(body)):
        try:
            streams = _body(body).streams
        except (ValueError, RecursionError):
            pass
        else:
            if streams is msgspec.UNSET:
                raise _no_streams()
            return _of_streams(streams or ())  # type: ignore[arg-type]
    return _walked(body)


def _no_streams() -> BadRequestError:
    return BadRequestError('the body has no "streams"; send {"streams": [{"stream": {…}, "values": [[…], …]}]}')


def _of_streams(streams: list[_Stream]) -> Items:
    for stream in streams:
        group, level = _stream_of(bytes(stream.stream) or bytes(stream.labels) or _NO_LABELS)
        for values in (stream.values, stream.entries):
            for raw in values or ():
                yield group, _record(bytes(raw), level)


def _walked(body: bytes) -> Items:
    """Yield the same, whatever some of the values are."""
    try:
        found, end = yield from placed(body, begin_of(body))
        if begin_of(body, end) != len(body):
            raise MalformedError("something follows its end")  # noqa: TRY301 - answered as all that is malformed
        if (span := found.get(b'"streams"')) is None:
            raise _no_streams()
        begin, end = span
        if is_null(body, span):
            return
        if body[begin : begin + 1] != b"[":
            raise BadRequestError('"streams" must be an array')
        # Before the first record is stored it is certain that the last one can be found.
        for _ in elements(body, begin):
            yield None
    except MalformedError as exc:
        raise BadRequestError(f"the body is no JSON: {exc}") from None
    for place in elements(body, begin):
        if place is None:
            yield None
        else:
            yield from _of_place(body, place)


def _of_place(body: bytes, place: Span) -> Items:
    begin, end = place
    try:
        found, _ = yield from placed(body, begin)
    except MalformedError:
        yield _stream_of(_NO_LABELS)[0], unreadable(body[begin:end])
        return
    labels = found.get(b'"stream"') or found.get(b'"labels"')
    group, level = _stream_of(body[slice(*labels)] if labels else _NO_LABELS)
    for name in (b'"values"', b'"entries"'):
        if (span := found.get(name)) is None or is_null(body, span):
            continue
        try:
            for value in elements(body, span[0]):
                yield None if value is None else (group, _of_span(body, value, level))
        except MalformedError:
            yield group, unreadable(body[slice(*span)])


def _of_span(body: bytes, span: Span, level: Text) -> Record:
    begin, end = span
    return _record(body[begin:end], level) if end - begin <= MAX_RECORD_BYTES else vast(body, begin, end)


def _stream_of(raw: bytes) -> Stream:
    return _known(raw) if len(raw) <= _KEPT_BYTES else _read_stream(raw)


def _read_stream(raw: bytes) -> Stream:
    if len(raw) > MAX_LABELS_BYTES:
        return vast_labels(raw)
    try:
        labels, _ = read_json(raw)
    except NotJSONError:
        return group_of(raw, {SELECTOR: raw})
    if isinstance(labels, str):
        group, level = stream_of_selector(labels.encode("utf-8", "surrogatepass"))
        return msgspec.structs.replace(group, key=raw), level
    if not isinstance(labels, Mapping):
        labels = {SELECTOR: labels}
    return group_of(raw, labels)


_known: Final = lru_cache(_KEPT)(_read_stream)


def _record(raw: bytes, level: Text) -> Record:
    if len(raw) > MAX_RECORD_BYTES:
        return vast(raw, 0, len(raw))
    repairs: tuple[Repair, ...] = ()
    try:
        value: Any = _list(raw)
    except (ValueError, RecursionError):
        try:
            value, repairs = read_json(raw)
        except NotJSONError:
            return unreadable(raw)
    metadata: Any = None
    if isinstance(value, list) and len(value) >= _PAIR:
        time, line, *more = value
        if more:
            metadata = more[0] if len(more) == 1 else more
    elif isinstance(value, dict) and "line" in value:
        time, line = value.pop("ts", None), value.pop("line")
        metadata = value.pop("structuredMetadata", None)
        if value:
            metadata = value | metadata if isinstance(metadata, dict) else value | {METADATA: metadata}
    else:
        return unreadable(raw)
    if type(line) is not str:
        line = "" if line is None else _encode(line).decode("utf-8", "replace")
    attributes = metadata if isinstance(metadata, dict) else {METADATA: metadata} if metadata is not None else {}
    if type(time) is str and len(time) == _NS_DIGITS and time.isdecimal() and time.isascii():
        time_ns: int | None = int(time)
        written = ""
    else:
        time_ns, written = written_ns(time) if time is not None else (None, "")
    level = (level_among(attributes) if attributes else "") or level or level_in_line(line)
    return Record(
        raw=raw,
        message=without_end_of_line(line),
        time_ns=time_ns,
        level=level,
        attributes=attributes,
        time_written=written,
        repairs=repairs,
    )
