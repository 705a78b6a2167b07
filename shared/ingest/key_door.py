"""
The door of a service that asks for keys: before anything of a request is read but its head, and before it gets a place.

Plain ASGI around the whole application. It is not there where `FLEET_SECURITY=open`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from math import ceil
from typing import Final

import structlog

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.access.failures import Failures
from shared.access.headers import IN_URL, has_key, key_of, tenants_named
from shared.access.keys import NO_KEY, PREFIX, KeyRefusedError, KeyRing, Reason
from shared.access.needs import READS, Needs, named
from shared.access.principal import Principal, is_tenant
from shared.access.request import PATH_CHARS, Told, address_of, path_of_refused
from shared.access.scopes import Scope as KeyScope
from shared.ingest.asgi import send_reply
from shared.ingest.caller import PRINCIPAL, PRINCIPAL_KEY
from shared.ingest.protocol import Reply, problem_reply
from shared.ingest.routes import plain
from shared.wire.problem import BadRequestError, NotFoundError, ProblemError

log: Final = structlog.stdlib.get_logger(__name__)
# A browser asks its user by the second one: any name, and the key as the password.
CHALLENGE: Final = 'Bearer realm="logs", Basic realm="logs", charset="UTF-8"'
# These come from all over the internet by themselves, so that a line each would only fill the disk.
_UNLOGGED: Final = frozenset({Reason.MISSING, Reason.THROTTLED})
_ALSO_FAILURES: Final = frozenset({Reason.MISSING, Reason.MALFORMED, Reason.UNKNOWN, Reason.WRONG})

Form = Callable[[Scope, ProblemError], Reply]
"""Puts an error about a request into the words of its protocol."""


class UnauthorizedError(ProblemError):
    """The request has no key, or none that is good."""

    status = HTTPStatus.UNAUTHORIZED


class ForbiddenError(ProblemError):
    """The key is good, and not for this."""

    status = HTTPStatus.FORBIDDEN


class ThrottledError(ProblemError):
    """Too many requests with bad keys came from the same address."""

    status = HTTPStatus.TOO_MANY_REQUESTS


def as_problem(_: Scope, error: ProblemError) -> Reply:
    """Put an error into a problem document."""
    return problem_reply(error)


class KeyDoor:
    """
    ASGI wrapper around the app: lets in what has a key for its route.

    Args:
        app: What is wrapped.
        keys: Returns the keys that are in force.
        needs: What each route asks for.
        told: Told of each refusal.
        now: Seconds since 1970.
        form: Puts refusals into words.
        session_of: Returns the id of the key whose session a browser's request has; None if it has none.
        failures: Counts addresses with bad keys, where another counts them, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Callable[[], KeyRing],
        needs: Needs,
        told: Told,
        now: Callable[[], float],
        form: Form = as_problem,
        session_of: Callable[[Scope], str | None] | None = None,
        failures: Failures | None = None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._needs = needs
        self._told = told
        self._now = now
        self._form = form
        self._session_of = session_of
        self._failures = Failures() if failures is None else failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        # On the internal listener a gateway says whose request it is; `console.gateways`.
        if scope["type"] == "http" and PRINCIPAL_KEY not in scope:
            try:
                principal = self._admit(scope)
            except ProblemError as error:
                await send_reply(self._form(scope, error), send)
                return
            if principal is not None:
                scope[PRINCIPAL_KEY] = principal
                PRINCIPAL.set(principal)
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> Principal | None:
        """
        Return whose request it is; None where no key is asked for.

        Raises:
            ProblemError: It is not let in.
        """
        path: str = scope["path"]
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        query: bytes = scope.get("query_string", b"")
        if (query and has_key(query)) or (PREFIX in path and has_key(path.encode())):
            self._note(Reason.IN_URL, scope, "")
            raise BadRequestError(IN_URL)
        need = self._needs.of(scope["method"], path)
        if need is None:
            # Shippers' routes are found whatever slashes a client wrote.
            need = self._needs.of(scope["method"], plain(path))
        if need is not None and not need:
            return None
        try:
            principal = self._known(scope, headers)
        except KeyRefusedError as refused:
            raise self._refusal(refused, scope) from None
        if need is None:
            self._note(Reason.NO_ROUTE, scope, principal.key_id)
            raise NotFoundError(f"no such path: {path[:PATH_CHARS]}")
        if not need & principal.scopes:
            self._note(Reason.SCOPE, scope, principal.key_id)
            raise ForbiddenError(f"key {principal.key_id} has not the scope {named(need)}, which this needs")
        return self._of_tenant(principal, headers, scope)

    def _known(self, scope: Scope, headers: Sequence[tuple[bytes, bytes]]) -> Principal:
        key = key_of(headers)
        if key is not None:
            return self._keys().verify(key, self._now(), address_of(scope))
        # A browser sends its cookie by itself, so that it is good for reading alone.
        if self._session_of is not None and scope["method"] in READS:
            key_id = self._session_of(scope)
            if key_id is not None:
                return self._keys().known(key_id, self._now(), address_of(scope))
        raise KeyRefusedError(Reason.MISSING, NO_KEY)

    def _of_tenant(self, principal: Principal, headers: Sequence[tuple[bytes, bytes]], scope: Scope) -> Principal:
        wanted = tenants_named(headers)
        if not wanted or wanted == [principal.tenant]:
            return principal
        if KeyScope.ADMIN in principal.scopes and len(wanted) == 1 and is_tenant(wanted[0]):
            return replace(principal, tenant=wanted[0])
        self._note(Reason.TENANT, scope, principal.key_id)
        raise ForbiddenError(
            f"key {principal.key_id} is of tenant {principal.tenant}: X-Tenant and X-Scope-OrgID may name that one alone"
        )

    def _refusal(self, refused: KeyRefusedError, scope: Scope) -> ProblemError:
        retry_s = None
        if refused.reason in _ALSO_FAILURES:
            retry_s = self._failures.note(address_of(scope), self._now())
        if retry_s is not None:
            self._note(Reason.THROTTLED, scope, "")
            after = {"Retry-After": str(max(1, ceil(retry_s)))}
            return ThrottledError(
                f"too many requests without a good key came from this address; {NO_KEY}", headers=after
            )
        self._note(refused.reason, scope, refused.key_id)
        if refused.reason is Reason.ADDRESS:
            return ForbiddenError(refused.sentence)
        return UnauthorizedError(refused.sentence, headers={"WWW-Authenticate": CHALLENGE})

    def _note(self, reason: Reason, scope: Scope, key_id: str) -> None:
        self._told(reason, key_id, scope)
        if reason not in _UNLOGGED:
            log.warning(
                "key refused",
                reason=reason.value,
                key=key_id,
                address=address_of(scope),
                path=path_of_refused(reason, scope),
            )
