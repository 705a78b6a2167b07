"""
Syslog's messages as records: RFC 5424, and what is written in the manner of RFC 3164. Pure.

A message of neither kind is a line of text. None of syslog's ways acknowledges a message, so no sender sends one again for want
of that, and two equal messages are two.
"""

import re

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from gateway.protocols.attributes import free_name, text_of
from gateway.protocols.correlation import among
from gateway.protocols.cutting import CUT
from gateway.protocols.lines import level_in_line, without_end_of_line
from gateway.protocols.record import Record, Repair
from gateway.protocols.times import ns_of
from gateway.protocols.written_times import written_ns
from shared.event.json_text import BOM

NAME: Final = "syslog"
FACILITIES: Final[Sequence[str]] = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit",
    "alert", "clock", *(f"local{number}" for number in range(8)),
)  # fmt: skip
# The level's own word, where the severity says no more than that.
SEVERITIES: Final[Sequence[str]] = ("emerg", "alert", "crit", "ERROR", "WARN", "notice", "INFO", "DEBUG")

_PRIORITIES: Final = 8 * len(FACILITIES)
_PRIORITY: Final = re.compile(rb"<([0-9]{1,3})>")
_HEADER: Final = re.compile(rb"[1-9][0-9]{0,2} (-|\d{4}-\S+) (\S+) (\S+) (\S+) (\S+)(?: |\Z)")
_NAME: Final = rb'[^\s=\]"]+'
_VALUE: Final = rb'"((?:[^"\\]++|\\.)*+)"'
_ELEMENT: Final = re.compile(rb"\[(" + _NAME + rb")((?: +" + _NAME + rb'="(?:[^"\\]++|\\.)*+")*+) *\]', re.DOTALL)
_PARAMETER: Final = re.compile(rb" +(" + _NAME + rb")=" + _VALUE, re.DOTALL)
_ESCAPED: Final = re.compile(rb'\\(["\\\]])')
_NIL: Final = b"-"
_MONTHS: Final[Mapping[bytes, int]] = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_OLD_TIME: Final = re.compile(
    rb"([A-Z][a-z]{2}) {1,2}(\d{1,2})(?: (\d{4}))? (\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?:? "
)
_NEW_TIME: Final = re.compile(rb"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\S*) ")
_TAG: Final = re.compile(rb"(?:(\S*[^\s:]) )?([^\s:\[\]]{1,128})(?:\[([^\]\s]{0,128})\]:?|:)(?: |\Z)")
_WORD: Final = re.compile(rb"(\S+) ")


class Message(NamedTuple):
    """A record, and the host that it names; empty if it names none."""

    record: Record
    host: str


class _Head(NamedTuple):
    time_ns: int | None
    time_written: str
    host: bytes
    app: bytes
    process: bytes
    id: bytes
    at: int


def read(raw: bytes, now: datetime, length: int = 0) -> Message:
    """
    Return a message's record.

    Args:
        raw: Its bytes.
        now: Time of its receipt, in the zone that a time without one is in.
        length: How many bytes it had, if it was cut.
    """
    attributes: dict[str, Any] = {}
    level = ""
    at = 0
    if (priority := _PRIORITY.match(raw)) and int(priority[1]) < _PRIORITIES:
        facility, severity = divmod(int(priority[1]), 8)
        attributes["facility"], level = FACILITIES[facility], SEVERITIES[severity]
        at = priority.end()
    correlation = ""
    head = _header(raw, at)
    if head is not None:
        at, correlation = _structured(raw, head.at, attributes)
    elif (head := _old_header(raw, at, now)) is not None:
        at = head.at
    message = without_end_of_line(raw[at:].removeprefix(BOM) if head is not None else raw[at:])
    record = Record(raw, message, level=level or level_in_line(message), attributes=attributes)
    if head is not None:
        record.time_ns, record.time_written = head.time_ns, head.time_written
        record.service, record.correlation = _text(head.app), correlation
        record.stream = b"%b\0%b" % (head.app, head.process)
        for name, value in (("procid", head.process), ("msgid", head.id)):
            if value:
                attributes[free_name(name, attributes)] = _text(value)
    if length > len(raw):
        record.repairs = (Repair.CUT,)
        attributes[CUT] = f"message {length}"
    return Message(record, _text(head.host) if head is not None else "")


def _header(raw: bytes, at: int) -> _Head | None:
    """Return what RFC 5424 has before the structured data."""
    if (found := _HEADER.match(raw, at)) is None:
        return None
    time, host, app, process, own_id = (b"" if value == _NIL else value for value in found.groups())
    time_ns, written = written_ns(_text(time)) if time else (None, "")
    return _Head(time_ns, written, host, app, process, own_id, found.end())


def _structured(raw: bytes, at: int, attributes: dict[str, Any]) -> tuple[int, str]:
    """Add the structured data's values; return where the message begins, and what it belongs to."""
    if raw[at : at + 1] == _NIL and raw[at + 1 : at + 2] in {b"", b" "}:
        return at + 2, ""
    named: dict[str, Any] = {}
    while element := _ELEMENT.match(raw, at):
        at = element.end()
        prefix = f"sd.{_text(element[1])}"
        values = _PARAMETER.findall(element[2])
        for name, value in values:
            text = _ESCAPED.sub(rb"\1", value)
            attributes[free_name(f"{prefix}.{_text(name)}", attributes)] = text
            named.setdefault(_text(name), text)
        if not values:
            attributes[free_name(prefix, attributes)] = ""
    return at + (raw[at : at + 1] == b" "), among(named)


def _old_header(raw: bytes, at: int, now: datetime) -> _Head | None:
    """Return what messages in the manner of RFC 3164 have before the text; None if they do not begin with a time."""
    time_ns: int | None = None
    written = ""
    if found := _NEW_TIME.match(raw, at):
        time_ns, written = written_ns(_text(found[1]))
    elif found := _OLD_TIME.match(raw, at):
        time_ns, written = _guessed(found, now), _text(found[0].rstrip(b": "))
    if found is None or time_ns is None:
        return None
    at = found.end()
    if tag := _TAG.match(raw, at):
        host, app, process = (value or b"" for value in tag.groups())
        return _Head(time_ns, written, host, app, process, b"", tag.end())
    if word := _WORD.match(raw, at):
        return _Head(time_ns, written, word[1], b"", b"", b"", word.end())
    return _Head(time_ns, written, b"", b"", b"", b"", at)


def _guessed(found: re.Match[bytes], now: datetime) -> int | None:
    """Return a time that says neither its zone nor, mostly, its year: the one that is nearest to now."""
    month, day, year, hour, minute, second, fraction = found.groups()
    if (number := _MONTHS.get(month)) is None:
        return None
    ns = int((fraction or b"").ljust(9, b"0"))
    times: list[datetime] = []
    for guess in [int(year)] if year else range(now.year - 1, now.year + 2):
        with suppress(ValueError):
            times.append(datetime(guess, number, int(day), int(hour), int(minute), int(second), tzinfo=now.tzinfo))
    if not times:
        return None
    nearest = min(times, key=lambda time: abs(time - now) if time - now < timedelta(days=31) else timedelta.max)
    return ns_of(nearest) + ns


def _text(raw: bytes) -> str:
    return text_of(raw)
