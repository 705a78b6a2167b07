"""
Requests to Splunk's HTTP Event Collector as records. Pure.

A body is JSON objects one after the other, with blanks, commas or nothing between them, or arrays of them. Each has its event,
a text or JSON of any shape, and beside it `time`, `host`, `source`, `sourcetype`, `index` and `fields`.

A text that is a JSON object is read as one: Splunk finds its fields when it is searched, and here they are attributes.
"""

import re

from collections.abc import Collection, Generator, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from gateway.protocols.attributes import free_name, to_json
from gateway.protocols.converted import MAX_RECORD_BYTES, unreadable, vast
from gateway.protocols.documents import Documents
from gateway.protocols.hec_answers import CODE, EVENT, NO_DATA
from gateway.protocols.hec_source import Asked, Meta
from gateway.protocols.json_walk import MalformedError, Span, begin_of, elements, end_of
from gateway.protocols.lenient_json import read_json
from gateway.protocols.lines import level_in_line, without_end_of_line
from gateway.protocols.presets import HEC
from gateway.protocols.record import Record, Repair
from gateway.protocols.shapeless import document_record, text_record
from gateway.protocols.written_times import written_ns
from shared.event.json_text import NotJSONError
from shared.wire.problem import BadRequestError

# Of fewer objects all places are kept, and need not be found twice.
_FEW: Final = 20_000
_STEPS: Final = 64
_NONE: Final = msgspec.Raw(b"")
# A number of that name is a kind of event, for Windows.
_EVENT_ID: Final = "event_id"
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class _Envelope(msgspec.Struct, gc=False):
    event: msgspec.Raw = _NONE


_envelope: Final = msgspec.json.Decoder(_Envelope).decode


class Found(NamedTuple):
    """A record, what surrounds it, and the host that it names itself."""

    record: Record
    meta: Meta
    host: str


def places(body: bytes) -> Generator[None, None, Iterator[Span | None]]:
    """
    Return where the objects of a body lie, once it is certain that the last one can be found.

    Raises:
        BadRequestError: They cannot be told apart, or there is none.
    """
    kept: list[Span] = []
    number = 0
    walk = _walked(body)
    while True:
        try:
            place = next(walk)
        except StopIteration:
            break
        except MalformedError as exc:
            raise BadRequestError(
                f"event {number} is no JSON: {exc}; nothing of the request was stored", extra={EVENT: number}
            ) from None
        if place is not None:
            number += 1
            if number <= _FEW:
                kept.append(place)
        if place is None or not number % _STEPS:
            yield
    if not number:
        raise BadRequestError('the body has no event; send {"event": …}', extra={CODE: NO_DATA})
    return iter(kept) if number == len(kept) else _walked(body)


def _walked(body: bytes) -> Iterator[Span | None]:
    at = begin_of(body)
    while at < len(body):
        match body[at : at + 1]:
            case b"{":
                begin = at
                at = yield from end_of(body, at, len(body))
                yield begin, at
            case b"[":
                at = yield from elements(body, at)
            case _:
                raise MalformedError("it has to begin with a brace")
        at = begin_of(body, at)
        if body[at : at + 1] == b",":
            at = begin_of(body, at + 1)


class HecEvents:
    """
    Reads the events of one request.

    Args:
        asked: What the request's head says of all of them.
    """

    def __init__(self, asked: Asked) -> None:
        self._meta = asked.meta
        self._time = written_ns(asked.time) if asked.time else (None, "")
        # By whether a time is beside the event, and whether the event itself is the message.
        self._documents = {
            (is_timed, is_said): Documents(
                msgspec.structs.replace(HEC, time=() if is_timed else HEC.time, message=() if is_said else HEC.message)
            )
            for is_timed in (False, True)
            for is_said in (False, True)
        }

    def of_object(self, raw: bytes) -> Found:
        """Return what an object says."""
        if len(raw) > MAX_RECORD_BYTES:
            return Found(vast(raw, 0, len(raw)), self._meta, "")
        try:
            envelope, repairs = read_json(raw)
        except NotJSONError:
            envelope, repairs = None, ()
        if type(envelope) is not dict:
            return Found(unreadable(raw), self._meta, "")
        time, event, fields = [envelope.pop(name, None) for name in ("time", "event", "fields")]
        meta = self._meta.of(envelope)
        document, said, within = _opened(event)
        if fields is not None:
            _add(document, fields if type(fields) is dict else {"fields": fields}, "fields.")
        if envelope:
            _add(document, envelope, "hec.")
        is_timed, is_said = time is not None and time != "", said is not None
        repairs = tuple({*repairs, *within})
        record, host = self._documents[is_timed, is_said].record(raw, document, repairs)
        if said is not None:
            record.message = said
            record.level = record.level or level_in_line(said)
        elif record.message is raw and event is not None:
            record.message = str(event) if type(event) is str else _event_of(raw)
        record.message = without_end_of_line(record.message)
        if is_timed:
            record.time_ns, record.time_written = written_ns(time)
        return self._found(record, meta, host)

    def of_line(self, raw: bytes) -> Found:
        """Return what a line says that has nothing beside it."""
        record: Record | None = None
        host = ""
        if len(raw) > MAX_RECORD_BYTES:
            return Found(vast(raw, 0, len(raw)), self._meta, "")
        if raw[:1] == b"{":
            with suppress(NotJSONError):
                record, host = document_record(raw, self._documents[False, False])
        if record is None:
            record = text_record(raw)
            record.level = level_in_line(record.message)
        return self._found(record, self._meta, host)

    def _found(self, record: Record, meta: Meta, host: str) -> Found:
        if record.time_ns is None and not record.time_written:
            record.time_ns, record.time_written = self._time
        record.own_id = record.own_id or _uuid(record.attributes.get(_EVENT_ID))
        return Found(record, meta, host)


def _opened(event: Any) -> tuple[dict[str, Any], str | None, Collection[Repair]]:
    """Return an event's own fields; what it says, if that is no field of it; and what was repaired."""
    repairs: set[Repair] = set()
    if type(event) is dict:
        return event, None, repairs
    if type(event) is not str:
        return {}, None if event is None else to_json(event, repairs), repairs
    if event[:1] == "{":
        with suppress(NotJSONError):
            document, found = read_json(event.encode("utf-8", "surrogatepass"))
            if type(document) is dict:
                return document, None, found
    return {}, event, repairs


def _event_of(raw: bytes) -> bytes:
    """Return an object's event as it is written."""
    try:
        return bytes(_envelope(raw).event) or raw
    except (ValueError, RecursionError):
        return raw


def _add(document: dict[str, Any], more: dict[str, Any], prefix: str) -> None:
    """Add what is beside an event, whose own names stay as they are."""
    for name, value in more.items():
        document[name if name not in document else free_name(prefix + name, document)] = value


def _uuid(value: Any) -> str:
    return value if type(value) is str and _UUID.fullmatch(value) else ""
