"""
Which records are the same: identities from the sender's bytes. Pure.

A retry is the same event, and two equal lines are two. The first of these that applies gives a record its id, a UUIDv8
(docs/decisions/0034):

1. the id that the sender gave the record, or the request's `Idempotency-Key` and the record's place in it;
2. where the record's own time is finer than a millisecond: its bytes, its group's, and which of its equals in the request it is;
3. else the whole request's bytes, and the record's place in it.

None of them depends on what is made of a record. So a retry is recognised also where a later version makes something else
of it, or where another gateway took it first.
"""

from hashlib import sha256
from typing import Final

from shared.ingest.receipt import Receipt

MAX_TOLD_APART: Final = 200_000
"""Of how many records of a request it is kept whether they have equals: a body may have millions that say nothing."""

_BYTES: Final = 16
_TOLD_APART_BY: Final = 16
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def digest(kind: bytes, *parts: bytes) -> bytes:
    """Return a hash of parts that tells them apart, however long each is."""
    return sha256(kind + b"".join([b"%d:%b" % (len(part), part) for part in parts])).digest()


def uuid8(of: bytes) -> str:
    """Return the UUIDv8 that has the first 122 bits of a hash."""
    return _written(of[:_BYTES].hex())


def _written(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


class Identities:
    """
    Gives the records of one request their ids.

    Args:
        receipt: Of the request.
        protocol: In which it was sent: no protocol's bytes are another's.

    Attributes:
        is_full: Whether the request has so many records that further ones are only known by their place.
    """

    def __init__(self, receipt: Receipt, protocol: str) -> None:
        self._whose = protocol.encode(), receipt.tenant.encode()
        path = receipt.path.encode()
        if receipt.key:
            self.is_keyed = True
            self._request = digest(b"key", *self._whose, path, receipt.key.encode())
        else:
            self.is_keyed = False
            self._request = digest(b"req", *self._whose, path, receipt.digest)
        self._salt = b"/" + receipt.salt if receipt.salt and not receipt.key else b""
        self._seen: dict[str, int] = {}
        self.is_full = False

    def of_id(self, scope: bytes, own_id: bytes) -> str:
        """Return the id of a record with one of its sender's."""
        return uuid8(digest(b"id", *self._whose, scope, own_id))

    def group(self, key: bytes) -> bytes:
        """Return what `of_record` needs to know of a group."""
        return digest(b"rec", *self._whose, key)

    def of_record(self, group: bytes, raw: bytes) -> str:
        """Return the id of a record with a fine time of its own."""
        found = sha256(group + raw).hexdigest()
        known = found[:_TOLD_APART_BY]
        before = self._seen.get(known)
        if before is None:
            self._seen[known] = 1
            self.is_full = len(self._seen) >= MAX_TOLD_APART
            return _written(found)
        self._seen[known] = before + 1
        return _written(sha256(b"%b%d" % (bytes.fromhex(found), before)).hexdigest())

    def of_place(self, index: int, *, is_timed: bool) -> str:
        """Return the id of a record that is only known by its place in the request."""
        return _written(sha256(b"%b%d%b" % (self._request, index, b"" if is_timed else self._salt)).hexdigest())
