"""Whose request it is that is being served: the tenant of its key; the default one where no keys are asked for."""

from typing import Final, Protocol, cast

from starlette.types import Scope

from shared.event.tenant import tenant_of

PRINCIPAL_KEY: Final = "principal"
"""Where the scope of a request has whose key it came with, once that was checked."""
TENANT_KEY: Final = "tenant"
"""Where it has the tenant that a gateway names, whose client it is."""


class _Principal(Protocol):
    @property
    def tenant(self) -> str: ...


def tenant_of_request(scope: Scope) -> str | None:
    """
    Return the tenant, None for the default one.

    Raises:
        ValueError: A gateway names what can be none.
    """
    named: str | None = scope.get(TENANT_KEY)
    if named is None and (principal := scope.get(PRINCIPAL_KEY)) is not None:
        named = cast("_Principal", principal).tenant
    return None if named is None else tenant_of(named)
