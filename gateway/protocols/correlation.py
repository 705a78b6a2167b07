"""What a record belongs to: its trace, its request, else its source. Pure."""

import re

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from shared.event.fields import MAX_NAME_CHARS

# The first that is there counts.
_TRACES: Final = ("trace_id", "traceId", "trace.id", "traceID", "TraceId", "otelTraceID", "dd.trace_id")
_TRACEPARENT: Final = "traceparent"
_REQUESTS: Final = (
    "correlationId", "correlation_id", "request_id", "requestId", "x-request-id", "http.request.id",
)  # fmt: skip
_NAMES: Final = (*_TRACES, _TRACEPARENT, *_REQUESTS)
NAMES: Final = frozenset(_NAMES)
"""Attributes that say it."""

_TRACE_ID: Final = re.compile(r"[0-9A-Fa-f]{32}")
_WRITTEN: Final = re.compile(r"[0-9a-f]{32}")
_WHOLE: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
_NO_TRACE: Final = "0" * 32
_BAD: Final = re.compile("[\0\ud800-\udfff]")


def trace_id(text: str) -> str:
    """Return a trace's id in its usual form, empty if it is none."""
    return text.lower() if _TRACE_ID.fullmatch(text) and text != _NO_TRACE else ""


def names_among(attributes: Iterable[str]) -> Sequence[str]:
    """Return those of the names that say what a record belongs to, in the order in which `among` asks them."""
    there = NAMES.intersection(attributes)
    return [name for name in _NAMES if name in there]


def among(attributes: Mapping[str, Any], names: Iterable[str] = _NAMES) -> str:
    """
    Return what attributes say a record belongs to; empty if they say nothing that can be used.

    Args:
        attributes: By name.
        names: All that may be asked; those that are not there may be left out.
    """
    for name in names:
        value = attributes.get(name)
        # As it mostly is.
        if type(value) is str and _WRITTEN.fullmatch(value) and value != _NO_TRACE and name != _TRACEPARENT:
            return value
        if isinstance(value, int) and not isinstance(value, bool):  # as Datadog counts traces
            value = str(value) if 0 < value < 2**64 else ""
        if isinstance(value, bytes):
            value = value.decode("utf-8", "surrogateescape")
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS or _BAD.search(value):
            continue
        if name == _TRACEPARENT:
            value = found[1] if (found := _WHOLE.fullmatch(value)) else ""
        if value and value.strip("0-"):
            return trace_id(value) or value
    return ""
