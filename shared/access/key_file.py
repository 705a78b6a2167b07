"""
The file of all keys: JSON, `{"keys": [...]}`. Pure; `shared.access.watched` reads it again when it changes.

A file and not PostgreSQL, because the gateway has to take events while PostgreSQL is away. It can be a mounted secret.
"""

import json

from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import ip_network
from math import inf, isinf
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from shared.access.keys import KeyRing, StoredKey
from shared.access.principal import Principal, is_tenant
from shared.access.scopes import Scope

_SHOWN: Final = 5


class KeyFileError(ValueError):
    """A key file cannot be used; the message says what is wrong in it."""


class _Record(BaseModel):
    """One key as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z2-7]{10}$")
    name: str = Field(default="", max_length=200)
    tenant: str = "default"
    scopes: tuple[Scope, ...] = Field(min_length=1)
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: AwareDatetime
    notBefore: AwareDatetime | None = None  # noqa: N815 - the file's name
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    cidrs: tuple[str, ...] = ()

    @field_validator("tenant")
    @classmethod
    def _is_tenant(cls, name: str) -> str:
        if not is_tenant(name):
            raise ValueError("a tenant's name has up to 63 of a to z, 0 to 9, - and _, the first one a letter or digit")
        return name

    @field_validator("cidrs")
    @classmethod
    def _are_networks(cls, cidrs: tuple[str, ...]) -> tuple[str, ...]:
        for cidr in cidrs:
            ip_network(cidr)
        return cidrs


class _File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    keys: tuple[_Record, ...]


def read_keys(text: bytes) -> list[StoredKey]:
    """
    Return the keys that a file has.

    Raises:
        KeyFileError: It is not whole, or one of its keys makes no sense; none of it may be used then.
    """
    try:
        found = _File.model_validate_json(text)
    except ValidationError as exc:
        wrong = exc.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"{'.'.join(map(str, error['loc'])) or 'the file'}: {error['msg']}" for error in wrong[:_SHOWN]]
        raise KeyFileError("; ".join(lines)) from None
    ids = [record.id for record in found.keys]
    if twice := sorted({key_id for key_id in ids if ids.count(key_id) > 1}):
        raise KeyFileError(f"keys: the id {twice[0]} is there more than once")
    return [_stored(record) for record in found.keys]


def ring_of(text: bytes, pepper: bytes) -> KeyRing:
    """
    Return the keys that a file has, ready to be asked.

    Raises:
        KeyFileError: See `read_keys`.
    """
    return KeyRing(read_keys(text), pepper)


def write_keys(keys: Iterable[StoredKey]) -> bytes:
    """Return a file that has these keys."""
    return json.dumps({"keys": [_written(key) for key in keys]}, indent=1).encode() + b"\n"


def _stored(record: _Record) -> StoredKey:
    return StoredKey(
        principal=Principal(record.id, record.tenant, frozenset(record.scopes)),
        hash=bytes.fromhex(record.hash),
        name=record.name,
        created=record.created.timestamp(),
        not_before=-inf if record.notBefore is None else record.notBefore.timestamp(),
        expires=inf if record.expires is None else record.expires.timestamp(),
        revoked=None if record.revoked is None else record.revoked.timestamp(),
        networks=tuple(ip_network(cidr) for cidr in record.cidrs),
    )


def _written(key: StoredKey) -> dict[str, Any]:
    record = {
        "id": key.principal.key_id,
        "name": key.name,
        "tenant": key.principal.tenant,
        "scopes": [scope.value for scope in Scope if scope in key.principal.scopes],
        "hash": key.hash.hex(),
        "created": _time(key.created),
        "notBefore": _time(key.not_before),
        "expires": _time(key.expires),
        "revoked": None if key.revoked is None else _time(key.revoked),
        "cidrs": [str(network) for network in key.networks],
    }
    return {name: value for name, value in record.items() if value not in (None, [])}


def _time(at: float) -> str | None:
    return None if isinf(at) else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
