r"""
The names that an event's parts have in Loki: labels, and what is known of a line besides. Pure.

An attribute's name is made a name of Loki's: what is neither a letter of ASCII nor a digit becomes `_`, and `_extracted` follows where
the event has a part of that name itself. Several attributes may come to the same name. Then the one of exactly this name has it, else
the shortest one.
"""

import re

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from console.filter import Values
from console.row import Row

LABELS: Final = ("service_name", "level", "region", "late")
"""What tells streams apart."""
DETECTED_LEVEL: Final = "detected_level"
EXTRACTED: Final = "_extracted"

_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_OTHER: Final = re.compile(r"[^a-zA-Z0-9_]")
_NO_BEGINNING: Final = re.compile(r"^(?![a-zA-Z_])")


@dataclass(frozen=True, slots=True)
class Part:
    """
    A part of an event.

    Attributes:
        text: Of a row; "" if it has none.
        column: The same for PostgreSQL, never NULL.
    """

    text: Callable[[Row], str]
    column: str


OWN: Final[Mapping[str, Part]] = {
    "service_name": Part(lambda row: row.service_name, "service_name"),
    "level": Part(lambda row: row.level, "level"),
    DETECTED_LEVEL: Part(lambda row: row.level.lower(), "lower(level)"),
    "region": Part(lambda row: row.origin_region, "origin_region"),
    "late": Part(lambda row: "true" if row.late else "false", "CASE WHEN late THEN 'true' ELSE 'false' END"),
    "correlation_id": Part(lambda row: row.correlation_id, "correlation_id"),
    "event_id": Part(lambda row: str(row.event_id), "event_id::text"),
    "seq": Part(lambda row: str(row.seq), "seq::text"),
    "stored_by": Part(lambda row: row.stored_by, "stored_by"),
    "late_reason": Part(lambda row: row.late_reason or "", "coalesce(late_reason, '')"),
}
_SHOWN: Final = ("correlation_id", "event_id", "seq", "late_reason")


def labels_of(row: Row) -> tuple[str, ...]:
    """Return the values of `LABELS`."""
    return tuple(OWN[name].text(row) for name in LABELS)


def metadata_of(row: Row) -> dict[str, str]:
    """Return what is known of a line besides its labels."""
    known = {name: text for name in _SHOWN if (text := OWN[name].text(row))}
    chosen: dict[str, str] = {}
    attributes = _texts(row)
    for key in sorted(attributes, key=lambda key: (len(key.encode()), key.encode())):
        name = name_of(key)
        if name not in chosen or key == name:
            chosen[name] = key
    known |= {name: attributes[key] for name, key in chosen.items()}
    # What another attribute keeps out of its name is there under its own.
    for key in attributes.keys() - chosen.values():
        shown = key
        while shown in known or shown in OWN:
            shown += "_"
        known[shown] = attributes[key]
    return known


def name_of(key: str) -> str:
    """Return the name that an attribute has in Loki."""
    name = _plain(key)
    return name + EXTRACTED if name in OWN else name


def attribute_text(name: str, row: Row) -> str:
    """Return the text of the attribute that has this name in Loki; "" if there is none."""
    attributes = _texts(row)
    found = [key for key in attributes if _plain(key) in _plain_names(name)]
    return attributes[min(found, key=lambda key: (key != name, len(key.encode()), key.encode()))] if found else ""


def attribute_column(name: str, values: Values) -> str:
    """Return the same for PostgreSQL."""
    number = values.add(name)
    if "_" not in name:
        return f"coalesce(attributes ->> {number}, '')"
    plain = "regexp_replace(regexp_replace(key COLLATE \"C\", '[^a-zA-Z0-9_]', '_', 'g'), '^(?![a-zA-Z_])', '_')"
    return (
        f"coalesce((SELECT value FROM jsonb_each_text(attributes) WHERE value IS NOT NULL "  # noqa: S608 - all fixed
        f"AND {plain} = ANY({values.add(_plain_names(name))}::text[]) "
        f"ORDER BY key <> {number}, octet_length(key), key COLLATE \"C\" LIMIT 1), '')"
    )


def _plain_names(name: str) -> list[str]:
    """Return what may have become this name."""
    base = name.removesuffix(EXTRACTED)
    return [name, base] if base != name and base in OWN else [name]


def _plain(key: str) -> str:
    return _NO_BEGINNING.sub("_", _OTHER.sub("_", key))


def _texts(row: Row) -> dict[str, str]:
    """Return the attributes as texts, as PostgreSQL's `->>` does; those that are null are left out."""
    try:
        members: dict[str, Any] = _decode(row.attributes.encode())
    except msgspec.MsgspecError:
        return {}
    texts = {key: bytes(raw) for key, raw in members.items()}
    return {
        key: _decode_text(raw) if raw.startswith(b'"') else raw.decode() for key, raw in texts.items() if raw != b"null"
    }
