"""
Events as gateways and producers pass them on: the bytes, and beside them the fields that these need. Pure.

Once an event has its identity, no component between the client's request and Kafka changes it. So it is encoded once, at
its receipt, and then passed on as it is. What is an event, `shared.event.decode` decides.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec

from shared.event.decode import Received, Sent, read_received, read_sent, read_sent_value
from shared.event.explain import RefusalError, not_json
from shared.event.fields import MAX_BATCH_EVENTS, MAX_EVENT_BYTES, FieldProblem, InvalidEventError
from shared.event.json_text import BOM, NotJSONError, parse_json
from shared.event.long_events import LONG_BYTES, TooLongError, flat_value, read_long
from shared.event.times import format_time

# So many refused events of a request are explained in full.
MAX_EXPLAINED: Final = 100
NO_ARRAY: Final = "a batch must be a JSON array of events, or NDJSON"


class SealedEvent(msgspec.Struct, frozen=True, gc=False):
    """
    A received event that is not changed any more.

    Attributes:
        event_id: A UUID as text.
        timestamp: Its other half of the identity, RFC 3339 with six digits.
        correlation_id: What it belongs to.
        encoded: Canonical JSON: the fields of `shared.event.decode.Received` in their order, without blanks.
        tenant: Whose it is; None: the default one's.
    """

    event_id: str
    timestamp: str
    correlation_id: str
    encoded: bytes
    tenant: str | None = None


class SealedRecord(msgspec.Struct, frozen=True, gc=False):
    """
    A record on its way to Kafka.

    Attributes:
        correlation_id: What it belongs to.
        value: Its bytes.
        event_id: Of its event.
        origin_region: Whose producer writes it.
        tenant: Whose event it is; None: the default one's.
    """

    correlation_id: str
    value: bytes
    event_id: str
    origin_region: str
    tenant: str | None = None


_split_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_encode_number: Final = msgspec.json.Encoder(decimal_format="number").encode


class _Ends(dict[str, bytes]):
    """How records of a region end; a producer writes those of one."""

    def __missing__(self, region: str) -> bytes:
        end = self[region] = b',"originRegion":' + _encode(region) + b"}"
        return end


_ends: Final = _Ends()


def to_record(event: SealedEvent, origin_region: str) -> SealedRecord:
    """Return the record that `origin_region`'s producer writes for this event."""
    value = event.encoded[:-1] + _ends[origin_region]
    return SealedRecord(event.correlation_id, value, event.event_id, origin_region, event.tenant)


