"""What record batches are compressed with, undone within a limit: a kilobyte can be made of a gigabyte."""

import zlib

from collections.abc import Callable
from struct import Struct, error
from typing import Final

import cramjam

# A batch on the wire has a megabyte or two. What is ordinary text unfolds to ten or twenty times that.
UNFOLDED_MAX: Final = 64 * 1024 * 1024
_FIRST_ROOM: Final = 64 * 1024
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = 16
_SIZE: Final = Struct(">i")


class UnfoldError(Exception):
    """It cannot be unfolded."""


def unpack(codec: int, data: bytes) -> bytes:
    """
    Return what was compressed.

    Args:
        codec: As batches number them.
        data: What it made.

    Raises:
        UnfoldError: The codec is unknown, the data are nonsense to it, or there is too much in them.
    """
    unpacker = _UNPACK.get(codec)
    if unpacker is None:
        raise UnfoldError(f"compressed by codec {codec}, which Kafka does not define")
    try:
        return unpacker(data)
    except (cramjam.DecompressionError, zlib.error, error, ValueError) as exc:
        raise UnfoldError(f"cannot be decompressed: {exc}") from exc


def _gunzip(data: bytes) -> bytes:
    unfolded = b""
    while data:
        member = zlib.decompressobj(wbits=31)
        unfolded += member.decompress(data, UNFOLDED_MAX + 1 - len(unfolded))
        if len(unfolded) > UNFOLDED_MAX:
            raise _too_large()
        if not member.eof:
            raise UnfoldError("cannot be decompressed: it ends too early")
        data = member.unused_data
    return unfolded


def _unsnappy(data: bytes) -> bytes:
    if not data.startswith(_XERIAL):
        return _unsnappy_block(data, UNFOLDED_MAX)
    blocks: list[bytes] = []
    position, room = _XERIAL_HEADER, UNFOLDED_MAX
    while position < len(data):
        (size,) = _SIZE.unpack_from(data, position)
        position += 4
        if not 0 < size <= len(data) - position:
            raise UnfoldError(f"cannot be decompressed: a block of {size} bytes")
        blocks.append(_unsnappy_block(data[position : position + size], room))
        room -= len(blocks[-1])
        position += size
    return b"".join(blocks)


def _unsnappy_block(data: bytes, room: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(data) > room:
        raise _too_large()
    return bytes(cramjam.snappy.decompress_raw(data))


def _into_room(decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes], bytes]:
    """Make a function that gives the decompressor as much room as it needs, and never more than there is."""

    def unpack(data: bytes) -> bytes:
        room = min(UNFOLDED_MAX, max(_FIRST_ROOM, 8 * len(data)))
        while True:
            unfolded = bytearray(room)
            try:
                return bytes(memoryview(unfolded)[: decompress_into(data, unfolded)])
            except cramjam.DecompressionError as exc:
                # There is no other way to tell a want of room from nonsense.
                if "whole buffer" not in str(exc):
                    raise
                if room == UNFOLDED_MAX:
                    raise _too_large() from None
            room = min(UNFOLDED_MAX, 4 * room)

    return unpack


def _too_large() -> UnfoldError:
    return UnfoldError(f"unfolds to more than {UNFOLDED_MAX} bytes")


_UNPACK: Final[dict[int, Callable[[bytes], bytes]]] = {
    1: _gunzip,
    2: _unsnappy,
    3: _into_room(cramjam.lz4.decompress_into),
    4: _into_room(cramjam.zstd.decompress_into),
}
