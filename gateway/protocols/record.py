"""What every protocol makes of its requests: records, and what a run of records has in common. Pure."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

RAW: Final = "_raw"
"""Attribute with the bytes of what could not be taken apart, as base64."""


class Repair(StrEnum):
    """
    What was changed so that a record could be stored; attribute `_repaired` and `gateway_repaired_total` name it.

    A member's value is the label's, and the set is closed.
    """

    CUT = "cut"
    """The event was larger than one may be: its longest text was cut, attribute `_cut` says where and how long it was."""
    MORE = "more"
    """It had more attributes than one may have: the last ones are in attribute `_more`, as one JSON object."""
    NAME = "name"
    """A name was empty or too long: it and its value are in `_more`, a service's or a trace's in an attribute."""
    NUL = "nul"
    """A text had the character U+0000, which is U+2400 now."""
    NUMBER = "number"
    """A number was none that can be stored, and is a text now."""
    RECORD = "record"
    """The record could not be read: its bytes are in attribute `_raw`, as base64."""
    SERVICE = "service"
    """A service's name was longer than one may be: it was cut, the whole is in attribute `service.name`."""
    TIME = "time"
    """A time could not be read, or lay outside of the years that are kept: it is in attribute `_time` now."""
    UTF8 = "utf8"
    """A text was no UTF-8, or had half a surrogate pair: each such place is U+FFFD now."""


class Group(msgspec.Struct, gc=False):
    """
    What a run of records has in common: a resource and a scope, a stream, an index.

    Attributes:
        key: The sender's bytes for it. They are part of its records' identities.
        service: The service of records that name none; empty if it is not known.
        host: Where they come from, in a word for people to read.
        stream: What tells this source of records from others; `key` where it is empty. Records of one source that belong to
            no trace keep their order.
        id_scope: Within which ids given by the sender are unique: the index, else the service.
        layers: Attributes of all its records, the most important layer first: each with what comes before a name that a
            record, or a layer before, has as well.
        repairs: What was repaired of it so far; each of its records says so.
    """

    key: bytes
    service: str | bytes = ""
    host: str | bytes = ""
    stream: bytes = b""
    id_scope: bytes = b""
    layers: Sequence[tuple[str, Mapping[str, Any]]] = ()
    repairs: tuple[Repair, ...] = ()


class Record(msgspec.Struct, gc=False):
    """
    One record as sent.

    A text may be bytes, of which nothing has been checked, or a string with anything in it. The value of an attribute may be
    a text, None, a boolean, any number (`msgspec.Raw` is one as JSON writes it), and a list or mapping of such values.

    Attributes:
        raw: The sender's bytes for it, and nothing else: they are its identity where it has no other.
        message: What it says.
        time_ns: Its own time, nanoseconds since 1970; None if it has none.
        level: The name of its severity, in any of the ways that are known; empty if it has none.
        service: Its service; empty for its group's.
        own_id: Its id, if the sender gave it one that is the same whenever it is sent.
        correlation: The trace or the request to which it belongs, where the protocol has a field for it. Empty: it is looked
            for among the attributes, and is the source else.
        stream: What tells its source from others of its group: a file.
        attributes: Its own, nested or not.
        time_written: Its time as sent, where it could not be read.
        repairs: What was repaired so far.
        is_plain: Whether each attribute's value is known to be a text, an integer of 64 bits, a boolean or None.
    """

    raw: bytes
    message: str | bytes
    time_ns: int | None = None
    level: str | bytes = ""
    service: str | bytes = ""
    own_id: str | bytes = b""
    correlation: str = ""
    stream: bytes = b""
    attributes: dict[str, Any] = {}
    time_written: str = ""
    repairs: tuple[Repair, ...] = ()
    is_plain: bool = False
