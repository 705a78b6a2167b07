"""What logs tell of a request. Pure: a request is what ASGI has as its scope."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.access.keys import Reason

PATH_CHARS: Final = 200
"""So much of a path is told."""

Told = Callable[[Reason, str, Mapping[str, Any]], None]
"""Gets why a request was refused, the id of its key where that is known, and the request."""


def address_of(scope: Mapping[str, Any]) -> str:
    """Return the address of a request's client; empty where that is not known."""
    client = scope.get("client")
    return client[0] if client else ""


def path_of_refused(reason: Reason, scope: Mapping[str, Any]) -> str:
    """Return the path of a request that was refused for its key; empty where it could have the key."""
    return "" if reason is Reason.IN_URL else scope["path"][:PATH_CHARS]
