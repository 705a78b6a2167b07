"""
Which `Host` a service answers to. Pure.

A web page can let its own name resolve to 127.0.0.1, and its script then reads from this machine's services as if they were
the page's own. The browser sends the page's name as `Host`. So a name has to be one of the service's own. An address cannot
be such a name, and is taken.
"""

import re

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

SETTING: Final = "APP_ALLOWED_HOSTS"
# What the machine itself, and containers on it, call this machine. No public name server can make another of them.
LOOPBACK_NAMES: Final = frozenset({"localhost", "host.docker.internal", "host.containers.internal"})
ANY: Final = "*"
_LABELS: Final = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"
_ENTRY: Final = re.compile(rf"\*|(?:\*\.)?{_LABELS}")
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::[0-9]*)?")
# So many different values are remembered, ports included.
_REMEMBERED: Final = 256


def split_names(text: str) -> list[str]:
    """
    Take `NAME,NAME` apart.

    Raises:
        ValueError: One is no name.
    """
    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    for name in names:
        if not _ENTRY.fullmatch(name):
            raise ValueError(f"{name!r} is no host name; give names without scheme and port, *.example.org or *")
    return names


class AllowedHosts:
    """
    The names that a service has, beside addresses and the names of loopback.

    Args:
        names: Further ones; `*.example.org` stands for all below it, `*` for all.

    Attributes:
        known: Values of `Host` that were looked at and taken. It holds a few, so ask `allows` for what is not in it.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        names = [name.lower() for name in names]
        self.known: set[bytes] = set()
        self._any = ANY in names
        self._names = LOOPBACK_NAMES | {name for name in names if not name.startswith(ANY)}
        self._below = tuple(name.removeprefix(ANY) for name in names if name.startswith("*."))

    def allows(self, value: bytes) -> bool:
        """Tell whether a request with this `Host` is for this service."""
        if not self._is_own(value):
            return False
        if len(self.known) < _REMEMBERED:
            self.known.add(value)
        return True

    def _is_own(self, value: bytes) -> bool:
        if self._any or not value:  # a client that names no host is no browser
            return True
        found = _HOST.fullmatch(value.decode("latin-1"))
        if found is None:
            return False
        name = found[1].lower().removesuffix(".")
        return name in self._names or name.endswith(self._below) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
