"""
Where an audit log begins and ends, kept beside its files: without it nothing tells that lines were cut off the end. Pure.

It is signed with a secret that is elsewhere. A stranger who can write both the log and its head, and has no secret, cannot make them fit.
"""

import hmac
import json

from dataclasses import asdict, dataclass
from typing import Final

from shared.access.audit_chain import BEGINNING

_MAC: Final = "mac"
_PURPOSE: Final = b"the head of an audit log\n"


@dataclass(frozen=True, slots=True)
class Head:
    """
    Where a log begins and ends.

    Attributes:
        first: Number of the oldest file that is kept.
        prev: What that file's first line has to name.
        last: Number of the file that is written to.
        line: How many lines that one has.
        acts: How many lines were written at all.
        digest: Of the last line.
    """

    first: int = 1
    prev: str = BEGINNING
    last: int = 1
    line: int = 0
    acts: int = 0
    digest: str = BEGINNING


def signed(head: Head, secret: bytes) -> bytes:
    """Return a head as its file has it."""
    fields = asdict(head)
    return json.dumps({**fields, _MAC: _mac(fields, secret)}).encode() + b"\n"


def read_head(text: bytes, secret: bytes) -> Head:
    """
    Return what a file says.

    Raises:
        ValueError: It is no head, or was changed; the message says so.
    """
    try:
        fields = json.loads(text)
        mac = fields.pop(_MAC)
        head = Head(**fields)
        is_ours = hmac.compare_digest(mac, _mac(asdict(head), secret))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as exc:
        raise ValueError("it is not whole") from exc
    if not is_ours:
        raise ValueError("it was changed, or signed with another pepper")
    return head


def _mac(fields: dict[str, object], secret: bytes) -> str:
    text = json.dumps(fields, sort_keys=True).encode()
    return hmac.new(secret, _PURPOSE + text, "sha256").hexdigest()
