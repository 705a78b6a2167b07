"""What a key may be used for. Pure."""

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """
    One thing that a key allows. None includes another: what collects logs must not give them away when it is stolen.

    * WRITE  send events
    * READ   find them
    * OPS    see metrics, and what is known about replication
    * ADMIN  act for another tenant than the key's own, by `X-Tenant`
    """

    WRITE = "write"
    READ = "read"
    OPS = "ops"
    ADMIN = "admin"


ALL: Final = frozenset(Scope)


def scopes_of(names: str) -> frozenset[Scope]:
    """
    Read `write,read`.

    Raises:
        ValueError: One is no scope, or there is none.
    """
    found = [part.strip() for part in names.split(",")]
    if unknown := [name for name in found if name not in {scope.value for scope in Scope}]:
        raise ValueError(f"{unknown[0]!r} is no scope; there are: {', '.join(Scope)}")
    return frozenset(map(Scope, found))
