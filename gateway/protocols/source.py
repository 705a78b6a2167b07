"""What all records of a group share, kept so that most of an event's JSON need not be made again. Pure."""

from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from gateway.protocols import correlation
from gateway.protocols.attributes import clean
from gateway.protocols.record import Group, Repair
from shared.event.fields import MAX_ATTRIBUTES, MAX_NAME_CHARS

NANOS: Final = "time_unix_nano"
"""Attribute with a record's time where it is finer than an event's."""
NUL: Final = b"\\u0000"

_MICROSECOND_NS: Final = 1000
_WORD_CHARS: Final = 100
_SOURCE_BYTES: Final = 6
# What is kept for the next records of a group.
_KEPT: Final = 1000
_PLAIN: Final = frozenset({str, int, bool, type(None), msgspec.Raw})
_FIRST_INT, _LAST_INT = -(2**63), 2**64 - 1
_encode: Final = msgspec.json.Encoder().encode


class Source(msgspec.Struct, gc=False):
    """A group, with what all its records need of it."""

    group: Group
    identity: bytes
    service: str
    correlation: str
    id_scope: bytes
    layers: list[tuple[str, Any]]
    names: frozenset[str]
    encoded: bytes | None
    repairs: tuple[Repair, ...]
    heads: dict[tuple[str, str], bytes] = {}
    shapes: dict[tuple[str, ...], Sequence[str] | None] = {}
    streams: dict[tuple[bytes, str, str], tuple[str, bytes]] = {}

    def traces(self, attributes: dict[str, Any], *, is_plain: bool) -> Sequence[str] | None:
        """
        Return which of a record's attributes say what it belongs to; most records of a group have the same names.

        Args:
            attributes: The record's own.
            is_plain: Whether it is known already that their values are stored as they are.

        Returns:
            None if the attributes cannot be stored as they are.
        """
        if not is_plain and not _are_usual(attributes.values()):
            return None
        shape = tuple(attributes)
        try:
            return self.shapes[shape]
        except KeyError:
            pass
        found: Sequence[str] | None = None
        if (
            len(shape) + len(self.names) < MAX_ATTRIBUTES
            and NANOS not in attributes
            and self.names.isdisjoint(shape)
            and all(type(name) is str and 0 < len(name) <= MAX_NAME_CHARS for name in shape)
        ):
            found = correlation.names_among(shape)
        if len(self.shapes) >= _KEPT:
            self.shapes.clear()
        self.shapes[shape] = found
        return found

    def head(self, service: str, level: str) -> bytes:
        """
        Return an event's JSON from the service's name to the message.

        Raises:
            ValueError: The name cannot be stored as it is.
        """
        if (head := self.heads.get((service, level))) is not None:
            return head
        name = _encode(service)
        if not 0 < len(service) <= MAX_NAME_CHARS or b"\\u0000" in name:
            raise ValueError(service)
        if len(self.heads) >= _KEPT:
            self.heads.clear()
        head = self.heads[service, level] = name + f',"level":"{level}","message":'.encode()
        return head

    def stream(self, stream: bytes, service: str, share: str = "") -> tuple[str, bytes]:
        """Return the name of a record's source, or of a share of it, and its JSON."""
        if (known := self.streams.get((stream, service, share))) is None:
            if len(self.streams) >= _KEPT:
                self.streams.clear()
            group = self.group
            told_apart = sha256(b"%b\0%b" % (group.stream or group.key, stream)).digest()[:_SOURCE_BYTES].hex()
            words = (clean(word, set())[:_WORD_CHARS] for word in (service, group.host))
            name = "/".join([*filter(None, words), told_apart]) + share
            known = self.streams[stream, service, share] = name, _encode(name)
        return known


def own_members(attributes: dict[str, Any], time_ns: int | None) -> bytes:
    """Return the members of a record's own attributes as JSON, with the digits of its time that an event's has not."""
    own = _encode(attributes)[1:-1] if attributes else b""
    if time_ns is not None and time_ns % _MICROSECOND_NS:
        return b'%b,"time_unix_nano":"%d"' % (own, time_ns) if own else b'"time_unix_nano":"%d"' % time_ns
    return own


def _are_usual(values: Collection[Any]) -> bool:
    """Tell whether values of attributes can be stored as they are."""
    if not _PLAIN.issuperset(map(type, values)):
        return False
    return not [value for value in values if type(value) is int and not _FIRST_INT <= value <= _LAST_INT]
