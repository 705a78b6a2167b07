"""
Certificates: by which others know a service, and by which it knows them.

A certificate ends after a while, and its files are replaced before. `watch` reads them again, into the contexts that are in
use: the next connection has the new certificate, and no connection ends for it. Files that cannot be used, such as half of a
pair, leave the old certificate in force.
"""

import asyncio
import ssl
import weakref

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, Final

import structlog

from shared.process.certificate_end import end_of
from shared.process.listeners import ListenError

log: Final = structlog.stdlib.get_logger(__name__)

SCHEME: Final = "spiffe://fleet/"
"""What names of services begin with in certificates."""

HANDSHAKE_S: Final = 10.0
"""So long a client may take for it."""

_LOOK_S: Final = 1.0
_LEAST: Final = ssl.TLSVersion.TLSv1_2
# By OpenSSL's names; all others are "handshake".
_REASONS: Final = {
    "HTTP_REQUEST": "a request without TLS",
    "WRONG_VERSION_NUMBER": "no TLS",
    "UNSUPPORTED_PROTOCOL": "a version of TLS that is too old",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no certificate",
    "CERTIFICATE_VERIFY_FAILED": "a certificate that is not taken",
}


class TlsError(ListenError):
    """A certificate, its key or an authority cannot be used; the message names the settings."""


class Refusing(ssl.SSLContext):
    """
    A server's context that tells of each handshake that fails, and bounds how many go on.

    asyncio says nothing of them to the application, whose own bound on connections begins after them.

    Attributes:
        on_refused: Told why.
        on_full: Told of each connection that is refused because others are in their handshake.
        max_handshakes: So many may be in it at the same time; None: any number.
    """

    on_refused: Callable[[str], None] | None = None
    on_full: Callable[[], None] | None = None
    max_handshakes: int | None = None

    def begin(self, one: ssl.SSLObject) -> None:
        """
        Count a handshake until it ends, or its connection does.

        Raises:
            SSLError: There are too many already. Both event loops take this class for the end of a handshake.
        """
        # An object of a connection that ended is dropped, and leaves the set by that: OpenSSL's side hears of no such end.
        going_on: weakref.WeakSet[ssl.SSLObject] = self.__dict__.setdefault("_going_on", weakref.WeakSet())
        if one in going_on:
            return
        if self.max_handshakes is not None and len(going_on) >= self.max_handshakes:
            if self.on_full is not None:
                self.on_full()
            raise ssl.SSLError("too many connections are in their handshake")
        going_on.add(one)

    def end(self, one: ssl.SSLObject) -> None:
        """Count it no more."""
        self.__dict__["_going_on"].discard(one)


class _Handshake(ssl.SSLObject):
    def do_handshake(self) -> None:
        context = self.context
        if not isinstance(context, Refusing):
            super().do_handshake()
            return
        context.begin(self)
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as exc:
            context.end(self)
            if context.on_refused is not None:
                context.on_refused(_why(exc))
            raise
        context.end(self)


