"""What Loki's labels and metadata say of a record: its service, its level, its source. Pure."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from gateway.protocols.attributes import text_of
from gateway.protocols.cutting import CUT
from gateway.protocols.labels import parse_labels
from gateway.protocols.lines import LEVEL_NAMES, Text, level_among
from gateway.protocols.record import Group, Repair

SERVICE: Final = "service_name"
SELECTOR: Final = "labels"
"""Attribute with a stream's labels where they are none that can be read."""

# As Loki looks for it, in this order.
_SERVICES: Final = (
    SERVICE, "service", "app", "application", "app_name", "name", "app_kubernetes_io_name", "container", "container_name",
    "k8s_container_name", "component", "workload", "job", "k8s_job_name",
)  # fmt: skip
_HOSTS: Final = ("host", "hostname", "instance", "node", "node_name", "nodename", "pod", "k8s_pod_name")
_KEPT: Final = 512
MAX_LABELS_BYTES: Final = 64 * 1024
_KEPT_BYTES: Final = 8 * 1024
_KEPT_CHARS: Final = 2048


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
    if LEVEL_NAMES.isdisjoint(labels):
        return b""
    others = [(name, labels[name]) for name in sorted(labels) if name not in LEVEL_NAMES]
    texts = [(name, text_of(value) if isinstance(value, bytes) else value) for name, value in others]
    return repr(texts).encode("utf-8", "replace")


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
