"""What lines of text, and fields beside them, say of a record: its level, where its text ends. Pure."""

import re

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from gateway.protocols.attributes import text_of
from gateway.protocols.levels import of_pino, of_word

Text = str | bytes

_DETECTED: Final = "detected_level"
_LEVELS: Final = (
    _DETECTED, "level", "LEVEL", "Level", "Severity", "severity", "SEVERITY", "lvl", "LVL", "Lvl", "severity_text",
)  # fmt: skip
_ENDS: Final = ("\n", "\r\n", b"\n", b"\r\n")
LEVEL_NAMES: Final = frozenset(_LEVELS)
"""Fields that say a level, as Loki knows them."""
_LAST_LETTERS: Final = frozenset(name[-1].encode()[0] for name in _LEVELS)
_NAME_CHARS: Final = max(map(len, _LEVELS)) + 1
_LOGFMT: Final = re.compile(rb"(?:\A|[^\w.])(?:%b)\Z" % "|".join(_LEVELS).encode())
_WORD: Final = re.compile(rb'"?([A-Za-z]{1,16})\b')
_LOOKED_AT: Final = 4096
_fields: Final = msgspec.json.Decoder(
    msgspec.defstruct("_Fields", [(name, Any, None) for name in _LEVELS], gc=False)
).decode


def level_among(fields: Mapping[str, Any]) -> Text:
    """Return the level in labels or metadata, the first that is known; empty if there is none."""
    if LEVEL_NAMES.isdisjoint(fields):
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
