"""Records inside a batch: read from its uncompressed content one by one, and written again."""

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.record.util import decode_varint, encode_varint

from consumer.adapters.kafka_batches import APPEND_TIME, Batch, seal


class BrokenError(Exception):
    """The bytes are no record."""


class Unreadable(NamedTuple):
    """
    What cannot be read.

    Attributes:
        first: Offset of the first record it holds, or would.
        offset: Of the last.
        timestamp: Milliseconds since 1970, as far as it is known.
        detail: What is wrong.
        raw: Its bytes: a whole batch as Kafka holds it, or one record of it.
    """

    first: int
    offset: int
    timestamp: int
    detail: str
    raw: bytes


class PlainRecord(NamedTuple):
    """A record that was read here."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def records_of(batch: Batch, content: bytes) -> list[PlainRecord | Unreadable]:
    """
    Read each record of a batch from its uncompressed content.

    Raises:
        BrokenError: Where a record begins is unknown.
    """
    entries: list[PlainRecord | Unreadable] = []
    position = 0
    for _ in range(batch.count):
        entry, position = _record(batch, content, position)
        if not batch.base <= entry.offset <= batch.last or (entries and entries[-1].offset >= entry.offset):
            raise BrokenError("its records are in no order")
        entries.append(entry)
    if position != len(content):
        raise BrokenError("it holds more than its records")
    return entries


def encode(records: Sequence[PlainRecord], *, base: int, last: int, attributes: int = 0) -> bytes:
    """Make an uncompressed batch; its records' offsets lie between `base` and `last`."""
    first = records[0].timestamp if records else -1
    newest = max((record.timestamp for record in records), default=-1)
    content = b"".join(_encode_record(record, base, first) for record in records)
    return seal(Batch(b"", base, attributes, 0, last - base, first, newest, len(records)), content)


def placeholder(unreadable: Unreadable) -> bytes:
    """Make a batch of one empty record that stands where something cannot be read."""
    offset = unreadable.offset
    return encode([PlainRecord(offset, unreadable.timestamp, None, None, ())], base=offset, last=offset)


def _record(batch: Batch, content: bytes, position: int) -> tuple[PlainRecord | Unreadable, int]:
    try:
        length, begin = decode_varint(content, position)
        end = begin + length
        if length <= 0 or end > len(content):
            raise BrokenError(f"a record of {length} bytes does not fit into it")
        delta_ms, at = decode_varint(content, begin + 1)
        offset_delta, at = decode_varint(content, at)
    except (IndexError, ValueError) as exc:
        raise BrokenError(f"a record cannot be read: {exc}") from exc
    timestamp = batch.newest_timestamp if batch.attributes & APPEND_TIME else batch.first_timestamp + delta_ms
    offset = batch.base + offset_delta
    body = _Body(content[:end], at)
    try:
        key, value = body.nullable(), body.nullable()
        headers = [(body.text(), body.nullable()) for _ in range(body.count())]
        body.is_read()
    except (IndexError, ValueError, BrokenError) as exc:
        return Unreadable(offset, offset, timestamp, f"the record cannot be read: {exc}", content[begin:end]), end
    return PlainRecord(offset, timestamp, key, value, headers), end


class _Body:
    """What of a record comes after its numbers, read from the front."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    def nullable(self) -> bytes | None:
        size = self._number()
        return None if size < 0 else self._take(size)

    def text(self) -> str:
        """Read a name, as Java does: what is no UTF-8 in it is replaced."""
        return self._take(self._number()).decode(errors="replace")

    def count(self) -> int:
        number = self._number()
        if not 0 <= number <= len(self._data) - self._position:
            raise BrokenError(f"{number} headers")
        return number

    def is_read(self) -> None:
        if self._position != len(self._data):
            raise BrokenError(f"{len(self._data) - self._position} bytes too many")

    def _number(self) -> int:
        number, self._position = decode_varint(self._data, self._position)
        return int(number)

    def _take(self, size: int) -> bytes:
        begin, self._position = self._position, self._position + size
        if size < 0 or self._position > len(self._data):
            raise BrokenError(f"a field of {size} bytes")
        return self._data[begin : self._position]


def _encode_record(record: PlainRecord, base: int, first_timestamp: int) -> bytes:
    body = bytearray(b"\0")
    encode_varint(record.timestamp - first_timestamp, body.append)
    encode_varint(record.offset - base, body.append)
    for field in (record.key, record.value):
        _put(body, field)
    encode_varint(len(record.headers), body.append)
    for name, value in record.headers:
        _put(body, name.encode())
        _put(body, value)
    size = bytearray()
    encode_varint(len(body), size.append)
    return bytes(size + body)


def _put(body: bytearray, field: bytes | None) -> None:
    encode_varint(-1 if field is None else len(field), body.append)
    body += field or b""
