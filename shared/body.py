"""
Request bodies, read within limits: what is larger is refused before it is held in memory.

A client may lie about Content-Length, send chunks without end, or send a kilobyte of gzip that unfolds into a gigabyte.
So the limit is counted on what arrives and, separately, on what comes out of the decompressor.
"""

import asyncio
import zlib

from typing import Final

from fastapi import Request

from shared.problem import BadRequestError, PayloadTooLargeError, RequestTimeoutError, UnsupportedMediaTypeError

BODY_TIMEOUT_S: Final = 30.0

_GZIP_HEADER: Final = zlib.MAX_WBITS | 16
# The decompressor copies whatever follows a member. Fed piece by piece, a body of 400,000 empty members (8 MiB) costs
# megabytes of copying, in one go it would be terabytes; and there is a limit to what a member costs by itself.
_GZIP_PIECE_BYTES: Final = 16 * 1024
_MAX_GZIP_MEMBERS: Final = 10_000
# A longer Content-Length is no number anybody means; the bytes that arrive are counted anyway.
_MAX_LENGTH_DIGITS: Final = 20


async def read_body(request: Request, limit: int) -> bytes:
    """
    Read the whole body, decompressed.

    Args:
        request: Its stream is read to the end, or to the limit.
        limit: Bytes allowed, on the wire and after decompression.

    Raises:
        PayloadTooLargeError: The body has more than `limit` bytes.
        UnsupportedMediaTypeError: The content coding is neither absent, identity nor gzip.
        RequestTimeoutError: It did not arrive within `BODY_TIMEOUT_S`.
        BadRequestError: The gzip data is broken or cut off.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip"):
        raise UnsupportedMediaTypeError(
            f"content coding {coding[:64]!r} is not supported; send gzip or no coding",
            headers={"Accept-Encoding": "gzip"},
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < _MAX_LENGTH_DIGITS and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise RequestTimeoutError(f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds") from None
    body = b"".join(chunks)
    return gunzip(body, limit) if coding == "gzip" else body


def gunzip(data: bytes, limit: int) -> bytes:
    """
    Decompress gzip `data`, which may have several members.

    Raises:
        PayloadTooLargeError: It unfolds to more than `limit` bytes; decompression stops there.
        BadRequestError: It is no gzip, or it is cut off.
    """
    out = bytearray()
    rest = memoryview(data)
    for _ in range(_MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(_GZIP_HEADER)
        while not member.eof:
            if not rest:
                raise BadRequestError("the gzip body is cut off")
            piece = rest[:_GZIP_PIECE_BYTES]
            try:
                out += member.decompress(piece, limit - len(out) + 1)
            except zlib.error as exc:
                raise BadRequestError(f"the body is not valid gzip: {exc}") from None
            if len(out) > limit:
                raise _too_large(limit)
            rest = rest[len(piece) - len(member.unused_data) :]
        if not rest:
            return bytes(out)
    raise BadRequestError(f"the gzip body has more than {_MAX_GZIP_MEMBERS} members")


def media_type(request: Request) -> str:
    """
    Return the body's media type without parameters, lower case, empty when the client sent none.

    Raises:
        UnsupportedMediaTypeError: A charset other than UTF-8 is declared.
    """
    kind, *parameters = request.headers.get("content-type", "").lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('" ') not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaTypeError(f"charset {value[:64]!r} is not supported; send UTF-8")
    return kind.strip()


def _too_large(limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"the body may have at most {limit} bytes, before and after decompression")
