"""
Where the records of OpenTelemetry's JSON lie, found without reading them, and with pauses. Pure.

Brackets and strings are told apart and nothing else, so that one odd value costs nothing but its record.
"""

from collections.abc import Callable, Generator
from functools import partial
from typing import Final, NamedTuple

from gateway.protocols.json_walk import MalformedError, Span, begin_of, elements, is_null, placed
from shared.wire.problem import BadRequestError

_NO_REQUEST: Final = "the body is no ExportLogsServiceRequest in JSON"


class Scope(NamedTuple):
    """What some records have in common, as it was sent; empty where nothing was."""

    resource: bytes
    resource_schema: bytes
    scope: bytes
    scope_schema: bytes


Walk = Generator[tuple[Scope, int, int] | None, None, int]
"""Yields each record's scope, and where the record lies; None is a pause. Returns where what comes after it begins."""


def walked(body: bytes) -> Walk:
    """
    Find all records.

    Raises:
        BadRequestError: The body is no JSON object, or what should be a list of records is none.
    """
    try:
        at = begin_of(body)
        spans, end = yield from placed(body, at)
        yield from _each(body, spans, b'"resourceLogs"', partial(_of_resource, body))
    except MalformedError as exc:
        raise BadRequestError(f"{_NO_REQUEST}: {exc}") from None
    if begin_of(body, end) != len(body):
        raise BadRequestError(f"{_NO_REQUEST}: something follows its end")
    return end


def _of_resource(body: bytes, at: int) -> Walk:
    spans, end = yield from placed(body, at)
    resource, schema = _cut(body, spans, b'"resource"'), _cut(body, spans, b'"schemaUrl"')
    yield from _each(body, spans, b'"scopeLogs"', partial(_of_scope, body, resource, schema))
    return end


def _of_scope(body: bytes, resource: bytes, resource_schema: bytes, at: int) -> Walk:
    spans, end = yield from placed(body, at)
    scope = Scope(resource, resource_schema, _cut(body, spans, b'"scope"'), _cut(body, spans, b'"schemaUrl"'))
    if place := _place(body, spans, b'"logRecords"'):
        for record in elements(body, place[0]):
            yield None if record is None else (scope, *record)
    return end


def _each(body: bytes, spans: dict[bytes, Span], name: bytes, visit: Callable[[int], Walk]) -> Walk:
    """Visit each element of an array; what visits it finds its end."""
    if not (place := _place(body, spans, name)):
        return 0
    at = begin_of(body, place[0] + 1)
    while body[at : at + 1] != b"]":
        at = begin_of(body, (yield from visit(at)))
        if body[at : at + 1] == b",":
            at = begin_of(body, at + 1)
        elif body[at : at + 1] != b"]":
            raise MalformedError("an array is not closed, or lacks a comma")
    return at + 1


def _place(body: bytes, spans: dict[bytes, Span], name: bytes) -> Span | None:
    """Return where an array lies, None if there is none."""
    place = spans.get(name)
    if place is None or is_null(body, place):
        return None
    if body[place[0] : place[0] + 1] != b"[":
        raise MalformedError(f"{name.decode()} is no array")
    return place


def _cut(body: bytes, spans: dict[bytes, Span], name: bytes) -> bytes:
    return body[slice(*spans[name])] if name in spans else b""
