"""
Events as gateways and producers pass them on: the bytes, and beside them the fields that these need. Pure.

Once an event has its identity, no component between the client's request and Kafka changes it. So it is encoded once, at
its receipt, and then passed on as it is. msgspec reads and writes the usual form, `shared.event.model` everything else; the
latter decides (`shared/tests/test_sealed.py` holds the two together).
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from shared.event.canonical import (
    SECOND_CHARS,
    SECONDS,
    AnyAttributes,
    Attributes,
    Name,
    Received,
    ReceivedWithDecimals,
    are_flat,
    as_written,
    has_escapes,
    uuid_bytes,
)
from shared.event.levels import USUAL, LevelName
from shared.event.model import (
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    InvalidEventError,
    LogEvent,
    ReceivedEvent,
    decode_array,
    decode_event,
    decode_received,
    format_time,
    split_lines,
)

_NO_FRACTION: Final = len("2026-11-23T12:00:00Z")
_SHORTEST_FRACTION: Final = len("2026-11-23T12:00:00.1Z")
_TIME_CHARS: Final = len("2026-11-23T12:00:00.123456Z")


class SealedEvent(NamedTuple):
    """
    A received event that is not changed any more.

    Attributes:
        event_id: A UUID as text.
        timestamp: Its other half of the identity, RFC 3339 with six digits.
        correlation_id: Its Kafka key.
        encoded: Canonical JSON, as `ReceivedEvent.encode` writes it.
    """

    event_id: str
    timestamp: str
    correlation_id: str
    encoded: bytes


class SealedRecord(NamedTuple):
    """
    A record on its way to Kafka.

    Attributes:
        correlation_id: Its key.
        value: Its bytes.
        event_id: Of its event.
        origin_region: Whose producer writes it.
    """

    correlation_id: str
    value: bytes
    event_id: str
    origin_region: str


class _Sent(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    service_name: Name
    level: LevelName
    message: str
    correlation_id: Name
    timestamp: str | None = None
    event_id: str | None = None
    attributes: Attributes = {}


class _SentElsewise(_Sent, gc=False):
    """With a level by another name, and with decimals: read when the usual form does not fit."""

    level: str  # type: ignore[assignment]
    attributes: AnyAttributes | None = None  # type: ignore[assignment]


_decode_sent: Final = msgspec.json.Decoder(_Sent).decode
_decode_elsewise: Final = msgspec.json.Decoder(_SentElsewise, float_hook=as_written).decode
_decode_received: Final = msgspec.json.Decoder(Received).decode
_decode_with_decimals: Final = msgspec.json.Decoder(ReceivedWithDecimals, float_hook=as_written).decode
_split_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


def seal(event: ReceivedEvent) -> SealedEvent:
    """Encode an event."""
    return SealedEvent(str(event.event_id), format_time(event.timestamp), event.correlation_id, event.encode())


def to_record(event: SealedEvent, origin_region: str) -> SealedRecord:
    """Return the record that `origin_region`'s producer writes for this event."""
    value = event.encoded[:-1] + b',"originRegion":' + _encode(origin_region) + b"}"
    return SealedRecord(event.correlation_id, value, event.event_id, origin_region)


