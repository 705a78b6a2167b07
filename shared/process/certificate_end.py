"""
When a certificate ends. PURE.

The standard library tells it of the other end's certificate alone. So this reads the few fields of X.509 (RFC 5280, 4.1) before it, which
are in DER: a tag, a length, a content.
"""

import binascii
import re
import ssl

from datetime import UTC, datetime
from typing import Final

_FIRST: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_TIME: Final = 0x18
_LONG: Final = 0x80
# Of a certificate: its number, how it is signed, who made it. Then its times follow.
_BEFORE_TIMES: Final = 3
# RFC 5280: two digits from 50 on are of the century before.
_CENTURY: Final = 50


def end_of(pem: str) -> float:
    """
    Return when the first certificate of a file ends, in seconds since 1970.

    Raises:
        ValueError: There is none that can be read.
    """
    found = _FIRST.search(pem)
    if found is None:
        raise ValueError("no certificate in PEM")
    try:
        whole = ssl.PEM_cert_to_DER_cert(found[0])
        to_be_signed = _inside(_inside(whole))
        tag, _, rest = _next(to_be_signed)
        if tag != _VERSION:
            rest = to_be_signed
        for _ in range(_BEFORE_TIMES):
            _, _, rest = _next(rest)
        _, _, after_begin = _next(_inside(rest))
        tag, end, _ = _next(after_begin)
        return _time(tag, end.decode("ascii"))
    except (IndexError, UnicodeDecodeError, binascii.Error) as exc:
        raise ValueError(f"a certificate that cannot be read: {exc}") from exc


def _time(tag: int, text: str) -> float:
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= _CENTURY else "20") + text
    elif tag != _TIME:
        raise ValueError(f"a certificate that cannot be read: tag {tag} where its end should be")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _inside(der: bytes) -> bytes:
    tag, content, _ = _next(der)
    if tag != _SEQUENCE:
        raise ValueError(f"a certificate that cannot be read: tag {tag} in place of a sequence")
    return content


def _next(der: bytes) -> tuple[int, bytes, bytes]:
    """Return tag and content of the first element, and what follows it."""
    tag, length, at = der[0], der[1], 2
    if length & _LONG:
        at += length & ~_LONG
        length = int.from_bytes(der[2:at], "big")
    if len(der) < at + length:
        raise IndexError("it is cut")
    return tag, der[at : at + length], der[at + length :]
