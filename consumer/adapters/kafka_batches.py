"""
Record batches as they are on the wire: their headers, where each ends, and one made anew.

`is_plain` looks at nothing but the headers. Nearly always it finds that the client library can read an answer as it is;
`kafka_unfold` puts the others right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct, error
from typing import Final

from aiokafka.record.util import calc_crc32c

from consumer.adapters.kafka_codecs import unpack

# Base offset, length, leader's epoch, magic, CRC, attributes, last offset delta, first and newest timestamp, producer's id and
# epoch, first sequence, number of records.
_HEADER: Final = Struct(">qiibIhiqqqhii")
_PREFIX: Final = Struct(">qiibIh")
_LOG_OVERHEAD: Final = 12  # base offset and length, which the length does not count
_LEAST_LENGTH: Final = _HEADER.size - _LOG_OVERHEAD
_AFTER_CRC: Final = 21
_FORMAT: Final = 2
_BASE: Final = Struct(">q")
_BASE_AND_LENGTH: Final = Struct(">qi")
# Bits of a batch's attributes: the codec, whether times are the broker's, whether it is one of Kafka's own.
CODECS: Final = 0x07
APPEND_TIME: Final = 0x08
CONTROL: Final = 0x20


@dataclass(frozen=True, slots=True)
class Batch:
    """
    A batch, and what its header says.

    Attributes:
        raw: All of its bytes.
        base: Its first offset.
        attributes: Bits; see above.
        crc: Checksum of what follows it.
        last_delta: Its last offset, from the first.
        first_timestamp: Milliseconds since 1970.
        newest_timestamp: Likewise.
        count: Its number of records.
    """

    raw: bytes
    base: int
    attributes: int
    crc: int
    last_delta: int
    first_timestamp: int
    newest_timestamp: int
    count: int

    @property
    def last(self) -> int:
        """Its last offset."""
        return self.base + self.last_delta

    @property
    def is_whole(self) -> bool:
        """Whether the checksum is right; it covers all but where the batch begins."""
        return bool(calc_crc32c(self.raw[_AFTER_CRC:]) == self.crc)


def is_plain(data: bytes) -> bool:
    """Tell whether the library can be given this as far as the batches' headers show."""
    position, end = 0, len(data)
    while position + _HEADER.size <= end:
        _, length, _, magic, _, attributes = _PREFIX.unpack_from(data, position)
        if length < _LEAST_LENGTH or magic != _FORMAT or attributes & CODECS:
            return False
        position += _LOG_OVERHEAD + length
    return True


def mark_base(data: bytes) -> int | None:
    """Return the offset of the first batch if it is one of Kafka's own, which ends a transaction; None for any other."""
    batch = parse(data)
    return batch.base if batch is not None and batch.attributes & CONTROL else None


def split(data: bytes) -> Iterator[tuple[bytes, int | None]]:
    """Return the batches that are whole, each with the base offset of the one behind it, if there is one."""
    position, end = 0, len(data)
    while position + _LOG_OVERHEAD <= end:
        _, length = _BASE_AND_LENGTH.unpack_from(data, position)
        if length <= 0:
            # Where the next one begins is unknown. What comes before it is read first; then this is all there is.
            if position == 0:
                yield data, None
            return
        following = position + _LOG_OVERHEAD + length
        if following > end:
            return
        base = _BASE.unpack_from(data, following)[0] if following + _LOG_OVERHEAD <= end else None
        yield data[position:following], base
        position = following


def parse(raw: bytes) -> Batch | None:
    """Return what the header of a batch says, None if it has another format."""
    try:
        base, _, _, magic, crc, attributes, last_delta, first, newest, _, _, _, count = _HEADER.unpack_from(raw)
    except error:
        return None
    return Batch(raw, base, attributes, crc, last_delta, first, newest, count) if magic == _FORMAT else None


def content_of(batch: Batch) -> bytes:
    """
    Return the bytes of a batch's records, uncompressed.

    Raises:
        UnfoldError: They cannot be decompressed.
    """
    data = batch.raw[_HEADER.size :]
    codec = batch.attributes & CODECS
    return unpack(codec, data) if codec else data


def seal(header: Batch, content: bytes) -> bytes:
    """
    Make an uncompressed batch.

    Args:
        header: What its header says; codec and checksum follow from the content.
        content: The bytes of its records.
    """
    sealed = bytearray(
        _HEADER.pack(
            header.base,
            _LEAST_LENGTH + len(content),
            -1,
            _FORMAT,
            0,
            header.attributes & ~CODECS,
            header.last_delta,
            header.first_timestamp,
            header.newest_timestamp,
            -1,
            -1,
            -1,
            header.count,
        )
    )
    sealed += content
    sealed[17:_AFTER_CRC] = calc_crc32c(bytes(sealed[_AFTER_CRC:])).to_bytes(4, "big")
    return bytes(sealed)
