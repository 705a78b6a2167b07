"""
Records of any protocol as events: the only place that decides what becomes of what. Pure, and total.

A record in a readable envelope is never refused. What cannot be stored as it was sent is repaired, and the event says so in
attribute `_repaired`. What is usual takes a fast way, in which nothing is looked at twice; all else is settled with care.
"""

from collections import Counter
from collections.abc import Collection
from hashlib import sha256
from typing import Any, Final

import msgspec

from gateway.protocols import correlation
from gateway.protocols.attributes import clean, settle, text_of
from gateway.protocols.cutting import encode_within
from gateway.protocols.identity import Identities
from gateway.protocols.levels import LEVELS, of_word
from gateway.protocols.record import Group, Record, Repair
from gateway.protocols.times import END_NS, canonical_ns
from shared.event.decode import Received
from shared.event.fields import MAX_ATTRIBUTES, MAX_EVENT_BYTES, MAX_NAME_CHARS
from shared.event.sealed import SealedEvent
from shared.event.times import format_time
from shared.ingest.protocol import Counts
from shared.ingest.receipt import Receipt

UNKNOWN_SERVICE: Final = "unknown_service"
TIME: Final = "_time"
SEVERITY: Final = "severity_text"
NANOS: Final = "time_unix_nano"
TENANT: Final = "tenant"

# `_repaired` and `_cut`.
_MARKS: Final = 2
_MILLISECOND_NS: Final = 1_000_000
_MICROSECOND_NS: Final = 1000
_WORD_CHARS: Final = 100
_SOURCE_BYTES: Final = 6
# What is kept for the next records of a group.
_KEPT: Final = 1000
# Larger records are known by their place, since hashing one would last.
_MAX_HASHED: Final = 1024 * 1024
_PLAIN: Final = frozenset({str, int, bool, type(None), msgspec.Raw})
_SAME_WORD: Final = {form: level for level in LEVELS for form in (level, level.lower(), level.capitalize())}
_NUL: Final = b"\\u0000"
_USUAL, _WITH_TRACE, _UNUSUAL = 1, 2, 3
_FIRST_INT, _LAST_INT = -(2**63), 2**64 - 1
_BAD: Final = (ValueError, TypeError, OverflowError)
_encode: Final = msgspec.json.Encoder().encode


def _are_usual(values: Collection[Any]) -> bool:
    """Tell whether values of attributes can be stored as they are."""
    kinds = set(map(type, values))
    if not kinds <= _PLAIN:
        return False
    if int not in kinds:
        return True
    numbers = [value for value in values if type(value) is int]
    return min(numbers) >= _FIRST_INT and max(numbers) <= _LAST_INT


def _own(attributes: dict[str, Any], time_ns: int | None) -> bytes:
    """Return the members of a record's own attributes as JSON, with the digits of its time that an event's has not."""
    own = _encode(attributes)[1:-1] if attributes else b""
    if time_ns is not None and time_ns % _MICROSECOND_NS:
        return b'%b,"time_unix_nano":"%d"' % (own, time_ns) if own else b'"time_unix_nano":"%d"' % time_ns
    return own


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
    heads: dict[tuple[str, str], bytes]
    shapes: dict[tuple[str, ...], int]
    streams: dict[tuple[bytes, str], tuple[str, bytes]]


