"""
Request bodies, read within limits: what is larger is refused before it is held in memory.

A client may lie about Content-Length, send chunks without end, or send a kilobyte that unfolds into a gigabyte. So the
limit is counted on what arrives and, separately, on what comes out of the decompressor (`shared.ingest.codings`). How long
a body may take, and what is held of bodies that are not complete, is bounded below: by the server
(`shared.process.server`), for whatever is sent to it.
"""

from io import BytesIO
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from shared.ingest.codings import Decoder, decoder, hold_any, too_large
from shared.ingest.head import Head
from shared.ingest.turns import Turns

# A longer Content-Length is no number anybody means; the bytes that arrive are counted anyway.
_MAX_LENGTH_DIGITS: Final = 20


async def read_body(head: Head, receive: Receive, limit: int, turns: Turns | None) -> bytes:
    """
    Read the whole body, decompressed.

    Args:
        head: Says how long and how coded the body is.
        receive: Brings it; it is asked up to the end, or to the limit.
        limit: Bytes allowed, on the wire and after decompression.
        turns: Where it is decompressed; None leaves it as it arrives.

    Raises:
        PayloadTooLargeError: The body has more than `limit` bytes.
        UnsupportedMediaTypeError: The content coding is not one that `shared.ingest.codings` undoes.
        BadRequestError: The compressed data is broken or cut off.
        ClientDisconnect: The connection ended before the body did.
    """
    undo = decoder_of(head) if turns is not None and head.content_codings else None
    declared = head.content_length
    if len(declared) < _MAX_LENGTH_DIGITS and declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    body, more = await _next(receive)
    if len(body) > limit:
        raise too_large(limit)
    if more:
        # Joined as they come: a list of small chunks would take more memory than what is in them.
        joined = BytesIO()
        joined.write(body)
        while more:
            chunk, more = await _next(receive)
            joined.write(chunk)
            if joined.tell() > limit:
                raise too_large(limit)
        body = joined.getvalue()
    return body if undo is None or turns is None else await turns.run(undo(body, limit, hold_any))


def decoder_of(head: Head) -> Decoder | None:
    """
    Return what undoes the body's content coding, None if it has none.

    Raises:
        UnsupportedMediaTypeError: It is not one that `shared.ingest.codings` undoes.
    """
    codings = head.content_codings
    return decoder(b",".join(codings).decode("latin-1")) if codings else None


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)
