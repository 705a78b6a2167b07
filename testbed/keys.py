"""Keys for tests: a file of them, and what a service has to be told of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from starlette.routing import BaseRoute, Route

from shared.access.key_file import write_keys
from shared.access.keys import StoredKey, digest, id_of, new_key
from shared.access.principal import Principal
from shared.access.scopes import ALL, Scope

PEPPER: Final = "p" * 43


@dataclass(slots=True)
class Keys:
    """
    A key file.

    Args:
        path: Where it is, or shall be.
    """

    path: Path
    stored: dict[str, StoredKey] = field(default_factory=dict)
    _made: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of a service that asks for these keys."""
        self.write()
        return {"security": "on", "keys_file": str(self.path), "keys_pepper": PEPPER}

    def write(self) -> None:
        """Put them into the file at once."""
        new = self.path.with_name("new")
        new.write_bytes(write_keys(self.stored.values()))
        new.replace(self.path)

    def make(self, *scopes: Scope, tenant: str = "default", **facts: Any) -> str:
        """Make a key; all scopes if none is named. The file has it after the next `write`."""
        self._made += 1
        number = self._made
        key = new_key(lambda count: blake2b(number.to_bytes(8, "big"), digest_size=count).digest())
        key_id = known_id(key)
        who = Principal(key_id, tenant, frozenset(scopes) or ALL)
        self.stored[key_id] = replace(StoredKey(who, digest(key, PEPPER.encode())), **facts)
        return key

    def change(self, key: str, **facts: Any) -> None:
        """Change what is known of a key, and write the file."""
        self.stored[known_id(key)] = replace(self.stored[known_id(key)], **facts)
        self.write()


def known_id(key: str) -> str:
    """Return a key's id."""
    key_id = id_of(key)
    assert key_id is not None
    return key_id


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


def all_routes(routes: Sequence[BaseRoute]) -> Iterator[Route]:
    """Yield an application's routes, those of its routers included."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        else:
            yield from all_routes(route.original_router.routes)  # type: ignore[attr-defined]
