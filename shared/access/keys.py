"""
The form of a key, and which keys are good. Pure: time and randomness are arguments.

`mrl_` + 10 characters, the id + `_` + 43 characters, 256 random bits + 6 characters, the checksum. The id is public. The
checksum tells a key that was cut or mistyped from a wrong one, and lets scanners find keys where they do not belong.
"""

import re

from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from hmac import compare_digest
from ipaddress import IPv4Network, IPv6Network, ip_address
from math import inf
from typing import Final
from zlib import crc32

from shared.access.principal import Principal

PREFIX: Final = "mrl_"
ID_CHARS: Final = 10
KEY_CHARS: Final = len(PREFIX) + ID_CHARS + 1 + 43 + 6
_ID: Final = slice(len(PREFIX), len(PREFIX) + ID_CHARS)
_BODY_CHARS: Final = KEY_CHARS - 6
_FORM: Final = re.compile(r"mrl_([a-z2-7]{10})_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}", re.ASCII)
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_BYTES: Final = 7
_SECRET_BYTES: Final = 32
_HASH_BYTES: Final = 32
_MAX_PEPPER_BYTES: Final = 64

Network = IPv4Network | IPv6Network


class Reason(StrEnum):
    """Why a request was refused for its key; the label of metrics."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    WRONG = "wrong"
    EARLY = "early"
    EXPIRED = "expired"
    REVOKED = "revoked"
    ADDRESS = "address"
    SCOPE = "scope"
    TENANT = "tenant"
    IN_URL = "in_url"
    THROTTLED = "throttled"
    NO_ROUTE = "no_route"


class KeyRefusedError(Exception):
    """A key is not good; `sentence` may be told to who sent it."""

    def __init__(self, reason: Reason, sentence: str, key_id: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.key_id = key_id


NO_KEY: Final = (
    "this needs a key of the fleet: Authorization: Bearer KEY, or the key as the password of Basic; "
    "./setup.sh key new NAME --scope SCOPE makes one"
)
"""What is told where there is no key, or none that is known: the same sentence, so that ids cannot be found by trying."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """
    What is known of a key: enough to know it again, too little to make it.

    Attributes:
        principal: What it stands for; its `key_id` is the key's.
        hash: See `digest`.
        name: What a person calls it.
        created: When, in seconds since 1970, as the times that follow.
        not_before: From when on it is good.
        expires: From when on it is not.
        revoked: When it was revoked, None if it was not.
        networks: Addresses that may use it; none: all.
    """

    principal: Principal
    hash: bytes
    name: str = ""
    created: float = 0.0
    not_before: float = -inf
    expires: float = inf
    revoked: float | None = None
    networks: tuple[Network, ...] = ()

    def is_good(self, now: float) -> bool:
        """Tell whether it may be used now, wherever from."""
        return self.not_before <= now < self.expires and (self.revoked is None or now < self.revoked)


def checksum(body: str) -> str:
    """Return the last characters of a key that begins so: CRC-32 in base 62."""
    rest = crc32(body.encode())
    digits = []
    for _ in range(KEY_CHARS - _BODY_CHARS):
        rest, digit = divmod(rest, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def new_key(random: Callable[[int], bytes]) -> str:
    """Make a key from so many random bytes as are asked for."""
    key_id = b32encode(random(_ID_BYTES)).decode().lower()[:ID_CHARS]
    secret = urlsafe_b64encode(random(_SECRET_BYTES)).decode().rstrip("=")
    body = f"{PREFIX}{key_id}_{secret}"
    return body + checksum(body)


def id_of(key: str) -> str | None:
    """Return the id of a key; None if it has not the form of one, or its checksum is another."""
    if len(key) != KEY_CHARS or _FORM.fullmatch(key) is None or checksum(key[:_BODY_CHARS]) != key[_BODY_CHARS:]:
        return None
    return key[len(PREFIX) : len(PREFIX) + ID_CHARS]


def digest(key: str, pepper: bytes) -> bytes:
    """
    Return what is stored of a key.

    Fast on purpose: 256 random bits cannot be guessed however fast the hash is, and a slow one lets strangers use up the
    processor. The pepper keeps a stolen key file from proving that a key belongs to this fleet.
    """
    hasher = _hasher(pepper)
    hasher.update(key.encode())
    return hasher.digest()


def _hasher(pepper: bytes) -> blake2b:
    return blake2b(key=pepper[:_MAX_PEPPER_BYTES], digest_size=_HASH_BYTES)


class KeyRing:
    """
    All keys, by id.

    Args:
        keys: Each id once.
        pepper: What they were hashed with.
    """

    def __init__(self, keys: Iterable[StoredKey] = (), pepper: bytes = b"") -> None:
        self._keys = {key.principal.key_id: key for key in keys}
        # A copy of what the pepper was put into costs half of putting it in anew.
        self._begun = _hasher(pepper)
        # A key whose id is unknown takes as long as one whose secret is wrong.
        self._no_one = bytes(_HASH_BYTES)

    @property
    def stored(self) -> tuple[StoredKey, ...]:
        """What is known of each."""
        return tuple(self._keys.values())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._keys)

    def verify(self, key: str, now: float, address: str = "") -> Principal:
        """
        Return who a key stands for.

        Args:
            key: As a request carries it.
            now: Seconds since 1970.
            address: Of the client.

        Raises:
            KeyRefusedError: It is no good key, or none for this address.
        """
        if len(key) != KEY_CHARS or not key.isascii():
            raise KeyRefusedError(Reason.MALFORMED, NO_KEY)
        stored = self._keys.get(key[_ID])
        if not compare_digest(self._digest(key), self._no_one if stored is None else stored.hash) or stored is None:
            # What is stored has the form of a key, so only what is not has to be looked at.
            key_id = id_of(key)
            if key_id is None:
                raise KeyRefusedError(Reason.MALFORMED, NO_KEY)
            raise KeyRefusedError(Reason.UNKNOWN if stored is None else Reason.WRONG, NO_KEY, key_id)
        return _let_in(stored, now, address)

    def known(self, key_id: str, now: float, address: str = "") -> Principal:
        """
        Return who a key stands for whose secret was checked before.

        Raises:
            KeyRefusedError: It is no longer good, or is none for this address.
        """
        stored = self._keys.get(key_id)
        if stored is None:
            raise KeyRefusedError(Reason.UNKNOWN, NO_KEY, key_id)
        return _let_in(stored, now, address)

    def _digest(self, key: str) -> bytes:
        hasher = self._begun.copy()
        hasher.update(key.encode())
        return hasher.digest()

    def is_good(self, key_id: str, now: float) -> bool:
        """Tell whether a key whose secret was checked before is good still."""
        stored = self._keys.get(key_id)
        return stored is not None and stored.is_good(now)


def _let_in(stored: StoredKey, now: float, address: str) -> Principal:
    """Return who a key stands for, of which the right secret is known. So more may be told."""
    if stored.is_good(now) and not stored.networks:
        return stored.principal
    key_id = stored.principal.key_id
    if stored.revoked is not None and stored.revoked <= now:
        raise KeyRefusedError(Reason.REVOKED, f"key {key_id} is revoked", key_id)
    if now >= stored.expires:
        raise KeyRefusedError(Reason.EXPIRED, f"key {key_id} expired on {day_of(stored.expires)}", key_id)
    if now < stored.not_before:
        raise KeyRefusedError(
            Reason.EARLY, f"key {key_id} is good from {day_of(stored.not_before)} on, not yet", key_id
        )
    if stored.networks and not _is_within(address, stored.networks):
        raise KeyRefusedError(Reason.ADDRESS, f"key {key_id} may not be used from this address", key_id)
    return stored.principal


def day_of(at: float) -> str:
    """Return a time as people read it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _is_within(address: str, networks: Iterable[Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any(one in network for network in networks for one in (parsed, mapped) if one is not None)
