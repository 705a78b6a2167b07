"""Whose request it is that is being served: the tenant of its key; the default one where no keys are asked for."""

from starlette.types import Scope

from shared.access.principal import Principal
from shared.event.tenant import tenant_of
from shared.ingest.caller import PRINCIPAL_KEY


def tenant_of_request(scope: Scope) -> str | None:
    """Return the tenant, None for the default one."""
    principal: Principal | None = scope.get(PRINCIPAL_KEY)
    return None if principal is None else tenant_of(principal.tenant)
