"""What Loki's labels, metadata and lines say of a record: its service, its level, its source. Pure."""

import re

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.protocols.attributes import text_of
from gateway.protocols.cutting import CUT
from gateway.protocols.labels import parse_labels
from gateway.protocols.levels import of_pino, of_word
from gateway.protocols.record import Group, Repair

Text = str | bytes

SERVICE: Final = "service_name"
SELECTOR: Final = "labels"
"""Attribute with a stream's labels where they are none that can be read."""

# As Loki looks for it, in this order.
_SERVICES: Final = (
    SERVICE, "service", "app", "application", "app_name", "name", "app_kubernetes_io_name", "container", "container_name",
    "k8s_container_name", "component", "workload", "job", "k8s_job_name",
)  # fmt: skip
_HOSTS: Final = ("host", "hostname", "instance", "node", "node_name", "nodename", "pod", "k8s_pod_name")
_DETECTED: Final = "detected_level"
_LEVELS: Final = (
    _DETECTED, "level", "LEVEL", "Level", "Severity", "severity", "SEVERITY", "lvl", "LVL", "Lvl", "severity_text",
)  # fmt: skip
_ENDS: Final = ("\n", "\r\n", b"\n", b"\r\n")
_LEVEL_NAMES: Final = frozenset(_LEVELS)
_LAST_LETTERS: Final = frozenset(name[-1].encode()[0] for name in _LEVELS)
_NAME_CHARS: Final = max(map(len, _LEVELS)) + 1
_LOGFMT: Final = re.compile(rb"(?:\A|[^\w.])(?:%b)\Z" % "|".join(_LEVELS).encode())
_WORD: Final = re.compile(rb'"?([A-Za-z]{1,16})\b')
_LOOKED_AT: Final = 4096
_KEPT: Final = 512
MAX_LABELS_BYTES: Final = 64 * 1024
_KEPT_BYTES: Final = 8 * 1024
_KEPT_CHARS: Final = 2048
_fields: Final = msgspec.json.Decoder(
    msgspec.defstruct("_Fields", [(name, Any, None) for name in _LEVELS], gc=False)
).decode


def stream_of(selector: bytes) -> tuple[Group, Text]:
    """Return the group that a stream's labels are, and its level; empty where they have none."""
    return _known(selector) if len(selector) <= _KEPT_CHARS else _stream_of(selector)


def group_of(key: bytes, labels: Mapping[str, Any]) -> tuple[Group, Text]:
    """Return the same for labels that are read already; `key` are their bytes as sent."""
    service, host = _first(labels, _SERVICES), _first(labels, _HOSTS)
    return Group(
        key=key, service=service, host=host, stream=_without_levels(labels), layers=(("label.", labels),)
    ), level_among(labels)


def vast_labels(sent: bytes) -> tuple[Group, Text]:
    """Return the group of labels that are too large to be taken apart: their first bytes are an attribute."""
    beginning = sent[:_KEPT_BYTES]
    attributes = {SELECTOR: text_of(beginning), CUT: f"labels {len(sent)}"}
    key = b"%d/%b" % (len(sent), beginning)
    return Group(key=key, layers=(("label.", attributes),), repairs=(Repair.CUT,)), ""


def _without_levels(labels: Mapping[str, Any]) -> bytes:
    """Return what tells a source from others if its lines have a label with their level; empty if they have none."""
    if _LEVEL_NAMES.isdisjoint(labels):
        return b""
    others = [(name, labels[name]) for name in sorted(labels) if name not in _LEVEL_NAMES]
    texts = [(name, text_of(value) if isinstance(value, bytes) else value) for name, value in others]
    return repr(texts).encode("utf-8", "replace")


def level_among(fields: Mapping[str, Any]) -> Text:
    """Return the level in labels or metadata, the first that is known; empty if there is none."""
    if _LEVEL_NAMES.isdisjoint(fields):
        return ""
    for name in _LEVELS:
        if (value := fields.get(name)) and of_word(word := text_of(value) if isinstance(value, bytes) else str(value)):
            return word
    return ""


def without_end_of_line(line: Any) -> Any:
    """Return a line without the one end of line that some clients send with it."""
    last = line[-1:]
    if not last or last not in _ENDS:
        return line
    return line[:-2] if line[-2:] in _ENDS else line[:-1]


def level_in_line(line: Text) -> str:
    """Return the level that a line has as a field of JSON or logfmt; empty if it has none. Words in prose are not fields."""
    if isinstance(line, str):
        if "=" not in line and line[:1] != "{":
            return ""
        line = line.encode("utf-8", "replace")
    if line[:1] == b"{":
        try:
            fields = _fields(line)
        except (ValueError, RecursionError):
            return ""
        return _level_of_json(getattr(fields, name) for name in _LEVELS)
    at = line.find(b"=", 0, _LOOKED_AT)
    while at > 0:
        # Looking for all names at once costs more than all the rest.
        if line[at - 1] in _LAST_LETTERS and _LOGFMT.search(line[max(at - _NAME_CHARS, 0) : at]):
            return found[1].decode() if (found := _WORD.match(line, at + 1)) and of_word(found[1].decode()) else ""
        at = line.find(b"=", at + 1, _LOOKED_AT)
    return ""


def _level_of_json(values: Iterable[Any]) -> str:
    for value in values:
        if isinstance(value, str) and of_word(value):
            return value
        if type(value) is int and (name := of_pino(value)):
            return name
    return ""


def _first(labels: Mapping[str, Any], names: Iterable[str]) -> Text:
    for name in names:
        if isinstance(value := labels.get(name), str | bytes) and value.strip():
            return value
    return ""


def _stream_of(selector: bytes) -> tuple[Group, Text]:
    if len(selector) > MAX_LABELS_BYTES:
        return vast_labels(selector)
    labels = parse_labels(selector)
    if labels is None:
        return group_of(selector, {SELECTOR: selector})
    return group_of(selector, {text_of(name): value for name, value in labels.items()})


_known: Final = lru_cache(_KEPT)(_stream_of)
