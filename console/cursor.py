"""
Where a search goes on: a text that a client gives back as it got it. Pure.

It holds the range in absolute times, so that `from=-15m` means the same on each page. It names the database and the filters that it
belongs to. There is no secret in it.
"""

import base64
import binascii
import struct

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from shared.wire.problem import BadRequestError, ProblemError

_PREFIX: Final = "c1."
_FORM: Final = struct.Struct(">8s8sqqqqqq?B")
_SUM_BYTES: Final = 4
_LONGEST: Final = 200


class GoneError(ProblemError):
    """What a cursor names is not there any more; a new search has to begin."""

    status = 410


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    A place in a search, and the search that it is of.

    Attributes:
        store: Eight bytes of the database's identity.
        fingerprint: Of the filters, the order and the range as it was written.
        begin: Of the range of event times, in microseconds since 1970.
        end: The same; no more in the range.
        low: Of what is walked: event times, or numbers of rows.
        high: The same; no more in it.
        at: Where the walk goes on: what is walked, and the number of the last row that was there; 0: a border between rows.
        back: Whether the walk goes to the previous page.
        width: Of the next slice.
    """

    store: bytes
    fingerprint: bytes
    begin: int
    end: int
    low: int
    high: int
    at: tuple[int, int]
    back: bool
    width: int

    def write(self) -> str:
        """Return the text for the client."""
        width = max(0, min(self.width.bit_length() - 1, 62))
        raw = _FORM.pack(
            self.store, self.fingerprint, self.begin, self.end, self.low, self.high, *self.at, self.back, width
        )
        return _PREFIX + base64.urlsafe_b64encode(raw + _checksum(raw)).rstrip(b"=").decode()


def read_cursor(text: str) -> Cursor:
    """
    Take a cursor apart.

    Raises:
        BadRequestError: It is none, or not all of one.
    """
    if text.startswith(_PREFIX) and len(text) <= _LONGEST and text.isascii():
        coded = text.removeprefix(_PREFIX)
        try:
            raw = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raw = b""
        body, checksum = raw[:-_SUM_BYTES], raw[-_SUM_BYTES:]
        if len(body) == _FORM.size and _checksum(body) == checksum:
            store, fingerprint, begin, end, low, high, major, minor, back, width = _FORM.unpack(body)
            return Cursor(store, fingerprint, begin, end, low, high, (major, minor), back, 1 << width)
    raise BadRequestError("cursor is not whole; give it back as it was in `next` or `prev`, or leave it out")


def _checksum(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=_SUM_BYTES).digest()