def bounded() -> Refusing:
    """Return a server's context without a certificate yet, whose handshakes are counted."""
    context = Refusing(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Handshake
    context.minimum_version = _LEAST
    return context


def _why(exc: ssl.SSLError) -> str:
    said = _REASONS.get(exc.reason or "", "a handshake that fails")
    detail = getattr(exc, "verify_message", "") or (exc.reason or "")
    return f"{said} ({detail.lower().replace('_', ' ')})" if detail else said


class Certificate:
    """
    A certificate, its key, and the authorities whose certificates are taken from others.

    Attributes:
        end: When it, or the authority's, ends, in seconds since 1970.

    Args:
        cert: File of the certificate and those between it and its authority, PEM; "": none is shown.
        key: File of its key.
        ca: File of the authorities; "": those that the machine knows, for a client, and none, for a server.
        settings: Which settings name the files, for errors.

    Raises:
        TlsError: A file cannot be used.
    """

    def __init__(self, cert: str, key: str, ca: str, settings: str) -> None:
        self._files = (cert, key, ca)
        self._settings = settings
        self._seen = self._look()
        self._contexts: list[ssl.SSLContext] = []
        self._complained = False
        self._client: ssl.SSLContext | None = None
        self.end = inf
        # So that what is wrong with the files ends the start, whichever side is wanted of them later.
        self.client()
        self.end = self._end()

    def client(self) -> ssl.SSLContext:
        """Return the context of connections to others: their certificate has to fit the address that was asked for."""
        if self._client is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = _LEAST
            if not self._files[2]:
                context.load_default_certs()
            self._client = self._kept(context)
        return self._client

    def server(self, *, mutual: bool) -> Refusing:
        """Return the context of connections from others; `mutual`: they need a certificate of the authorities."""
        context = bounded()
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        # A session that is taken up again would outlive the certificate that it began with.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
        self._kept(context)
        return context

    def _kept(self, context: ssl.SSLContext) -> ssl.SSLContext:
        self._load(context)
        self._contexts.append(context)
        return context

    def refresh(self) -> bool:
        """
        Read the files again if they changed.

        Returns:
            Whether another certificate is in force now.
        """
        seen = self._look()
        if seen == self._seen:
            return False
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a context that took half of it would be of no use
            for context in self._contexts:
                self._load(context)
        except TlsError as exc:
            # The files may be replaced one by one, so the first look says nothing.
            if self._complained:
                log.warning("a certificate cannot be renewed; the old one stays in force", error=str(exc))
                self._say(str(exc))
                self._seen = seen
            self._complained = not self._complained
            return False
        self._seen, self._complained = seen, False
        self.end = self._end()
        log.info("certificate renewed", file=self._files[0] or self._files[2])
        self._say(None)
        return True

    def _say(self, problem: str | None) -> None:
        for told in renewals:
            told(self._files[0] or self._files[2], problem)

    def _load(self, context: ssl.SSLContext) -> None:
        cert, key, ca = self._files
        try:
            if cert:
                context.load_cert_chain(cert, key)
            if ca:
                context.load_verify_locations(ca)
        except (OSError, ValueError) as exc:  # OpenSSL's errors included
            raise TlsError(
                f"{self._settings} cannot be used: {exc}; name files in PEM that belong together, and that the service's user can read"
            ) from exc

    def _end(self) -> float:
        """Return when the first of certificate and authority ends. Another file than the one that is in force tells nothing new."""
        ends = []
        for file in (self._files[0], self._files[2]):
            with suppress(OSError, ValueError):
                ends.append(end_of(Path(file).read_text()))
        return min(ends, default=self.end)

    def _look(self) -> Sequence[object]:
        return [_state(file) for file in self._files]


def _state(file: str) -> object:
    with suppress(OSError):
        found = Path(file).stat()
        return found.st_mtime_ns, found.st_ino, found.st_size
    return None


renewals: Final[list[Callable[[str, str | None], None]]] = []
"""Told the file of each certificate that was renewed, or could not be, and then why."""

_known: Final[dict[tuple[str, str, str], Certificate]] = {}


def certificate(cert: str, key: str, ca: str, settings: str) -> Certificate:
    """
    Return what these files hold. A process has one of each, so that `watch` knows all.

    Raises:
        TlsError: A file cannot be used.
    """
    files = (cert, key, ca)
    if files not in _known:
        _known[files] = Certificate(*files, settings)
    return _known[files]


def soonest_end() -> float:
    """Return when the first of this process's certificates ends, in seconds since 1970; infinity if it has none."""
    return min((one.end for one in _known.values()), default=inf)


async def watch() -> None:
    """Renew the certificates of this process as their files change, without end."""
    while True:
        await asyncio.sleep(_LOOK_S)
        for one in list(_known.values()):
            one.refresh()


def name_of(shown: Mapping[str, Any] | None) -> str | None:
    """Return which service of the fleet a verified certificate is of, as `getpeercert` tells it; None: of none."""
    names = [value for kind, value in (shown or {}).get("subjectAltName", ()) if kind == "URI"]
    [name] = names if len(names) == 1 else [""]
    return name.removeprefix(SCHEME) or None if name.startswith(SCHEME) else None
