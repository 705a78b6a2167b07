"""
OpenTelemetry's log records and resources as records and groups, whichever way they were written. Pure.

The protobuf and the JSON reader meet here, so that both make the same of the same record.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.protocols.attributes import text_of, to_json
from gateway.protocols.cutting import CUT
from gateway.protocols.levels import of_otlp
from gateway.protocols.record import RAW, Group, Record, Repair

UID: Final = "log.record.uid"
FILE: Final = "log.file.path"

# Whose name a record's service has, the first that is there.
_SERVICES: Final = ("service.name", "k8s.deployment.name", "k8s.container.name", "container.name", "faas.name")
_HOSTS: Final = ("host.name", "k8s.pod.name", "service.instance.id")
# What tells one source from another, the first group of them that is there as a whole.
_STREAMS: Final = (("service.instance.id",), ("k8s.pod.uid", "k8s.container.name"), ("host.name", "process.pid"))
# Of a resource's attributes, those that say what it is come first: they stay where there are too many.
_IDENTITY: Final = ("service.", "host.name", "k8s.pod.name", "k8s.namespace.name", "k8s.container.name")
# Four numbers a level, the first of which has no name but the level's.
_STEP: Final = 4
_LAST: Final = 24
_RESOURCE: Final = "resource."
_SCOPE: Final = "scope."
_PROTOCOL: Final = "otlp."
_KEPT_BYTES: Final = 8 * 1024


class Described(msgspec.Struct, gc=False):
    """
    A resource or a scope.

    Attributes:
        raw: The sender's bytes for it.
        attributes: Its own.
        name: A scope's, empty if it has none.
        version: The same.
        dropped: How many attributes its sender dropped.
        schema: The URL that says what its names mean, empty if there is none.
        repairs: What was repaired of it.
    """

    raw: bytes = b""
    attributes: Mapping[str, Any] = {}
    name: str = ""
    version: str = ""
    dropped: int = 0
    schema: str = ""
    repairs: tuple[Repair, ...] = ()


def vast_group(raw: bytes, schema: str) -> Described:
    """Return what becomes of a resource or a scope that is too large to be taken apart: its first bytes are an attribute."""
    beginning = raw[:_KEPT_BYTES]
    kept = {RAW: text_of(beginning), CUT: f"group {len(raw)}"}
    return Described(b"%d/%b" % (len(raw), beginning), kept, schema=schema, repairs=(Repair.RECORD, Repair.CUT))


def group(resource: Described, scope: Described) -> Group:
    """Return what records of one scope of a resource have in common."""
    of_resource = dict(resource.attributes)
    named = next((name for name in _SERVICES if _is_text(of_resource.get(name))), None)
    service = of_resource[named] if named is not None else scope.name
    stream = next((names for names in _STREAMS if all(of_resource.get(name) for name in names)), tuple(of_resource))
    source = repr([(name, of_resource[name]) for name in stream]).encode("utf-8", "surrogatepass")
    if named == _SERVICES[0]:  # the field has it
        del of_resource[named]
    first = {name: value for name, value in of_resource.items() if name.startswith(_IDENTITY)}
    of_scope: dict[str, Any] = {}
    if scope.name:
        of_scope["scope.name"] = scope.name
    if scope.version:
        of_scope["scope.version"] = scope.version
    rest: dict[str, Any] = {}
    for prefix, described in ((_SCOPE, scope), (_RESOURCE, resource)):
        if described.dropped:
            rest[f"{prefix}dropped_attributes_count"] = described.dropped
        if described.schema:
            rest[f"{prefix}schema_url"] = described.schema
    return Group(
        b"%d/%b%b" % (len(resource.raw), resource.raw, scope.raw),
        service,
        next((of_resource[name] for name in _HOSTS if _is_text(of_resource.get(name))), ""),
        source,
        layers=[(_SCOPE, {**of_scope, **scope.attributes}), (_RESOURCE, first | of_resource), (_PROTOCOL, rest)],
        repairs=tuple({*resource.repairs, *scope.repairs}),
    )


def record(  # noqa: PLR0917 - one call a record, and names would cost a tenth of it
    raw: bytes,
    time_ns: int,
    number: int,
    severity: str,
    body: Any,
    attributes: dict[str, Any],
    trace_id: str,
    span_id: str,
    flags: int,
    dropped: int,
    event_name: str,
    repairs: tuple[Repair, ...] = (),
    is_plain: bool = False,  # noqa: FBT001, FBT002 - as above
) -> Record:
    """
    Return a log record.

    Args:
        raw: The sender's bytes for it.
        time_ns: When it happened, or was seen; 0 if neither is known.
        number: Of its severity, 0 if it has none.
        severity: In words.
        body: Any value, None if there is none.
        attributes: Its own; they become the record's.
        trace_id: In hexadecimal digits, empty if it has none.
        span_id: The same.
        flags: The trace's.
        dropped: How many attributes its sender dropped.
        event_name: Empty if it has none.
        repairs: What was repaired so far.
        is_plain: See `Record`.
    """
    level: str = severity
    if 1 <= number <= _LAST:
        level = of_otlp(number) or ""
        if number % _STEP != 1:
            _add(attributes, "severity_number", number)
        if severity and severity != level and severity.upper() != level:
            _add(attributes, "severity_text", severity)
    elif number:
        _add(attributes, "severity_number", number)
    if span_id:
        _add(attributes, "span_id", span_id)
    if flags & 0xFF:
        _add(attributes, "trace_flags", flags & 0xFF)
    if dropped:
        _add(attributes, "dropped_attributes_count", dropped)
    if event_name:
        _add(attributes, "event.name", event_name)
    if type(body) is not str:
        body, repairs = _text(body, repairs)
    own_id: Any = attributes.get(UID, "")
    file: Any = attributes.get(FILE, "")
    return Record(
        raw,
        body,
        time_ns or None,
        level,
        "",
        own_id if type(own_id) is str else "",
        trace_id,
        file.encode("utf-8", "surrogatepass") if type(file) is str else b"",
        attributes,
        "",
        repairs,
        is_plain,
    )


def _add(attributes: dict[str, Any], name: str, value: Any) -> None:
    while name in attributes:  # the sender's own keeps the name
        name = _PROTOCOL + name
    attributes[name] = value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _text(body: Any, repairs: tuple[Repair, ...]) -> tuple[str, tuple[Repair, ...]]:
    """Return a body that is no string as the specification writes it where there are only strings."""
    if body is None:
        return "", repairs
    found = set(repairs)
    text = to_json(body, found)
    # A number that JSON does not have became a string, which needs no quotes here.
    return (msgspec.json.decode(text, type=str) if text.startswith('"') else text), tuple(found)
