"""The acts that each service which asks for keys has in its audit log."""

import asyncio

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import Counter

from shared.access.key_changes import changes
from shared.access.keys import KeyRing, Reason, StoredKey
from shared.access.request import PATH_CHARS, Told, address_of, path_of_refused
from shared.access.watched import Watched
from shared.process import tls
from shared.process.audit import Audit
from shared.process.bounds import Cut


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
        self._note(
            "key refused",
            reason.value,
            reason=reason.value,
            key=key_id,
            address=address_of(scope),
            method=scope["method"],
            path=path_of_refused(reason, scope),
        )

    def counting(self, counters: Mapping[Reason, Counter]) -> Told:
        """Return what notes that a request was refused for its key, and counts it."""

        def told(reason: Reason, key_id: str, scope: Mapping[str, Any]) -> None:
            counters[reason].inc()
            self.key_refused(reason, key_id, scope)

        return told

    def keys_read(self, keys: Watched[KeyRing]) -> None:
        """Note what changed in the key file, or that it cannot be used."""
        before, self._keys = self._keys, keys.value.stored
        if keys.problem is not None:
            self._note("key file refused", problem=keys.problem)
        else:
            changed: dict[str, Any] = changes(before, self._keys)
            self._note("key file read", keys=len(self._keys), **changed)

    def tenants_read(self, problem: str, tenants: int) -> None:
        """Note that the tenants' file is in force, or why it cannot be used."""
        if problem:
            self._note("tenants file refused", problem=problem)
        else:
            self._note("tenants file read", tenants=tenants)

    def quota_refused(self, tenant: str, quota: str, key_id: str) -> None:
        """Note that a tenant sent more than it may."""
        self._note("quota refused", tenant, tenant=tenant, quota=quota, key=key_id)

    def connection_refused(self, why: Cut, said: str) -> None:
        """Note that a certificate was not taken, or none was shown."""
        self._note("connection refused", why.value, why=why.value, shown=said[:PATH_CHARS])

    def certificate_read(self, file: str, problem: str | None) -> None:
        """Note that a certificate was renewed, or could not be."""
        if problem is None:
            self._note("certificate renewed", file=file)
        else:
            self._note("certificate refused", file=file, problem=problem)

    def _note(self, act: str, subject: str = "", **facts: Any) -> None:
        if self._audit is not None:
            self._audit.note(act, subject, **facts)

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