class Intake:
    """
    Takes one request's events in: reads them, and gives them what they lack of an identity.

    Args:
        now: The time of receipt, aware UTC.
        new_id: Makes a UUIDv7; called only for events that come without.
        explained: Of how many refused events every mistake is named. Of further ones it is the first, since all of them cost
            much more than an event that is taken.
        owner: The tenant whose events they are; None: the default one.
    """

    def __init__(
        self, now: datetime, new_id: Callable[[], Any], explained: int = MAX_EXPLAINED, *, owner: str | None = None
    ) -> None:
        self.owner = owner
        self._received_at = format_time(now)
        self._new_id = new_id
        self._to_explain = explained

    def seal(self, raw: bytes) -> SealedEvent:
        """
        Take one event as sent by a client.

        Raises:
            InvalidEventError: The bytes are no JSON, or the event breaks the contract.
        """
        if isinstance(event := self.seal_line(raw), InvalidEventError):
            raise event
        return event

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
            with suppress(NotJSONError):  # then the array as a whole is none
                return list(map(self._seal_element, map(bytes, items)))
        try:
            values = parse_json(raw)
        except NotJSONError as exc:
            raise not_json(exc) from None
        if not isinstance(values, list):
            raise _invalid(NO_ARRAY)
        _check_count(len(values))
        # No element can be too large where the whole is not.
        measure = len(raw) > MAX_EVENT_BYTES
        return [self._seal_value(value, measure=measure) for value in values]

    def seal_elements(self, elements: Iterable[bytes]) -> list[SealedEvent | InvalidEventError]:
        """
        Take elements of an array that was told apart by `shared.ingest.slices`, one result each, in order.

        Raises:
            InvalidEventError: One of them is no JSON.
        """
        try:
            return list(map(self._seal_element, elements))
        except NotJSONError as exc:
            raise not_json(exc) from None

    def seal_lines(self, raw: bytes) -> list[SealedEvent | InvalidEventError]:
        """
        Take NDJSON, one result a non-empty line, whatever ends the lines.

        Raises:
            InvalidEventError: There are too many lines.
        """
        return list(map(self.seal_line, split_lines(raw)))

    def seal_line(self, raw: bytes) -> SealedEvent | InvalidEventError:
        """
        Take one event as `seal` does, and return what is wrong with it.

        An error that was raised holds on to its frames, and a request may have thousands.
        """
        try:
            if len(raw) > LONG_BYTES:
                return _too_large(len(raw)) if len(raw) > MAX_EVENT_BYTES else self._seal(read_long, raw)
            return self._seal(read_sent, raw)
        except NotJSONError as exc:
            return not_json(exc)

    def _seal_element(self, raw: bytes) -> SealedEvent | InvalidEventError:
        if len(raw) > LONG_BYTES:
            return self._seal_larger(raw) if len(raw) > MAX_EVENT_BYTES else self._seal(read_long, raw)
        return self._seal(read_sent, raw)

    def _seal_larger(self, raw: bytes) -> SealedEvent | InvalidEventError:
        """Take an element that is too large, unless it is so by its blanks and escapes."""
        try:
            value = flat_value(raw)
        except TooLongError:
            return _too_large(len(raw))
        except RefusalError as exc:
            return self._refuse(exc)
        return self._seal_value(value, measure=True)

    def _seal_value(self, value: object, *, measure: bool) -> SealedEvent | InvalidEventError:
        event = self._seal(read_sent_value, value)
        if measure and isinstance(event, SealedEvent) and (size := len(_encode_number(value))) > MAX_EVENT_BYTES:
            return _too_large(size)
        return event

    def _seal(self, read: Callable[[Any], Sent], written: object) -> SealedEvent | InvalidEventError:
        try:
            sent = read(written)
        except RefusalError as exc:
            return self._refuse(exc)
        event_id = sent.event_id or str(self._new_id())
        timestamp = sent.timestamp or self._received_at
        received = Received(
            event_id,
            timestamp,
            sent.service_name,
            sent.level,
            sent.message,
            sent.correlation_id,
            sent.attributes,
            self._received_at,
            self.owner,
        )
        return SealedEvent(event_id, timestamp, sent.correlation_id, _encode(received), self.owner)

    def _refuse(self, error: RefusalError) -> InvalidEventError:
        self._to_explain -= 1
        return error.in_full() if self._to_explain >= 0 else error.in_brief()


def split_lines(raw: bytes) -> list[bytes]:
    """
    Return the lines of NDJSON that are not empty, whatever ends them.

    Raises:
        InvalidEventError: There are more than `MAX_BATCH_EVENTS`.
    """
    ending = b"\n" if b"\n" in raw else b"\r"
    lines = [line for line in raw.removeprefix(BOM).split(ending) if line.strip(b" \t\r")]
    _check_count(len(lines))
    return lines


def decode_handoff(line: bytes) -> SealedEvent:
    """
    Decode one event as a gateway hands it on.

    Raises:
        InvalidEventError: It is none.
    """
    try:
        event = read_received(line)
    except RefusalError as exc:
        raise exc.in_full() from None
    except NotJSONError as exc:
        raise not_json(exc) from None
    return SealedEvent(event.event_id, event.timestamp, event.correlation_id, _encode(event), event.tenant)


def _check_count(events: int) -> None:
    # Before any event is looked at: a body of the allowed size may hold millions of them.
    if events > MAX_BATCH_EVENTS:
        raise _invalid(f"a batch may have {MAX_BATCH_EVENTS} events, this one has {events}; split it")


def _too_large(size: int) -> InvalidEventError:
    return _invalid(f"an event may have {MAX_EVENT_BYTES} bytes, this one has {size}")


def _invalid(message: str) -> InvalidEventError:
    return InvalidEventError([FieldProblem("", message)])
