"""
Record batches as they are on the wire: found out before the client library unfolds them, and put right where it would fail.

The library reads batches well and fast, but it gives up a whole answer for one record it cannot read, and it unfolds what is
compressed however large it becomes. So each answer passes through here first:

* `is_plain` looks at nothing but the batches' headers. Nearly always that is all.
* `unfold` turns compressed batches into uncompressed ones, within a limit.
* `unfold` with `thorough` reads every record, for an answer that the library has failed on, and leaves nothing in it that
  could make it fail again: a header's name that is no UTF-8 is put right, whatever else cannot be read becomes an empty record
  at its offset, and comes back as `Unreadable`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct, error
from typing import Any, Final, NamedTuple

from aiokafka.record.util import calc_crc32c, decode_varint, encode_varint

from consumer.adapters.kafka_codecs import UnfoldError, unpack

# Base offset, length, leader's epoch, magic, CRC, attributes, last offset delta, first and newest timestamp, producer's id and
# epoch, first sequence, number of records.
_HEADER: Final = Struct(">qiibIhiqqqhii")
_PREFIX: Final = Struct(">qiibIh")
_LOG_OVERHEAD: Final = 12  # base offset and length, which the length does not count
_LEAST_LENGTH: Final = _HEADER.size - _LOG_OVERHEAD
_AFTER_CRC: Final = 21
_FORMAT: Final = 2
_CODECS: Final = 0x07
_APPEND_TIME: Final = 0x08
_CONTROL: Final = 0x20
_BASE: Final = Struct(">q")
_BASE_AND_LENGTH: Final = Struct(">qi")


class _BrokenError(Exception):
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


@dataclass(frozen=True, slots=True)
class _Batch:
    raw: bytes
    base: int
    attributes: int
    last_delta: int
    first_timestamp: int
    newest_timestamp: int
    count: int

    @property
    def last(self) -> int:
        return self.base + self.last_delta


def is_plain(data: bytes) -> bool:
    """Tell whether the library can be given this as far as the batches' headers show."""
    position, end = 0, len(data)
    while position + _HEADER.size <= end:
        _, length, _, magic, _, attributes = _PREFIX.unpack_from(data, position)
        if length < _LEAST_LENGTH or magic != _FORMAT or attributes & _CODECS:
            return False
        position += _LOG_OVERHEAD + length
    return True


def unfold(data: bytes, position: int, end: int, *, thorough: bool) -> tuple[bytes, list[Unreadable]]:
    """
    Return the same records in batches that the library can read, and what cannot be read.

    Args:
        data: Batches, the last of which may be cut off.
        position: The offset that was asked for; what lies before is of no interest.
        end: How far the log reaches: damaged bytes may name any offset, and to believe them would be to skip what is there.
        thorough: Whether every record is to be looked at.
    """
    good: list[bytes] = []
    bad: list[Unreadable] = []
    for raw, base_behind in _split(data):
        following = base_behind if base_behind is not None and position < base_behind <= end else None
        batch = _batch(raw)
        if batch is None:
            found: _Batch | Unreadable = _foreign(raw, position, following)
        else:
            found = _checked(batch, position, end, following)
        if isinstance(found, _Batch):
            if found.last < position:
                continue
            try:
                good.append(_unfolded(found, bad, thorough=thorough))
            except (UnfoldError, _BrokenError) as exc:
                found = Unreadable(max(position, found.base), found.last, found.newest_timestamp, str(exc), raw)
        if isinstance(found, Unreadable):
            bad.append(found)
            good.append(placeholder(found))
        position = max(position, found.offset + 1 if isinstance(found, Unreadable) else found.last + 1)
    return b"".join(good), bad


def read(data: bytes) -> Iterator[PlainRecord]:
    """Read the records that can be read."""
    for raw, _ in _split(data):
        batch = _batch(raw)
        if batch is None or batch.attributes & _CONTROL:
            continue
        try:
            records = _records(batch, _content(batch))
        except (UnfoldError, _BrokenError):
            continue
        yield from (record for record in records if isinstance(record, PlainRecord))


def mark_base(data: bytes) -> int | None:
    """Return the offset of the first batch if it is one of Kafka's own, which ends a transaction; None for any other."""
    batch = _batch(data)
    return batch.base if batch is not None and batch.attributes & _CONTROL else None


def encode(records: Sequence[PlainRecord], *, base: int, last: int, attributes: int = 0) -> bytes:
    """Make an uncompressed batch; its records' offsets lie between `base` and `last`."""
    first = records[0].timestamp if records else -1
    newest = max((record.timestamp for record in records), default=-1)
    content = b"".join(_encode_record(record, base, first) for record in records)
    return _seal(base, attributes, last - base, first, newest, len(records), content)


def placeholder(unreadable: Unreadable) -> bytes:
    """Make a batch of one empty record that stands where something cannot be read."""
    offset = unreadable.offset
    return encode([PlainRecord(offset, unreadable.timestamp, None, None, ())], base=offset, last=offset)


def _split(data: bytes) -> Iterator[tuple[bytes, int | None]]:
    """Return the batches that are whole, each with the base offset of the one behind it, if there is one."""
    position, end = 0, len(data)
    while position + _LOG_OVERHEAD <= end:
        _, length = _BASE_AND_LENGTH.unpack_from(data, position)
        if length <= 0:
            # Where the next one begins nobody knows. What comes before it is read first; then this is all there is.
            if position == 0:
                yield data, None
            return
        following = position + _LOG_OVERHEAD + length
        if following > end:
            return
        base = _BASE.unpack_from(data, following)[0] if following + _LOG_OVERHEAD <= end else None
        yield data[position:following], base
        position = following


