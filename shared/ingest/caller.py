"""
Whose request it is that is being served, for what is shared among callers.

A variable of the request's task, since no sink but the gateway's has callers to keep apart.
"""

from contextvars import ContextVar
from typing import Final

from starlette.types import Scope

CALLER: Final = ContextVar("CALLER", default="")
"""The client's address. Behind a balancer all clients have one, and are one caller."""


def note_caller(scope: Scope) -> None:
    """Set `CALLER` to the client of a connection."""
    client = scope.get("client")
    CALLER.set(client[0] if client else "")
