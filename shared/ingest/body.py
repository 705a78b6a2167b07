"""
Request bodies, read within limits: what is larger is refused before it is held in memory.

A client may lie about Content-Length, send chunks without end, or send a kilobyte that unfolds into a gigabyte. So the
limit is counted on what arrives and, separately, on what comes out of the decompressor (`shared.ingest.codings`).
"""

import asyncio

from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from shared.ingest.codings import decoder, too_large
from shared.ingest.head import Head
from shared.wire.problem import RequestTimeoutError

BODY_TIMEOUT_S: Final = 30.0

# A longer Content-Length is no number anybody means; the bytes that arrive are counted anyway.
_MAX_LENGTH_DIGITS: Final = 20


async def read_body(head: Head, receive: Receive, limit: int) -> bytes:
    """
    Read the whole body, decompressed.

    Args:
        head: Says how long and how coded the body is.
        receive: Brings it; it is asked up to the end, or to the limit.
        limit: Bytes allowed, on the wire and after decompression.

    Raises:
        PayloadTooLargeError: The body has more than `limit` bytes.
        UnsupportedMediaTypeError: The content coding is not one that `shared.ingest.codings` undoes.
        RequestTimeoutError: It did not arrive within `BODY_TIMEOUT_S`.
        BadRequestError: The compressed data is broken or cut off.
        ClientDisconnect: The connection ended before the body did.
    """
    codings = head.content_codings
    undo = decoder(b",".join(codings).decode("latin-1")) if codings else None
    declared = head.content_length
    if len(declared) < _MAX_LENGTH_DIGITS and declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    more = True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise RequestTimeoutError(f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds") from None
    body = b"".join(chunks)
    return body if undo is None else undo(body, limit)
