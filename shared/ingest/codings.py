"""
Content codings, decompressed within a limit: a larger result is refused before it is held in memory.

* gzip, also in several members, and padded with zeros
* deflate, with the zlib frame that HTTP asks for, and without it, as many clients send it
* zstd, also in several frames

Decompression is a generator that yields wherever it may be interrupted (`shared.ingest.turns`).
"""

import zlib

from collections.abc import Callable, Generator, Mapping
from typing import Final

import cramjam

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


Decompression = Generator[None, None, bytes]


def decoder(header: str) -> Callable[[bytes, int], Decompression] | None:
    """
    Return what undoes the coding that a Content-Encoding header names, None where nothing is to be undone.

    It takes the data and the limit in bytes, and raises `PayloadTooLargeError` or `BadRequestError`.

    Raises:
        UnsupportedMediaTypeError: The coding is not known, or there is more than one.
    """
    codings = [name for part in header.lower().split(",") if (name := part.strip()) not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _DECODERS:
        raise UnsupportedMediaTypeError(
            f"content coding {header.strip()[:64]!r} is not supported; send gzip, deflate, zstd or no coding",
            headers={"Accept-Encoding": "gzip, deflate, zstd"},
        )
    return _DECODERS[codings[0]]


def gunzip(data: bytes, limit: int) -> Decompression:
    """
    Decompress gzip `data`, which may have several members, and zeros behind them.

    Raises:
        PayloadTooLargeError: It unfolds to more than `limit` bytes; decompression stops there.
        BadRequestError: It is no gzip, or it is cut off.
    """
    out = bytearray()
    rest = memoryview(data)
    for _ in range(_MAX_GZIP_MEMBERS):
        rest = yield from _inflate("gzip", _GZIP_HEADER, rest, out, limit)
        if _padding(rest):
            return bytes(out)
    raise BadRequestError(f"the gzip body has more than {_MAX_GZIP_MEMBERS} members")


def undeflate(data: bytes, limit: int) -> Decompression:
    """
    Decompress `data` of the coding deflate, framed or not.

    Raises:
        PayloadTooLargeError: As `gunzip`.
        BadRequestError: It is neither, or it is cut off.
    """
    framed = len(data) > 1 and data[0] & 0x0F == _ZLIB_METHOD and (data[0] << 8 | data[1]) % _ZLIB_CHECK == 0
    out = bytearray()
    rest = yield from _inflate("deflate", zlib.MAX_WBITS if framed else -zlib.MAX_WBITS, memoryview(data), out, limit)
    if not _padding(rest):
        raise BadRequestError("the body is not valid deflate: something follows its end")
    return bytes(out)


def unzstd(data: bytes, limit: int) -> Decompression:
    """
    Decompress zstd `data`, which may have several frames.

    Raises:
        PayloadTooLargeError: As `gunzip`.
        BadRequestError: It is no zstd, or it is cut off.
    """
    if not data:
        raise BadRequestError("the zstd body is cut off")
    out = bytearray(limit + 1)
    yield
    try:
        size = cramjam.zstd.decompress_into(data, out)
    except cramjam.DecompressionError as exc:
        if str(exc) == _BUFFER_FULL:
            raise too_large(limit) from None
        raise BadRequestError(f"the body is not valid zstd: {exc}") from None
    if size > limit:
        raise too_large(limit)
    yield
    return bytes(memoryview(out)[:size])


def too_large(limit: int) -> PayloadTooLargeError:
    """Return the error for a body of more than `limit` bytes."""
    return PayloadTooLargeError(f"the body may have at most {limit} bytes, before and after decompression")


def _padding(rest: memoryview) -> bool:
    # Looked at as a whole only where a member cannot begin, so at most once.
    return not rest or (rest[0] == 0 and not bytes(rest).strip(b"\0"))


def _inflate(name: str, window: int, data: memoryview, out: bytearray, limit: int) -> Generator[None, None, memoryview]:
    """Append what one stream unfolds to, and return what follows it."""
    stream = zlib.decompressobj(window)
    while not stream.eof:
        if not data:
            raise BadRequestError(f"the {name} body is cut off")
        piece = data[:_PIECE_BYTES]
        unfolded: memoryview | bytes = piece
        full = True
        while full and not stream.eof:
            most = min(limit - len(out) + 1, _OUTPUT_BYTES)
            try:
                some = stream.decompress(unfolded, most)
            except zlib.error as exc:
                raise BadRequestError(f"the body is not valid {name}: {exc}") from None
            out += some
            if len(out) > limit:
                raise too_large(limit)
            # Then there may be more, also where no input is left.
            full = len(some) == most
            unfolded = stream.unconsumed_tail
            yield
        data = data[len(piece) - len(stream.unused_data) :]
    return data


_DECODERS: Final[Mapping[str, Callable[[bytes, int], Decompression]]] = {
    "gzip": gunzip,
    "x-gzip": gunzip,
    "deflate": undeflate,
    "zstd": unzstd,
}
