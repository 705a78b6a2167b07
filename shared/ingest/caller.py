"""
Whose request it is that is being served, for what is shared among callers.

Variables of the request's task, since no sink but the gateway's has callers to keep apart.
"""

from contextvars import ContextVar
from typing import Final

from starlette.types import Scope

from shared.access.principal import ANYONE, Principal

CALLER: Final = ContextVar("CALLER", default="")
"""
The client's address. Behind a balancer all clients have one, and are one caller. Where keys are asked for, it is the
tenant: `PRINCIPAL_KEY` in the connection's scope says which.
"""
PRINCIPAL: Final = ContextVar("PRINCIPAL", default=ANYONE)
"""Whose key the request has; `ANYONE` where none are asked for."""
PRINCIPAL_KEY: Final = "principal"
"""Where the scope of a request has its `Principal`, once its key was checked."""


def note_caller(scope: Scope) -> None:
    """Set `CALLER` to the client of a connection, or to its tenant."""
    principal: Principal | None = scope.get(PRINCIPAL_KEY)
    if principal is not None:
        CALLER.set(principal.tenant)
        return
    client = scope.get("client")
    CALLER.set(client[0] if client else "")
