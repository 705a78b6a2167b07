"""
Content codings, decompressed within a limit: a larger result is refused before it is held in memory.

* gzip, also in several members, and padded with zeros
* deflate, with the zlib frame that HTTP asks for, and without it, as many clients send it; OpenTelemetry's collector says zlib
* zstd, also in several frames
* snappy, as one raw block, and in the framed format
* lz4, in the framed format, also in several frames

Decompression is a generator that yields wherever it may be interrupted (`shared.ingest.turns`).
"""

import zlib

from collections.abc import Callable, Generator, Mapping
from functools import partial
from io import BytesIO
from typing import Any, Final

import cramjam

from shared.ingest.turns import Step
from shared.wire.problem import BadRequestError, PayloadTooLargeError, UnsupportedMediaTypeError

_GZIP_HEADER: Final = zlib.MAX_WBITS | 16
# The decompressor copies whatever follows a member. Fed piece by piece, a body of 400,000 empty members (8 MiB) costs
# megabytes of copying; in one go it would be terabytes. The second limit bounds what each member costs by itself.
_PIECE_BYTES: Final = 16 * 1024
# What a piece unfolds to is taken in pieces, too.
_OUTPUT_BYTES: Final = 256 * 1024
_MAX_GZIP_MEMBERS: Final = 10_000
_ZLIB_METHOD: Final = 8
_ZLIB_CHECK: Final = 31
# What the library says when the buffer that it may fill is full.
_BUFFER_FULL: Final = "failed to write whole buffer"
# The room for a result whose size is not known grows by this.
_GROWTH: Final = 4
# What is larger is undone in a thread, which costs as much as some of these.
_IN_PLACE_BYTES: Final = 256 * 1024
_SNAPPY_FRAMED: Final = b"\xff\x06\x00\x00sNaPpY"
# A block's copies make at most 64 bytes of two; no block can make more, whatever it claims.
_SNAPPY_RATIO: Final = 32

# Some clients write their setting's word for no coding.
_NONE: Final = frozenset({"", "identity", "none"})

Hold = Callable[[int], None]
"""Told how many bytes a result takes so far, before it does; may raise."""

Decompression = Generator[Step, Any, bytes]
Decoder = Callable[[bytes, int, Hold], Decompression]


def hold_any(_: int) -> None:
    """Let a result be as large as it may."""


def decoder(header: str) -> Decoder | None:
    """
    Return what undoes the coding that a Content-Encoding header names, None where nothing is to be undone.

    It takes the data, the limit in bytes, and who is told of the bytes held. It raises `PayloadTooLargeError`,
    `BadRequestError`, and what that one raises.

    Raises:
        UnsupportedMediaTypeError: The coding is not known, or there is more than one.
    """
    codings = [name for part in header.lower().split(",") if (name := part.strip()) not in _NONE]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _DECODERS:
        raise UnsupportedMediaTypeError(
            f"content coding {header.strip()[:64]!r} is not supported; send gzip, deflate, zstd, snappy, lz4 or no coding",
            headers={"Accept-Encoding": "gzip, deflate, zstd, snappy, lz4"},
        )
    return _DECODERS[codings[0]]


def gunzip(data: bytes, limit: int, hold: Hold = hold_any) -> Decompression:
    """
    Decompress gzip `data`, which may have several members, and zeros behind them.

    Raises:
        PayloadTooLargeError: It unfolds to more than `limit` bytes; decompression stops there.
        BadRequestError: It is no gzip, or it is cut off.
    """
    out = BytesIO()
    rest = memoryview(data)
    for _ in range(_MAX_GZIP_MEMBERS):
        rest = yield from _inflate("gzip", _GZIP_HEADER, rest, out, limit=limit, hold=hold)
        if _padding(rest):
            return out.getvalue()
    raise BadRequestError(f"the gzip body has more than {_MAX_GZIP_MEMBERS} members")


def undeflate(data: bytes, limit: int, hold: Hold = hold_any) -> Decompression:
    """
    Decompress `data` of the coding deflate, framed or not.

    Raises:
        PayloadTooLargeError: As `gunzip`.
        BadRequestError: It is neither, or it is cut off.
    """
    framed = len(data) > 1 and data[0] & 0x0F == _ZLIB_METHOD and (data[0] << 8 | data[1]) % _ZLIB_CHECK == 0
    out = BytesIO()
    window = zlib.MAX_WBITS if framed else -zlib.MAX_WBITS
    rest = yield from _inflate("deflate", window, memoryview(data), out, limit=limit, hold=hold)
    if not _padding(rest):
        raise BadRequestError("the body is not valid deflate: something follows its end")
    return out.getvalue()


