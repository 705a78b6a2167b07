"""How every service is served: uvicorn on uvloop and httptools, with what its defaults lack."""

from http import HTTPStatus
from typing import Any, Final

import httptools
import uvicorn

from fastapi import FastAPI
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shared.wire.problem import CONTENT_TYPE

MAX_HEADER_BYTES: Final = 64 * 1024
# Longer than a client's or a balancer's pause between two requests, so that the other side closes idle connections.
KEEP_ALIVE_S: Final = 65
_TOO_LARGE: Final = f"the request line and headers may have {MAX_HEADER_BYTES} bytes"
_NO_TUNNEL: Final = "CONNECT asks for a tunnel, and this is no proxy; ask for a path"
_BAD_TARGET: Final = "the request target is no path of ASCII characters; percent-encode all others"
_NO_HTTP: Final = "the request is not valid HTTP/1.1: {}"
# Headers that only concern a server that accepts an upgrade; this one accepts none.
_OFFERS: Final = frozenset({b"upgrade", b"http2-settings"})


class LogProtocol(HttpToolsProtocol):
    """
    uvicorn's protocol with a limit on headers, without upgrades, and with errors that are sentences.

    httptools collects headers for as long as they come, so one connection could fill the memory. The limit is checked
    before each read is parsed, so it holds to within one read.

    A client that offers an upgrade may send its request's body at once, since a server need not accept. Every Java client
    offers `h2c` with its first request. httptools takes whatever follows such headers for another protocol. So where it
    stops, a new parser gets the same headers without the offer, and goes on with HTTP/1.1.

    A request that cannot be parsed is answered in its turn, after the requests before it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes: int | None = 0
        self._offered = False
        self._refusal: bytes | None = None

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, or refuse it."""
        self._unset_keepalive_if_required()
        if self._refusal is not None or self.transport.is_closing():
            return
        if self._header_bytes is not None:
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LARGE)
                return
            self._header_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserCallbackError:
            self._refuse(HTTPStatus.BAD_REQUEST, _BAD_TARGET)
        except httptools.HttpParserError as exc:
            self._refuse(HTTPStatus.BAD_REQUEST, _NO_HTTP.format(str(exc) or type(exc).__name__))

    def _parse(self, data: bytes) -> None:
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
        """Stop counting: what follows is the body, which has its own limit."""
        if self.parser.should_upgrade():
            self._offered = True
            return
        self._header_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count again: what follows are the next request's headers."""
        if self._offered:
            return
        self._header_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or end with the one that was refused."""
        ends = self._refusal is not None and not self.pipeline
        super().on_response_complete()
        if ends:
            self._say_refusal()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer what cannot be parsed once everything before it is answered, and close."""
        body = to_json({"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail})
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-type: {CONTENT_TYPE}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self._refusal = head.encode() + body
        broken: RequestResponseCycle | None = self.cycle  # None until the first request
        if broken is not None and broken.more_body and not broken.response_complete:
            # The body of this request cannot be read, so this is its answer.
            broken.disconnected = True
            broken.message_event.set()
            if self.pipeline and self.pipeline[0][0] is broken:
                self.pipeline.popleft()
            else:
                self._say_refusal(answered=broken.response_started)
        elif broken is None or broken.response_complete:
            self._say_refusal()

    def _say_refusal(self, *, answered: bool = False) -> None:
        if self._refusal is not None and not answered and not self.transport.is_closing():
            self.transport.write(self._refusal)
        self.transport.close()


def serve(app: FastAPI, *, host: str, port: int, shutdown_s: int) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Args:
        app: Started and stopped with the server.
        host: Address to listen on.
        port: Port to listen on.
        shutdown_s: Time for requests in flight, in seconds.
    """
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=LogProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=shutdown_s,
    )