def _batch(raw: bytes) -> _Batch | None:
    try:
        base, _, _, magic, _, attributes, last_delta, first, newest, _, _, _, count = _HEADER.unpack_from(raw)
    except error:
        return None
    return _Batch(raw, base, attributes, last_delta, first, newest, count) if magic == _FORMAT else None


def _foreign(raw: bytes, position: int, following: int | None) -> Unreadable:
    last = position if following is None else max(position, following - 1)
    magic = raw[16] if len(raw) > 16 else None  # noqa: PLR2004 - where every format has it
    return Unreadable(position, last, -1, f"a batch of format {magic}, which nobody here reads", raw)


def _checked(batch: _Batch, position: int, end: int, following: int | None) -> _Batch | Unreadable:
    _, _, _, _, crc, _ = _PREFIX.unpack_from(batch.raw)
    # Where a batch begins no checksum covers.
    is_possible = batch.last_delta >= 0 and batch.base >= 0 and batch.last < end
    if is_possible and calc_crc32c(batch.raw[_AFTER_CRC:]) == crc:
        return batch
    first = max(position, batch.base) if is_possible else position
    # The next batch tells where a damaged one ends. Without a next one two of its own numbers have to agree, which one wrong
    # byte cannot make them do; else it counts as one record, and Kafka is asked for what follows.
    agrees = is_possible and batch.count == batch.last_delta + 1
    last = following - 1 if following is not None else batch.last if agrees else first
    detail = (
        "a damaged batch: its checksum is wrong" if is_possible else "a damaged batch: its offsets are none of this log"
    )
    return Unreadable(first, max(first, last), batch.newest_timestamp, detail, batch.raw)


def _unfolded(batch: _Batch, bad: list[Unreadable], *, thorough: bool) -> bytes:
    compressed = batch.attributes & _CODECS
    if batch.attributes & _CONTROL or not (compressed or thorough):
        return batch.raw
    content = _content(batch)
    attributes = batch.attributes & ~_CODECS
    if not thorough:
        return _seal(
            batch.base,
            attributes,
            batch.last_delta,
            batch.first_timestamp,
            batch.newest_timestamp,
            batch.count,
            content,
        )
    entries = _records(batch, content)
    bad += (entry for entry in entries if isinstance(entry, Unreadable))
    records = [
        entry if isinstance(entry, PlainRecord) else PlainRecord(entry.offset, entry.timestamp, None, None, ())
        for entry in entries
    ]
    return encode(records, base=batch.base, last=batch.last, attributes=attributes)


def _content(batch: _Batch) -> bytes:
    """Return the records' bytes, uncompressed."""
    data = batch.raw[_HEADER.size :]
    codec = batch.attributes & _CODECS
    return unpack(codec, data) if codec else data


def _records(batch: _Batch, content: bytes) -> list[PlainRecord | Unreadable]:
    entries: list[PlainRecord | Unreadable] = []
    position = 0
    for _ in range(batch.count):
        entry, position = _record(batch, content, position)
        if not batch.base <= entry.offset <= batch.last or (entries and entries[-1].offset >= entry.offset):
            raise _BrokenError("its records are in no order")
        entries.append(entry)
    if position != len(content):
        raise _BrokenError("it holds more than its records")
    return entries


def _record(batch: _Batch, content: bytes, position: int) -> tuple[PlainRecord | Unreadable, int]:
    try:
        length, begin = decode_varint(content, position)
        end = begin + length
        if length <= 0 or end > len(content):
            raise _BrokenError(f"a record of {length} bytes does not fit into it")
        delta_ms, at = decode_varint(content, begin + 1)
        offset_delta, at = decode_varint(content, at)
    except (IndexError, ValueError) as exc:
        raise _BrokenError(f"a record cannot be read: {exc}") from exc
    timestamp = batch.newest_timestamp if batch.attributes & _APPEND_TIME else batch.first_timestamp + delta_ms
    offset = batch.base + offset_delta
    body = _Body(content[:end], at)
    try:
        key, value = body.nullable(), body.nullable()
        headers = [(body.text(), body.nullable()) for _ in range(body.count())]
        body.is_read()
    except (IndexError, ValueError, _BrokenError) as exc:
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
            raise _BrokenError(f"{number} headers")
        return number

    def is_read(self) -> None:
        if self._position != len(self._data):
            raise _BrokenError(f"{len(self._data) - self._position} bytes too many")

    def _number(self) -> int:
        number, self._position = decode_varint(self._data, self._position)
        return int(number)

    def _take(self, size: int) -> bytes:
        begin, self._position = self._position, self._position + size
        if size < 0 or self._position > len(self._data):
            raise _BrokenError(f"a field of {size} bytes")
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


def _seal(*header: Any) -> bytes:
    base, attributes, last_delta, first, newest, count, content = header
    sealed = bytearray(
        _HEADER.pack(
            base, _LEAST_LENGTH + len(content), -1, _FORMAT, 0, attributes, last_delta, first, newest, -1, -1, -1, count
        )
    )
    sealed += content
    sealed[17:_AFTER_CRC] = calc_crc32c(bytes(sealed[_AFTER_CRC:])).to_bytes(4, "big")
    return bytes(sealed)