def unzstd(data: bytes, limit: int, hold: Hold = hold_any) -> Decompression:
    """
    Decompress zstd `data`, which may have several frames.

    Raises:
        PayloadTooLargeError: As `gunzip`.
        BadRequestError: It is no zstd, or it is cut off.
    """
    return (yield from _fill("zstd", cramjam.zstd.decompress_into, data, limit=limit, hold=hold))


def unsnappy(data: bytes, limit: int, hold: Hold = hold_any) -> Decompression:
    """
    Decompress snappy `data`: one raw block, or in the framed format.

    Raises:
        PayloadTooLargeError: As `gunzip`.
        BadRequestError: It is neither, or it is cut off.
    """
    if not data or data.startswith(_SNAPPY_FRAMED):
        return (yield from _fill("snappy", cramjam.snappy.decompress_into, data, limit=limit, hold=hold))
    try:
        size = cramjam.snappy.decompress_raw_len(data)
    except cramjam.DecompressionError as exc:
        raise BadRequestError(f"the body is not valid snappy: {exc}") from None
    if size > limit:
        raise too_large(limit)
    if size > _SNAPPY_RATIO * len(data):
        raise BadRequestError("the body is not valid snappy: it claims to be larger than it can be")
    return (yield from _fill("snappy", cramjam.snappy.decompress_raw_into, data, limit=limit, hold=hold, size=size))


def unlz4(data: bytes, limit: int, hold: Hold = hold_any) -> Decompression:
    """
    Decompress lz4 `data`, which may have several frames.

    Raises:
        PayloadTooLargeError: As `gunzip`.
        BadRequestError: It is no lz4, or it is cut off.
    """
    return (yield from _fill("lz4", cramjam.lz4.decompress_into, data, limit=limit, hold=hold))


def too_large(limit: int) -> PayloadTooLargeError:
    """Return the error for a body of more than `limit` bytes."""
    return PayloadTooLargeError(f"the body may have at most {limit} bytes, before and after decompression")


def _padding(rest: memoryview) -> bool:
    # Looked at as a whole only where a member cannot begin, so at most once.
    return not rest or (rest[0] == 0 and not bytes(rest).strip(b"\0"))


def _fill(
    name: str, undo: Callable[[bytes, bytearray], int], data: bytes, *, limit: int, hold: Hold, size: int | None = None
) -> Decompression:
    """Undo a coding whose library wants all of its input, and the room for all of its output."""
    if not data:
        raise BadRequestError(f"the {name} body is cut off")
    room = min(limit, _GROWTH * len(data)) if size is None else size
    while True:
        hold(room)
        # One byte more: a result that is too large fills it.
        out = bytearray(room + 1)
        try:
            if max(len(data), room) <= _IN_PLACE_BYTES:
                yield None
                length = undo(data, out)
            else:
                length = yield partial(undo, data, out)
        except cramjam.DecompressionError as exc:
            if str(exc) != _BUFFER_FULL or size is not None:
                raise BadRequestError(f"the body is not valid {name}: {exc}") from None
            length = room + 1
        if length <= room:
            break
        if size is not None:
            raise BadRequestError(f"the body is not valid {name}: it is longer than it claims to be")
        if room == limit:
            raise too_large(limit)
        del out
        room = min(limit, _GROWTH * room)
    hold(room + length)
    whole = bytes(memoryview(out)[:length])
    del out
    hold(length)
    return whole


def _inflate(
    name: str, window: int, data: memoryview, out: BytesIO, *, limit: int, hold: Hold
) -> Generator[Step, Any, memoryview]:
    """Append what one stream unfolds to, and return what follows it."""
    stream = zlib.decompressobj(window)
    while not stream.eof:
        if not data:
            raise BadRequestError(f"the {name} body is cut off")
        piece = data[:_PIECE_BYTES]
        unfolded: memoryview | bytes = piece
        full = True
        while full and not stream.eof:
            most = min(limit - out.tell() + 1, _OUTPUT_BYTES)
            try:
                some = stream.decompress(unfolded, most)
            except zlib.error as exc:
                raise BadRequestError(f"the body is not valid {name}: {exc}") from None
            if out.tell() + len(some) > limit:
                raise too_large(limit)
            hold(out.tell() + len(some))
            out.write(some)
            # Then there may be more, also where no input is left.
            full = len(some) == most
            unfolded = stream.unconsumed_tail
            yield None
        data = data[len(piece) - len(stream.unused_data) :]
    return data


_DECODERS: Final[Mapping[str, Decoder]] = {
    "gzip": gunzip,
    "x-gzip": gunzip,
    "deflate": undeflate,
    "zlib": undeflate,
    "zstd": unzstd,
    "snappy": unsnappy,
    "x-snappy-framed": unsnappy,
    "lz4": unlz4,
}