class Intake:
    """
    Takes one request's events in: reads them, and gives them what they lack of an identity.

    Args:
        now: The time of receipt, aware UTC.
        new_id: Makes a UUIDv7; called only for events that come without.
    """

    _decode: Callable[[bytes], "_Sent"] = _decode_sent

    def __init__(self, now: datetime, new_id: Callable[[], Any]) -> None:
        self._now = now
        self._received_at = format_time(now)
        self._new_id = new_id

    def seal(self, raw: bytes) -> SealedEvent:
        """
        Take one event as sent by a client.

        Raises:
            InvalidEventError: The bytes are no JSON, or the event breaks the contract.
        """
        return self._usual(raw) or self._seal(decode_event(raw))

    def seal_array(self, raw: bytes) -> list[SealedEvent | InvalidEventError]:
        """
        Take a JSON array of events, one result an element, in order.

        Raises:
            InvalidEventError: The bytes as a whole are no JSON array, or it has too many elements.
        """
        try:
            raw.decode()  # else only the elements with bad UTF-8 would be refused, and the others taken
            items = _split_array(raw)
        except (ValueError, RecursionError):
            items = []
        if items and len(items) <= MAX_BATCH_EVENTS:
            with suppress(InvalidEventError):  # then the array as a whole is none
                return [
                    self._usual(item) or self._judged(decode_array(b"[%b]" % item)[0]) for item in map(bytes, items)
                ]
        return list(map(self._judged, decode_array(raw)))

    def seal_lines(self, raw: bytes) -> list[SealedEvent | InvalidEventError]:
        """
        Take NDJSON, one result a non-empty line.

        Raises:
            InvalidEventError: There are too many lines.
        """
        results: list[SealedEvent | InvalidEventError] = []
        for line in split_lines(raw):
            try:
                results.append(self.seal(line))
            except InvalidEventError as exc:
                results.append(exc)
        return results

    def _seal(self, event: LogEvent) -> SealedEvent:
        return seal(event.received(self._now, self._new_id))

    def _judged(self, decoded: LogEvent | InvalidEventError) -> SealedEvent | InvalidEventError:
        return decoded if isinstance(decoded, InvalidEventError) else self._seal(decoded)

    def _usual(self, raw: bytes) -> SealedEvent | None:
        if len(raw) > MAX_EVENT_BYTES or has_escapes(raw):
            return None
        try:
            sent = self._decode(raw)
        except (ValueError, RecursionError):
            # One sender's events are alike: when one needs the slow way, the rest of the batch is likely to need it, too.
            self._decode = _elsewise
            try:
                sent = _elsewise(raw)
            except (ValueError, RecursionError):
                return None
        event_id, timestamp = sent.event_id, sent.timestamp
        timestamp = self._received_at if timestamp is None else _six_digits(timestamp)
        if timestamp is None or (sent.timestamp is None and event_id is not None):
            return None
        if event_id is None:
            event_id = str(self._new_id())
        elif uuid_bytes(event_id) is None:
            return None
        else:
            event_id = event_id.lower()
        received = Received(
            event_id,
            timestamp,
            sent.service_name,
            sent.level,
            sent.message,
            sent.correlation_id,
            sent.attributes,
            self._received_at,
        )
        return SealedEvent(event_id, timestamp, sent.correlation_id, _encode(received))


def _elsewise(raw: bytes) -> _Sent:
    sent = _decode_elsewise(raw)
    level = USUAL.get(sent.level)
    sent.attributes = sent.attributes or {}
    if level is None or not are_flat(sent.attributes):
        raise ValueError("left to shared.event.model")
    sent.level = level
    return sent


def decode_handoff(line: bytes) -> SealedEvent:
    """
    Decode one event as a gateway hands it on.

    Raises:
        InvalidEventError: It is none.
    """
    if not has_escapes(line) and line.endswith(b"}"):
        try:
            event = _decode_received(line)
        except (ValueError, RecursionError):
            if (elsewise := _with_decimals(line)) is None:
                return seal(decode_received(line))
            event = elsewise
        if (
            _six_digits(event.timestamp) == event.timestamp
            and _six_digits(event.received_at) == event.received_at
            and uuid_bytes(event.event_id) is not None
        ):
            return SealedEvent(event.event_id, event.timestamp, event.correlation_id, line)
    return seal(decode_received(line))


def _with_decimals(line: bytes) -> Received | None:
    try:
        event = _decode_with_decimals(line)
    except (ValueError, RecursionError):
        return None
    return event if are_flat(event.attributes) else None


def _six_digits(time: str) -> str | None:
    """Return a time as `format_time` writes it, if it is written nearly so; else None."""
    length = len(time)
    if length == _NO_FRACTION:
        time, length = time[:-1] + ".0" + time[-1:], _SHORTEST_FRACTION
    digits = time[20:-1]
    if (
        not _SHORTEST_FRACTION <= length <= _TIME_CHARS
        or time[19] != "."
        or time[-1] != "Z"
        or not digits.isdecimal()
        or not time.isascii()
    ):
        return None
    try:
        SECONDS[time[:SECOND_CHARS]]
    except (ValueError, RecursionError):
        return None
    if time[10] != "T":
        return None
    return time if length == _TIME_CHARS else time[:-1].ljust(_TIME_CHARS - 1, "0") + "Z"
