"""Who a request is from. Pure."""

import re

from dataclasses import dataclass
from typing import Final

from shared.access.scopes import ALL, Scope

DEFAULT_TENANT: Final = "default"
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Principal:
    """
    Whose request it is, and what it may do.

    Attributes:
        key_id: The key's public part; empty for `ANYONE`.
        tenant: Whose events it sends and sees.
        scopes: What it may do.
    """

    key_id: str
    tenant: str
    scopes: frozenset[Scope]


ANYONE: Final = Principal("", DEFAULT_TENANT, ALL)
"""Each client of a fleet that asks for no keys."""


def is_tenant(name: str) -> bool:
    """Tell whether this can be a tenant's name: up to 63 of a to z, 0 to 9, - and _, the first one a letter or digit."""
    return _TENANT.fullmatch(name) is not None
