"""What is done with a shipper's request before and while its protocol reads it. Pure."""

import re

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Final

from shared.event.sealed import SealedEvent
from shared.ingest.body import decoder_of
from shared.ingest.codings import Decoder, Decompression, Hold, unsnappy
from shared.ingest.head import Head
from shared.ingest.protocol import Reading, Submission
from shared.ingest.routes import Route
from shared.ingest.turns import Step, Work
from shared.wire.problem import BadRequestError

_IN_PLACE_BYTES: Final = 64 * 1024
_MAX_NAME_CHARS: Final = 256
_MAX_LENGTH_DIGITS: Final = 20
# No block of snappy begins so: it would copy from before its beginning.
_OBJECT: Final = re.compile(rb"\{[\"\t\r\n}]")


def declared(head: Head, limit: int) -> int:
    """Return how long a client says that its body is, at most the limit; 0 if it does not say."""
    length = head.content_length
    if not length.isdigit():
        return 0
    return min(int(length), limit) if len(length) <= _MAX_LENGTH_DIGITS else limit


def named(head: Head) -> tuple[str, str]:
    """
    Return whose the request says to be, and the key that it gave itself.

    Raises:
        BadRequestError: One of them is too long.
    """
    tenant, key = head.tenant, head.first(b"idempotency-key").decode("latin-1")
    if len(tenant) > _MAX_NAME_CHARS or len(key) > _MAX_NAME_CHARS:
        raise BadRequestError(f"X-Scope-OrgID and Idempotency-Key may have {_MAX_NAME_CHARS} characters each")
    return tenant, key


def undoing(route: Route, head: Head) -> Decoder | None:
    """
    Return what makes of the bytes on the wire those of the protocol, None if they are the same.

    Raises:
        UnsupportedMediaTypeError: The content coding is not known.
    """
    undo = decoder_of(head)
    if not route.is_snappy(head):
        return undo
    return _unblock if undo is unsnappy or undo is None else partial(_undo_both, undo)


def _unblock(data: bytes, limit: int, hold: Hold) -> Decompression:
    """Undo a block of snappy, unless the body is a JSON object that was sent under another name."""
    return data if _OBJECT.match(data) else (yield from unsnappy(data, limit, hold))


def _undo_both(outer: Decoder, data: bytes, limit: int, hold: Hold) -> Decompression:
    block = yield from outer(data, limit, hold)
    whole = yield from _unblock(block, limit, lambda size: hold(len(block) + size))
    hold(len(whole))
    return whole


def digest(body: bytes) -> Work[bytes]:
    """Return a hash of a body."""
    if len(body) <= _IN_PLACE_BYTES:
        return sha256(body).digest()
    whole: bytes = yield lambda: sha256(body).digest()
    return whole


def next_portion(reading: Reading) -> Work[Submission | Sequence[SealedEvent]]:
    """Read on to the next portion, or to the end."""
    go: Callable[[Any], Step | Sequence[SealedEvent]] = reading.send
    value: Any = None
    while True:
        try:
            step = go(value)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if isinstance(step, Sequence):
            return step
        go = reading.send
        try:
            value = yield step
        except Exception as exc:  # noqa: BLE001 - the reading handles it, or fails of it
            go, value = reading.throw, exc