class Converter:
    """
    Makes the records of one request events.

    Args:
        receipt: How it arrived.
        protocol: Its protocol's name.

    Attributes:
        repaired: How many events had to be repaired, by what.
        untimed: How many records had no time of their own.
        coarse: How many records are only known by their place in the request.
    """

    def __init__(self, receipt: Receipt, protocol: str) -> None:
        self.repaired: Counter[Repair] = Counter()
        self.untimed = 0
        self.coarse = 0
        self._tenant = receipt.tenant
        self._received_at = format_time(receipt.now)
        self._untimed_at = format_time(receipt.untimed_at)
        self._identities = Identities(receipt, protocol)
        self._index = -1
        self._end = f'}},"receivedAt":"{self._received_at}"}}'.encode()

    def source(self, group: Group) -> Source:
        """Return a group as `convert` wants it; once for all its records."""
        repairs = set(group.repairs)
        service = clean(group.service, repairs) or UNKNOWN_SERVICE
        layers = [*group.layers, ("request.", {TENANT: self._tenant})] if self._tenant else list(group.layers)
        flat = settle(layers, MAX_ATTRIBUTES, repairs)
        return Source(
            group=group,
            identity=self._identities.group(group.key),
            service=service,
            correlation=correlation.among(flat),
            id_scope=group.id_scope,
            layers=layers,
            names=frozenset(flat),
            encoded=_encode(flat)[1:-1]
            if not repairs and NANOS not in flat and len(service) <= MAX_NAME_CHARS
            else None,
            repairs=tuple(repairs),
            heads={},
            shapes={},
            streams={},
        )

    def convert(self, source: Source, record: Record) -> SealedEvent:
        """Return the event that a record is."""
        self._index += 1
        time_ns = record.time_ns
        if time_ns is not None and not 0 < time_ns < END_NS:
            record.time_written, record.time_ns = str(time_ns), None
            time_ns = None
        if time_ns is None:
            self.untimed += 1
            time = self._untimed_at
        else:
            time = canonical_ns(time_ns)
        event_id = self._id(source, record, time_ns)
        return self._fast(source, record, event_id, time) or self._with_care(source, record, event_id, time)

    @property
    def records(self) -> int:
        """How many there were so far."""
        return self._index + 1

    def counts(self) -> Counts:
        """Return what was found so far, for the request's `Submission`."""
        return Counts({what.value: number for what, number in self.repaired.items()}, self.untimed, self.coarse)

    def _id(self, source: Source, record: Record, time_ns: int | None) -> str:
        if own := record.own_id:
            own = own.encode("utf-8", "surrogatepass") if isinstance(own, str) else own
            scope = source.id_scope or self._service(source, record).encode("utf-8", "surrogatepass")
            return self._identities.of_id(scope, own)
        if self._identities.is_keyed:
            return self._identities.of_place(self._index, is_timed=True)
        identities = self._identities
        if (
            time_ns is not None
            and time_ns % _MILLISECOND_NS
            and 0 < len(record.raw) <= _MAX_HASHED
            and not identities.is_full
        ):
            return identities.of_record(source.identity, record.raw)
        self.coarse += 1
        return self._identities.of_place(self._index, is_timed=time_ns is not None)

    def _fast(self, source: Source, record: Record, event_id: str, time: str) -> SealedEvent | None:
        """
        Return the event if nothing about it is unusual.

        Its JSON is put together from parts, most of which many records share: encoding an event as a whole costs twice as much.
        """
        common, attributes, level = source.encoded, record.attributes, record.level
        known = _SAME_WORD.get(level) if level else "INFO"  # type: ignore[arg-type]
        names = self._names(source, attributes) if attributes else _USUAL
        # Of whatever type it is: the encoder refuses what does not belong here.
        service: Any = record.service or source.service
        if (
            common is None
            or known is None
            or names is _UNUSUAL
            or record.repairs
            or record.time_written
            or type(service) is not str
        ):
            return None
        try:
            head = source.heads.get((service, known)) or self._head(source, service, known)
            among = correlation.among(attributes) if names is _WITH_TRACE else ""
            if belongs := record.correlation or among or source.correlation:
                belonging = _encode(belongs)
            else:
                belongs, belonging = self._stream(source, record.stream, service)
            message: Any = record.message
            said = _encode(message.decode() if type(message) is bytes else message)
            own = _own(attributes, record.time_ns)
        except _BAD:
            return None
        encoded = b"".join(
            (
                f'{{"eventId":"{event_id}","timestamp":"{time}","serviceName":'.encode(),
                head,
                said,
                b',"correlationId":',
                belonging,
                b',"attributes":{',
                own,
                b"," if own and common else b"",
                common,
                self._end,
            )
        )
        if (
            len(encoded) > MAX_EVENT_BYTES
            or len(belongs) > MAX_NAME_CHARS
            or _NUL in said
            or _NUL in own
            or _NUL in belonging
        ):
            return None
        return SealedEvent(event_id, time, belongs, encoded)

    def _names(self, source: Source, attributes: dict[str, Any]) -> int:
        """Return what a record's attributes are; most records of a group have the same names."""
        if not _are_usual(attributes.values()):
            return _UNUSUAL
        shape = tuple(attributes)
        if (known := source.shapes.get(shape)) is not None:
            return known
        found = _USUAL
        if (
            len(shape) + len(source.names) >= MAX_ATTRIBUTES
            or NANOS in attributes
            or not source.names.isdisjoint(shape)
            or not all(type(name) is str and 0 < len(name) <= MAX_NAME_CHARS for name in shape)
        ):
            found = _UNUSUAL
        elif not correlation.NAMES.isdisjoint(shape):
            found = _WITH_TRACE
        if len(source.shapes) >= _KEPT:
            source.shapes.clear()
        source.shapes[shape] = found
        return found

    def _head(self, source: Source, service: str, level: str) -> bytes:
        """Return an event's JSON from the service's name to the message; empty if it is no usual name."""
        name = _encode(service)
        if not 0 < len(service) <= MAX_NAME_CHARS or b"\\u0000" in name:
            raise ValueError(service)
        if len(source.heads) >= _KEPT:
            source.heads.clear()
        head = source.heads[service, level] = name + f',"level":"{level}","message":'.encode()
        return head

    def _belongs(self, source: Source, record: Record, attributes: dict[str, Any], service: str) -> str:
        """Return the correlation id of a record that has no trace in a field of its own."""
        return correlation.among(attributes) or source.correlation or self._stream(source, record.stream, service)[0]

    def _stream(self, source: Source, stream: bytes, service: str) -> tuple[str, bytes]:
        """Return the name of a record's source, and its JSON."""
        if (known := source.streams.get((stream, service))) is None:
            if len(source.streams) >= _KEPT:
                source.streams.clear()
            group = source.group
            told_apart = sha256(b"%b\0%b" % (group.stream or group.key, stream)).digest()[:_SOURCE_BYTES].hex()
            words = (clean(word, set())[:_WORD_CHARS] for word in (service, group.host))
            name = "/".join([*filter(None, words), told_apart])
            known = source.streams[stream, service] = name, _encode(name)
        return known

    def _service(self, source: Source, record: Record) -> str:
        service = record.service or source.service
        return text_of(service) if isinstance(service, bytes) else service

    def _with_care(self, source: Source, record: Record, event_id: str, time: str) -> SealedEvent:
        """Return the event, whatever the record is."""
        repairs = {*record.repairs, *source.repairs}
        service = clean(self._service(source, record), repairs)
        message = clean(record.message, repairs)
        belongs = clean(record.correlation, repairs)
        if len(belongs) > MAX_NAME_CHARS:
            belongs = ""
        ours: dict[str, Any] = {}
        if len(service) > MAX_NAME_CHARS:
            repairs.add(Repair.SERVICE)
            ours["service.name"] = service
            service = service[:MAX_NAME_CHARS]
        if len(record.correlation) > MAX_NAME_CHARS:
            repairs.add(Repair.NAME)
            ours["correlation_id"] = record.correlation
        word = clean(record.level, repairs).strip()
        level = of_word(word) or "INFO"
        if word and word.upper() != level:
            ours[SEVERITY] = word
        if record.time_written:
            repairs.add(Repair.TIME)
            ours[TIME] = record.time_written
        elif record.time_ns is not None and record.time_ns % _MICROSECOND_NS:
            ours[NANOS] = str(record.time_ns)
        layers = [("", record.attributes), ("gateway.", ours), *source.layers]
        attributes = settle(layers, MAX_ATTRIBUTES, repairs)
        if repairs and len(attributes) + _MARKS > MAX_ATTRIBUTES:
            attributes = settle(layers, MAX_ATTRIBUTES - _MARKS, repairs)
        belongs = belongs or self._belongs(source, record, attributes, service)
        encoded = encode_within(
            Received(event_id, time, service, level, message, belongs, attributes, self._received_at), repairs
        )
        self.repaired.update(repairs)
        return SealedEvent(event_id, time, belongs, encoded)
