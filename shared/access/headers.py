"""Which key a request carries. Pure."""

import re

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from shared.access.keys import NO_KEY, PREFIX, KeyRefusedError, Reason

Headers = Iterable[tuple[bytes, bytes]]

_AUTHORIZATION: Final = b"authorization"
_PREFIX: Final = PREFIX.encode()
_DATADOG: Final = b"dd-api-key"
_TENANTS: Final = frozenset({b"x-tenant", b"x-scope-orgid"})
_TWO: Final = 2
# In one of these any client's protocol has its key. "Token" is what some call Bearer.
_BARE: Final = frozenset({b"bearer", b"splunk", b"token"})
# Also of one that was cut; the prefix alone may be what is searched for.
_KEY: Final = re.compile(r"mrl_[a-z2-7]{10}_[A-Za-z0-9_-]{16}")
IN_URL: Final = (
    "a key must not be in a URL, where logs and histories keep it: send it in a header, Authorization: Bearer KEY, and "
    "revoke this one (./setup.sh key revoke ID)"
)


def key_of(headers: Headers) -> str | None:
    """
    Return the key that a request carries; None if it carries none.

    Raises:
        KeyRefusedError: It carries more than one, or something in the place of a key that cannot be one.
    """
    found: str | None = None
    for name, value in headers:
        if name == _AUTHORIZATION:
            key = _of_authorization(value)
        elif name == _DATADOG:
            key = value.decode("latin-1")
        else:
            continue
        if found is not None and key != found:
            raise KeyRefusedError(Reason.MALFORMED, NO_KEY)
        found = key
    return found


def _of_authorization(value: bytes) -> str:
    scheme, _, rest = value.partition(b" ")
    scheme = scheme.lower()
    rest = rest.strip(b" ")
    if scheme in _BARE:
        return rest.decode("latin-1")
    if scheme == b"basic":
        return _password(rest)
    if scheme == b"apikey":
        # As Elasticsearch's clients have it: the key, or id and key in base64.
        return rest.decode("latin-1") if rest.startswith(_PREFIX) else _password(rest)
    raise KeyRefusedError(Reason.MALFORMED, NO_KEY)


def _password(encoded: bytes) -> str:
    try:
        pair = b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True).decode("latin-1")
    except Base64Error as exc:
        raise KeyRefusedError(Reason.MALFORMED, NO_KEY) from exc
    return pair.partition(":")[2]


def has_key(query: bytes) -> bool:
    """Tell whether a URL's path or query has a key in it, percent-encoded or not."""
    if _PREFIX not in query and b"%" not in query:
        return False
    return _KEY.search(unquote(query.decode("latin-1"))) is not None


def tenants_named(headers: Headers) -> list[str]:
    """Return which tenants a request says to be of, each once."""
    found = [value.decode("latin-1") for name, value in headers if name in _TENANTS]
    return found if len(found) < _TWO else list(dict.fromkeys(found))
