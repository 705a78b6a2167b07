r"""
Label sets as Prometheus writes them, `{app="checkout", pod="web-1"}`. Pure.

Values are quoted as in Go: `"…"` with escapes, `'…'` likewise, and backquotes without any. A name may be quoted, too. What is
certain is read although it is sloppy: unquoted values, blanks, a missing brace, an escape that Go does not know, quotes that
are not escaped. What has no names and values at all is no label set.
"""

import re

from typing import Final

REPLACEMENT: Final = "�"

_BLANKS: Final = rb"[ \t\r\n]*+"
_QUOTED: Final = rb'"((?:[^"\\]++|\\.)*+)"' + rb"|'((?:[^'\\]++|\\.)*+)'" + rb"|`([^`]*+)`"
_PAIR: Final = re.compile(
    _BLANKS
    + rb"(?:"
    + _QUOTED
    + rb"|([^\s={}\"'`,!~]++))"
    + _BLANKS
    + rb"="
    + _BLANKS
    + rb"(?:"
    + _QUOTED
    + rb"|([^\s={}\"'`,!~]*+))"
    + _BLANKS
    + rb"(,|\Z)",
    re.DOTALL,
)
# A client that does not escape quotes: a value ends where another label begins, or nothing follows.
_UNESCAPED: Final = re.compile(rb'[ ]*+([\w.]++)="(.*?)"(?=[ ]*+(?:,[ ]*+[\w.]++="|,?[ ]*+\Z))[ ]*+,?', re.DOTALL)
_ESCAPE: Final = re.compile(
    rb"""\\(?:([abfnrtv\\"'])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-3][0-7]{2}))"""
)
_LETTERS: Final = dict(zip(b"abfnrtv\\\"'", b"\a\b\f\n\r\t\v\\\"'", strict=True))
_BACKSLASH: Final = b"\\"
_SURROGATES: Final = range(0xD800, 0xE000)
_LAST_CHARACTER: Final = 0x10FFFF


def parse_labels(text: bytes) -> dict[bytes, bytes] | None:
    """
    Read a label set; of two labels with one name the last one counts.

    Returns:
        Values by name. Both may be no UTF-8, as whatever is written here. None if it is no label set.
    """
    inner = text.strip()
    if inner[:1] == b"{":
        inner = inner[1:]
    if inner[-1:] == b"}":
        inner = inner[:-1]
    inner = inner.strip()
    labels: dict[bytes, bytes] = {}
    at = 0
    while at < len(inner):
        if (pair := _PAIR.match(inner, at)) is None:
            return _unescaped(inner)
        double, single, raw, bare, *value, _ = pair.groups()
        name = raw if raw is not None else bare if bare is not None else _unquote(double, single)
        labels[name] = value[2] if value[2] is not None else value[3] if value[3] is not None else _unquote(*value[:2])
        at = pair.end()
    return labels


def _unescaped(inner: bytes) -> dict[bytes, bytes] | None:
    labels: dict[bytes, bytes] = {}
    at = 0
    while at < len(inner):
        if (pair := _UNESCAPED.match(inner, at)) is None:
            return None
        labels[pair[1]] = pair[2]
        at = pair.end()
    return labels


def _unquote(double: bytes | None, single: bytes | None) -> bytes:
    text = double if double is not None else single or b""
    return _ESCAPE.sub(_character, text) if _BACKSLASH in text else text


def _character(escape: re.Match[bytes]) -> bytes:
    letter, byte, short, long, octal = escape.groups()
    if letter is not None:
        return bytes((_LETTERS[letter[0]],))
    if byte is not None or octal is not None:
        return bytes((int(byte, 16) if byte is not None else int(octal, 8),))
    code = int(short or long, 16)
    return (REPLACEMENT if code in _SURROGATES or code > _LAST_CHARACTER else chr(code)).encode()
