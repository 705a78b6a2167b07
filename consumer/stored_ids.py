"""
Under which ids events are stored. PURE.

Those of the default tenant under their own. Those of another tenant under one that is made of theirs, the tenant's name and a
secret of the store: so the same id in two tenants is two ids, for the table's key, the filter and Redis alike. A client that does not know
the secret can find no id that meets one of another tenant. In SQL, `stored_event_id` in the migrations is the same rule.
"""

from hashlib import sha256
from typing import Any, Final

ID_BYTES: Final = 16
_TENANTS_KEPT: Final = 1024


class StoredIds:
    """
    The ids of one store.

    Args:
        secret: The store's; always of the same length, so that no name can be mistaken for a part of it.
    """

    def __init__(self, secret: bytes = b"") -> None:
        self._secret = secret
        self._begun: dict[str, Any] = {}

    def of(self, tenant: str, event_id: bytes) -> bytes:
        """Return the 16 bytes that stand for a tenant's event id of 16 bytes."""
        begun = self._begun.get(tenant)
        if begun is None:
            if len(self._begun) >= _TENANTS_KEPT:
                self._begun.clear()
            begun = self._begun[tenant] = sha256(sha256(self._secret + tenant.encode()).digest())
        hashed = begun.copy()
        hashed.update(event_id)
        stored: bytes = hashed.digest()[:ID_BYTES]
        return stored
