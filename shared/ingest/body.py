"""
Request bodies, read within limits: what is larger is refused before it is held in memory.

A client may lie about Content-Length, send chunks without end, or send a kilobyte that unfolds into a gigabyte. So the
limit is counted on what arrives and, separately, on what comes out of the decompressor (`shared.ingest.codings`).
"""

import asyncio

from typing import Final

from fastapi import Request

from shared.ingest.codings import decoder, too_large
from shared.wire.problem import RequestTimeoutError, UnsupportedMediaTypeError

BODY_TIMEOUT_S: Final = 30.0
JSON_TYPES: Final = frozenset({"application/json", "application/x-json", "text/json"})
# What is meant is the same; nobody ever registered a name for it.
LINES_TYPES: Final = frozenset(
    f"{kind}/{prefix}{name}"
    for kind in ("application", "text")
    for prefix in ("", "x-")
    for name in ("ndjson", "jsonl", "jsonlines", "json-lines", "ndjson-stream", "json-stream")
) | {"application/stream+json", "application/x-json-stream"}

# A longer Content-Length is no number anybody means; the bytes that arrive are counted anyway.
_MAX_LENGTH_DIGITS: Final = 20
# Without what different systems put between letters and digits. All ASCII is UTF-8.
_UTF8: Final = frozenset({"utf8", "utf8mb4", "unicode11utf8", "usascii", "ascii"})


async def read_body(request: Request, limit: int) -> bytes:
    """
    Read the whole body, decompressed.

    Args:
        request: Its stream is read to the end, or to the limit.
        limit: Bytes allowed, on the wire and after decompression.

    Raises:
        PayloadTooLargeError: The body has more than `limit` bytes.
        UnsupportedMediaTypeError: The content coding is not one that `shared.ingest.codings` undoes.
        RequestTimeoutError: It did not arrive within `BODY_TIMEOUT_S`.
        BadRequestError: The compressed data is broken or cut off.
    """
    undo = decoder(",".join(request.headers.getlist("content-encoding")))
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < _MAX_LENGTH_DIGITS and int(declared) > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise RequestTimeoutError(f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds") from None
    body = b"".join(chunks)
    return body if undo is None else undo(body, limit)


def media_type(request: Request) -> str:
    """
    Return the body's media type without parameters, lower case, empty when the client sent none.

    Raises:
        UnsupportedMediaTypeError: A charset other than UTF-8 is declared.
    """
    kind, *parameters = request.headers.get("content-type", "").lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and "".join(filter(str.isalnum, value)) not in _UTF8:
            raise UnsupportedMediaTypeError(f"charset {value.strip()[:64]!r} is not supported; send UTF-8")
    return kind.strip()
