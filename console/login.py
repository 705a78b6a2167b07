"""
Keys of people in browsers: a page asks for one, and a cookie stands for it from then on.

The cookie has a random id and not the key. The key is looked at with each request, so that one that is revoked ends its sessions as well.
"""

import secrets

from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from math import ceil
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.types import Scope

from shared.access.failures import Failures
from shared.access.headers import has_key
from shared.access.keys import KeyRefusedError, KeyRing, Reason
from shared.access.needs import SEEN
from shared.access.principal import Principal
from shared.access.request import Told, address_of
from shared.access.sessions import LASTS_S, Sessions
from shared.ingest.key_door import UnauthorizedError, as_problem
from shared.ingest.protocol import Reply
from shared.wire.problem import ProblemError

PATH: Final = "/login"
_PAGES: Final = ("/", "/tail", "/replication")
_NAME: Final = "session"
# A browser takes this name only from https, for this host alone.
_SECURE_NAME: Final = "__Host-session"
_MAX_NEXT: Final = 4096
_NOT_A_PAGE: Final = (
    "this key may not read events: it needs the scope read; ./setup.sh key new NAME --scope read makes one"
)


class LoginRefusedError(Exception):
    """
    A key begins no session, for a reason that may be told.

    Attributes:
        sentence: What to tell.
        retry_s: Seconds until another try is looked at; None: at once.
    """

    def __init__(self, sentence: str, retry_s: int | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.retry_s = retry_s


class Login:
    """
    Begins and ends sessions.

    Args:
        keys: Returns the keys in force.
        told: Told of each key that is refused.
        now: Seconds since 1970.
    """

    def __init__(self, keys: Callable[[], KeyRing], told: Told, now: Callable[[], float]) -> None:
        self.failures: Final = Failures()
        self._keys = keys
        self._told = told
        self._now = now
        self._sessions = Sessions()

    def begin(self, key: str, scope: Scope) -> str:
        """
        Begin a session, and return its cookie.

        Raises:
            LoginRefusedError: The key is not good, or may not see pages.
        """
        address = address_of(scope)
        try:
            principal = self._keys().verify(key, self._now(), address)
        except KeyRefusedError as refused:
            retry_s = self.failures.note(address, self._now())
            reason = refused.reason if retry_s is None else Reason.THROTTLED
            self._told(reason, refused.key_id, scope)
            if retry_s is not None:
                raise LoginRefusedError("too many keys were tried from this address", max(1, ceil(retry_s))) from None
            is_known = refused.reason in (Reason.EARLY, Reason.EXPIRED, Reason.REVOKED, Reason.ADDRESS)
            raise LoginRefusedError(refused.sentence if is_known else "this is no key of the fleet") from None
        if not SEEN & principal.scopes:
            self._told(Reason.SCOPE, principal.key_id, scope)
            raise LoginRefusedError(_NOT_A_PAGE)
        session = self._sessions.begin(principal.key_id, self._now(), secrets.token_bytes)
        return _cookie(scope, session, LASTS_S)

    def end(self, scope: Scope) -> str:
        """End the session of a request, if it has one, and return what removes its cookie."""
        self._sessions.end(_session(scope))
        return _cookie(scope, "", 0)

    def key_of(self, scope: Scope) -> str | None:
        """Return the id of the key that a request's cookie stands for."""
        session = _session(scope)
        return self._sessions.find(session, self._now()) if session else None

    def reader(self, scope: Scope) -> Principal | None:
        """Return who a request's cookie stands for, if its key is still good."""
        key_id = self.key_of(scope)
        try:
            return None if key_id is None else self._keys().known(key_id, self._now(), address_of(scope))
        except KeyRefusedError:
            return None

    def form(self, scope: Scope, error: ProblemError) -> Reply:
        """Put a refusal into words: a browser that opens a page without a key is sent to where it can give one."""
        if not isinstance(error, UnauthorizedError):
            return as_problem(scope, error)
        headers = dict(scope["headers"])
        if b"authorization" not in headers and _is_page(scope["path"]) and b"text/html" in headers.get(b"accept", b""):
            query = scope.get("query_string", b"").decode("latin-1")
            target = quote(scope["path"] + (f"?{query}" if query else ""), safe="/")
            return Reply(303, b"", b"text/plain", [(b"location", f"{PATH}?next={target}".encode())])
        if b"sec-fetch-site" in headers and b"authorization" not in headers:
            # A script of a page is told. The browser asks for no name and password.
            error.headers["WWW-Authenticate"] = 'Bearer realm="logs"'
        return as_problem(scope, error)


def is_same_origin(scope: Scope) -> bool:
    """Tell whether a page of this console sent a form: else a stranger's page could let a browser in with the stranger's key."""
    headers = dict(scope["headers"])
    if (site := headers.get(b"sec-fetch-site")) is not None:
        return bool(site == b"same-origin")
    origin = headers.get(b"origin")
    return origin is not None and urlsplit(origin.decode("latin-1")).netloc == headers.get(b"host", b"").decode(
        "latin-1"
    )


def next_of(target: str) -> str:
    """Return where to go after a login: a page of this console, whatever a link says."""
    is_ours = (
        target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() and " " not in target
    )
    path = urlsplit(target).path if is_ours else ""
    return target if _is_page(path) and len(target) <= _MAX_NEXT and not has_key(target.encode()) else "/"


def _is_page(path: str) -> bool:
    return path in _PAGES or path.startswith("/events/")


def _name(scope: Scope) -> str:
    return _SECURE_NAME if scope.get("scheme") == "https" else _NAME


def _session(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1")).get(_name(scope))
            except CookieError:
                return ""
            if found is not None:
                return found.value
    return ""


def _cookie(scope: Scope, session: str, lasts_s: int) -> str:
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    return f"{_name(scope)}={session}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"
