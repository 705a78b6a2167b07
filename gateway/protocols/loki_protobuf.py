"""
Loki's push requests as Protocol Buffers, decompressed. Pure.

Each entry is read by itself. So a broken one costs only itself, and its bytes as sent are there for its identity.
"""

from typing import Any, Final

from google.protobuf.message import DecodeError

from gateway.protocols.attributes import NAMES
from gateway.protocols.converted import MAX_RECORD_BYTES, Items, unreadable, vast
from gateway.protocols.lines import Text, level_among, level_in_line, without_end_of_line
from gateway.protocols.loki_labels import stream_of
from gateway.protocols.loki_pb2 import Entry, PushRequest, Stream
from gateway.protocols.record import Record
from gateway.protocols.wire_walk import STEPS, TruncatedError, fields, is_dense, pauses
from shared.wire.problem import BadRequestError

_SECOND_NS: Final = 1_000_000_000
_STREAMS: Final = 1
_LABELS: Final = 1
_ENTRIES: Final = 2
# A larger body is not parsed in one go, since nothing else is done meanwhile.
_AT_ONCE: Final = 4 * 1024 * 1024

_request: Final = PushRequest.FromString
_stream: Final = Stream.FromString
_entry: Final = Entry.FromString


def read(body: bytes) -> Items:
    """
    Return all records of a body.

    Raises:
        BadRequestError: It is no push request.
    """
    if len(body) > _AT_ONCE or is_dense(body):
        return _walked(body)
    try:
        streams = _request(body).streams
    except DecodeError:
        raise _unreadable() from None
    return _of_streams(streams)


def _unreadable() -> BadRequestError:
    return BadRequestError("the body is no push request of Protocol Buffers, or is cut off")


def _of_streams(streams: Any) -> Items:
    for raw in streams:
        try:
            stream = _stream(raw)
        except DecodeError:
            yield stream_of(b"")[0], unreadable(raw)
            continue
        group, level = stream_of(stream.labels)
        for entry in stream.entries:
            yield group, _record(entry, level)


def _walked(body: bytes) -> Items:
    """Yield the same of a body that has far more entries than one of log lines."""
    try:
        yield from pauses(fields(body, 0, len(body)))
    except TruncatedError:
        raise _unreadable() from None
    for number, begin, end in fields(body, 0, len(body)):
        if number == _STREAMS:
            yield from _of_place(body, begin, end)


def _of_place(body: bytes, begin: int, end: int) -> Items:
    labels = b""
    try:
        for count, (number, at, until) in enumerate(fields(body, begin, end)):
            if number == _LABELS:
                labels = body[at:until]
            if not count % STEPS:
                yield None
    except TruncatedError:
        yield stream_of(b"")[0], unreadable(body[begin:end])
        return
    group, level = stream_of(labels)
    for number, at, until in fields(body, begin, end):
        if number == _ENTRIES:
            yield group, _record(body[at:until], level) if until - at <= MAX_RECORD_BYTES else vast(body, at, until)


def _record(raw: bytes, level: Text) -> Record:
    if len(raw) > MAX_RECORD_BYTES:
        return vast(raw, 0, len(raw))
    try:
        entry = _entry(raw)
    except DecodeError:
        return unreadable(raw)
    time = entry.timestamp
    line = entry.line
    if line[-1:] == b"\n":
        line = without_end_of_line(line)
    time_ns: int | None = time.seconds * _SECOND_NS + time.nanos
    if not time_ns and not entry.HasField("timestamp"):
        time_ns = None
    if pairs := entry.structured_metadata:
        attributes = {NAMES[pair.name]: pair.value.decode("utf-8", "surrogateescape") for pair in pairs}
        level = level_among(attributes) or level or level_in_line(line)
        return Record(raw, line, time_ns, level, attributes=attributes, is_plain=True)
    if not level and (b"=" in line or line[:1] == b"{"):
        level = level_in_line(line)
    return Record(raw, line, time_ns, level)
