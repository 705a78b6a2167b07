"""The acts that each service which asks for keys has in its audit log."""

import asyncio

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from shared.access.key_changes import changes
from shared.access.keys import KeyRing, Reason, StoredKey
from shared.access.watched import Watched
from shared.process import tls
from shared.process.audit import Audit
from shared.process.bounds import Cut

PATH_CHARS: Final = 200


class Acts:
    """
    Writes what happens in the words of the log.

    Args:
        audit: Where it is noted; None: nowhere, as while there are no keys.
    """

    def __init__(self, audit: Audit | None) -> None:
        self._audit = audit
        self._keys: tuple[StoredKey, ...] = ()

    def key_refused(self, reason: Reason, key_id: str, scope: Mapping[str, Any]) -> None:
        """Note that a request was refused for its key."""
        if self._audit is None:
            return
        # The path could have the key, so it is not told then.
        path = "" if reason is Reason.IN_URL else scope["path"][:PATH_CHARS]
        facts = {"key": key_id, "address": address_of(scope), "method": scope["method"], "path": path}
        self._audit.note("key refused", reason.value, reason=reason.value, **facts)

    def keys_read(self, keys: Watched[KeyRing]) -> None:
        """Note what changed in the key file, or that it cannot be used."""
        before, self._keys = self._keys, keys.value.stored
        if self._audit is None:
            return
        if keys.problem is not None:
            self._audit.note("key file refused", problem=keys.problem)
        else:
            changed: dict[str, Any] = changes(before, self._keys)
            self._audit.note("key file read", keys=len(self._keys), **changed)

    def tenants_read(self, problem: str, tenants: int) -> None:
        """Note that the tenants' file is in force, or why it cannot be used."""
        if self._audit is None:
            return
        if problem:
            self._audit.note("tenants file refused", problem=problem)
        else:
            self._audit.note("tenants file read", tenants=tenants)

    def quota_refused(self, tenant: str, quota: str, key_id: str) -> None:
        """Note that a tenant sent more than it may."""
        if self._audit is not None:
            self._audit.note("quota refused", tenant, tenant=tenant, quota=quota, key=key_id)

    def connection_refused(self, why: Cut, said: str) -> None:
        """Note that a certificate was not taken, or none was shown."""
        if self._audit is not None:
            self._audit.note("connection refused", why.value, why=why.value, shown=said[:PATH_CHARS])

    def certificate_read(self, file: str, problem: str | None) -> None:
        """Note that a certificate was renewed, or could not be."""
        if self._audit is None:
            return
        if problem is None:
            self._audit.note("certificate renewed", file=file)
        else:
            self._audit.note("certificate refused", file=file, problem=problem)

    @asynccontextmanager
    async def written(self, version: str, keys: Watched[KeyRing] | None) -> AsyncIterator[None]:
        """Write the log as long as the service runs, from its start to its stop."""
        if self._audit is None:
            yield
            return
        self._keys = () if keys is None else keys.value.stored
        self._audit.note("start", version=version, keys=len(self._keys))
        writing = asyncio.create_task(self._audit.run())
        tls.renewals.append(self.certificate_read)
        try:
            yield
        finally:
            tls.renewals.remove(self.certificate_read)
            self._audit.note("stop")
            writing.cancel()
            await asyncio.wait([writing])
            await self._audit.close()


def address_of(scope: Mapping[str, Any]) -> str:
    """Return the address of a request's client."""
    client = scope.get("client")
    return client[0] if client else ""
