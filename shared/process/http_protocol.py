"""uvicorn's protocol without upgrades, and with errors that are sentences, said in their turn."""

from asyncio import TimerHandle
from http import HTTPStatus
from typing import Any, Final

import httptools

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.process.hosts import SETTING, AllowedHosts
from shared.wire.problem import CONTENT_TYPE, FORMS, REFUSED_AS, document

MAX_HEADER_BYTES: Final = 64 * 1024
# Between the last word to a client and the end of its connection. A client that is still sending has not read it yet, and
# would never do so if the connection were reset.
LINGER_S: Final = 2.0
_TOO_LARGE: Final = f"the request line and headers may have {MAX_HEADER_BYTES} bytes"
_NO_TUNNEL: Final = "CONNECT asks for a tunnel, and this is no proxy; ask for a path"
_BAD_TARGET: Final = "the request target is no path of ASCII characters; percent-encode all others"
_NOT_OURS: Final = (
    "this service is not called {}, and a page of that name may not use it; if it is called so, add the name to {}"
)
_SHOWN_CHARS: Final = 100
_NO_HTTP: Final = "the request is not valid HTTP/1.1: {}"
# Headers that only concern a server that accepts an upgrade; this one accepts none.
_OFFERS: Final = frozenset({b"upgrade", b"http2-settings"})


class ForeignHostError(Exception):
    """A request is for another server: the parser shall stop."""


class PlainProtocol(HttpToolsProtocol):
    """
    HTTP/1.1 and nothing else, with a limit on headers.

    httptools collects headers and trailers for as long as they come, so one connection could fill the memory. The limit is
    checked before each read is parsed, so it holds to within one read. Whatever trailers say is dropped: what a request is
    was decided by its headers.

    A client that offers an upgrade may send its request's body at once, since a server need not accept. Every Java client
    offers `h2c` with its first request. httptools takes whatever follows such headers for another protocol. So where it
    stops, a new parser gets the same headers without the offer, and goes on with HTTP/1.1.

    A request that cannot be served is answered in its turn, after the requests before it, and ends the connection.
    """

    # Both None before the first request, and `scope` between any two.
    scope: Any
    cycle: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Since the last byte of a body, or of a request.
        self._head_bytes = 0
        self._body_bytes = 0
        self._offered = False
        # None: any.
        self._hosts: AllowedHosts | None = None
        self._foreign_host: bytes | None = None
        self._refusal: bytes | None = None
        self._linger: TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._linger is not None:
            self._linger.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, or refuse it."""
        if self._refusal is not None or self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LARGE)
            return
        self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError:
            if self._foreign_host is None:
                self._refuse(HTTPStatus.BAD_REQUEST, _BAD_TARGET)
            else:
                self._refuse_host(self._foreign_host)
        except httptools.HttpParserError as exc:
            self._refuse(HTTPStatus.BAD_REQUEST, _NO_HTTP.format(str(exc) or type(exc).__name__))

    def _feed(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as stopped:
                self._offered = False
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(HTTPStatus.BAD_REQUEST, _NO_TUNNEL)
                    return
                # A view, since one read may hold thousands of such requests.
                rest = memoryview(rest)[stopped.args[0] :]
                head = self._head_without_offer()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
            else:
                return

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() not in _OFFERS]
                lines += [b"connection:" + b",".join(kept)] if kept else []
            elif name not in _OFFERS:
                lines.append(name + b":" + value)
        return b"\r\n".join([*lines, b"", b""])

    def on_headers_complete(self) -> None:
        """Start the request, or wait for the parser to stop at an offer."""
        if self.parser.should_upgrade():
            self._offered = True
            return
        self._unset_keepalive_if_required()
        self._head_bytes = self._body_bytes = 0
        hosts = self._hosts
        if hosts is not None:
            for name, value in self.headers:
                if name == b"host" and value not in hosts.known and not hosts.allows(value):
                    self._foreign_host = value
                    raise ForeignHostError
        super().on_headers_complete()
        # Trailers are collected here, and not read.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body on."""
        self._head_bytes = 0
        self._body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Forget the request, which is the application's now: as before the first one, there is no `scope`."""
        if self._offered:
            return
        self._head_bytes = 0
        self.scope = None
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with the next request, or end with the one that was refused."""
        ends = self._refusal is not None and not self.pipeline
        super().on_response_complete()
        if ends:
            self._say_refusal()

    def _refuse_host(self, host: bytes) -> None:
        name = repr(host[:_SHOWN_CHARS].decode("latin-1"))
        self._refuse(HTTPStatus.MISDIRECTED_REQUEST, _NOT_OURS.format(name, SETTING))

    def _refuse(self, status: HTTPStatus, detail: str, retry_after_s: int = 0) -> None:
        """Answer what cannot be served once everything before it is answered, and close."""
        if self._refusal is not None:
            return
        broken = self.cycle
        self._refusal = self._formed(status, detail, retry_after_s)
        if broken is None or broken.response_complete:
            self._say_refusal()
        elif broken.more_body:
            # The body of this request cannot be read, so this is its answer.
            broken.scope[REFUSED_AS] = status.value
            broken.disconnected = True
            broken.body = bytearray()
            broken.message_event.set()
            if self.pipeline and self.pipeline[0][0] is broken:
                self.pipeline.popleft()
            else:
                self._say_refusal(answered=broken.response_started)

    def _formed(self, status: HTTPStatus, detail: str, retry_after_s: int) -> bytes:
        """Return the answer: in the form that the request's protocol has for errors, where it is known, else as a problem."""
        cycle, form = self.cycle, self.app_state.get(FORMS)
        formed = None
        if form is not None and cycle is not None and not cycle.response_complete and cycle.more_body:
            formed = form(cycle.scope, status, detail)
        if formed is None:
            headers = [(b"retry-after", b"%d" % retry_after_s)] if retry_after_s else []
            formed = (status, CONTENT_TYPE.encode(), document(status, detail, {}), headers)
        said, kind, body, headers = formed
        lines = [
            f"HTTP/1.1 {said} {HTTPStatus(said).phrase}".encode(),
            b"connection: close",
            b"content-type: " + kind,
            *[b"%b: %b" % header for header in headers],
            b"content-length: %d" % len(body),
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def _say_refusal(self, *, answered: bool = False) -> None:
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        if answered or self._refusal is None:
            self.transport.close()
            return
        self.transport.write(self._refusal)
        if self.transport.can_write_eof():  # TLS has no such thing
            self.transport.write_eof()
        # What still comes is read and dropped, until the client has seen the end of it or its time is over.
        self.flow.resume_reading()
        self._linger = self.loop.call_later(LINGER_S, self._close)

    def _close(self) -> None:
        """Close, also when the client does not take what was written."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()
