"""
The listener of a service that is for the fleet alone, and how its public one says where that is.

`/internal/*` is on the internal listener. The public one answers it with 404, and names the internal port in a header. A
gateway whose settings name the public address, as those of earlier releases do, goes on from there.
"""

from typing import Final

PREFIX: Final = "/internal"
PORT_HEADER: Final = "Internal-Port"
_MAX_PORT: Final = 65535


def port_of(value: str) -> int | None:
    """Return the port that the header names; None if there can be none such."""
    if not value.isascii() or not value.isdigit():
        return None
    port = int(value[: len(str(_MAX_PORT)) + 1])
    return port if 0 < port <= _MAX_PORT else None
