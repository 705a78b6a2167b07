"""
Records of any protocol as events: the only place that decides what becomes of what. Pure, and total.

A record in a readable envelope is never refused. What cannot be stored as it was sent is repaired, and the event says so in
attribute `_repaired`. What is usual takes a fast way, in which nothing is looked at twice; all else is settled with care.
"""

import base64

from collections import Counter
from typing import Any, Final

import msgspec

from gateway.protocols import correlation
from gateway.protocols.attributes import are_many, clean, settle, text_of
from gateway.protocols.cutting import CUT, encode_within
from gateway.protocols.identity import Identities
from gateway.protocols.levels import LEVELS, of_word
from gateway.protocols.record import RAW, Group, Record, Repair
from gateway.protocols.source import NANOS, NUL, Source, own_members
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
TENANT: Final = "tenant"

# `_repaired` and `_cut`.
_MARKS: Final = 2
_MILLISECOND_NS: Final = 1_000_000
_MICROSECOND_NS: Final = 1000
_SECOND_NS: Final = 1_000_000_000
# Larger records are known by their place, since hashing one would last.
_MAX_HASHED: Final = 1024 * 1024
_SAME_WORD: Final = {form: level for level in LEVELS for form in (level, level.lower(), level.capitalize())}
_BAD: Final = (ValueError, TypeError, OverflowError)
# Of attributes as they were sent; three quarters of what an event can hold as text.
_KEPT_BYTES: Final = 160 * 1024
_encode: Final = msgspec.json.Encoder().encode


def _as_sent(raw: bytes) -> dict[str, Any]:
    """Return the attributes of what has too many values to take it apart: its bytes."""
    kept = raw[:_KEPT_BYTES]
    attributes = {RAW: base64.b64encode(kept).decode()}
    return attributes if len(kept) == len(raw) else attributes | {CUT: f"{RAW} {len(raw)}"}


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
        self._untimed_s = int(receipt.untimed_at.timestamp())
        self._spread = receipt.spread
        self._identities = Identities(receipt, protocol)
        self._index = -1
        self._owner = receipt.owner
        owned = "" if self._owner is None else f',"tenant":"{self._owner}"'
        self._end = f'}},"receivedAt":"{self._received_at}"{owned}}}'.encode()

    def source(self, group: Group) -> Source:
        """Return a group as `convert` wants it; once for all its records."""
        repairs = set(group.repairs)
        service = clean(group.service, repairs) or UNKNOWN_SERVICE
        layers = [*group.layers, ("request.", {TENANT: self._tenant})] if self._tenant else list(group.layers)
        if are_many([layer for _, layer in layers]):
            repairs.add(Repair.RECORD)
            layers = [("group.", _as_sent(group.key))]
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
        identities = self._identities
        if identities.is_keyed:
            return identities.of_place(self._index, is_timed=True)
        if (
            time_ns is not None
            and time_ns % _MILLISECOND_NS
            and 0 < len(record.raw) <= _MAX_HASHED
            and not identities.is_full
        ):
            return identities.of_record(source.identity, record.raw)
        self.coarse += 1
        return identities.of_place(self._index, is_timed=time_ns is not None)

    def _fast(self, source: Source, record: Record, event_id: str, time: str) -> SealedEvent | None:
        """
        Return the event if nothing about it is unusual.

        Its JSON is put together from parts, most of which many records share: encoding an event as a whole costs twice as much.
        """
        common, attributes, level = source.encoded, record.attributes, record.level
        known = _SAME_WORD.get(level) if level else "INFO"  # type: ignore[arg-type]
        traces = source.traces(attributes, is_plain=record.is_plain) if attributes else ()
        # Of whatever type it is: the encoder refuses what does not belong here.
        service: Any = record.service or source.service
        if (
            common is None
            or known is None
            or traces is None
            or record.repairs
            or record.time_written
            or type(service) is not str
        ):
            return None
        try:
            head = source.head(service, known)
            among = correlation.among(attributes, traces) if traces else ""
            if belongs := record.correlation or among or source.correlation:
                belonging = _encode(belongs)
            else:
                belongs, belonging = source.stream(record.stream, service, self._share(record))
            message: Any = record.message
            said = _encode(message.decode() if type(message) is bytes else message)
            own = own_members(attributes, record.time_ns)
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
            or NUL in said
            or NUL in own
            or NUL in belonging
        ):
            return None
        return SealedEvent(event_id, time, belongs, encoded, self._owner)

    def _belongs(self, source: Source, record: Record, attributes: dict[str, Any], service: str) -> str:
        """Return the correlation id of a record that has no trace in a field of its own."""
        if said := correlation.among(attributes) or source.correlation:
            return said
        return source.stream(record.stream, service, self._share(record))[0]

    def _share(self, record: Record) -> str:
        """Return which share of its source a record is in, by the second of its time; empty where a source has one."""
        if self._spread == 1:
            return ""
        second = self._untimed_s if record.time_ns is None else record.time_ns // _SECOND_NS
        return f"/{second % self._spread}"

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
        own: dict[str, Any] = record.attributes
        if are_many(own):
            repairs.add(Repair.RECORD)
            own = _as_sent(record.raw)
        layers = [("", own), ("gateway.", ours), *source.layers]
        attributes = settle(layers, MAX_ATTRIBUTES, repairs)
        if repairs and len(attributes) + _MARKS > MAX_ATTRIBUTES:
            attributes = settle(layers, MAX_ATTRIBUTES - _MARKS, repairs)
        belongs = belongs or self._belongs(source, record, attributes, service)
        encoded = encode_within(
            Received(event_id, time, service, level, message, belongs, attributes, self._received_at, self._owner),
            repairs,
        )
        self.repaired.update(repairs)
        return SealedEvent(event_id, time, belongs, encoded, self._owner)
