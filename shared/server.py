"""How every service is served: uvicorn on uvloop and httptools, with bounds that its defaults lack."""

from typing import Any, Final

import uvicorn

from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES: Final = 64 * 1024
# Longer than a client's or a balancer's pause between two requests, so that it is they who close idle connections.
KEEP_ALIVE_S: Final = 65
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\n\r\n"
)
_DETAIL: Final = (
    b'{"type":"about:blank","title":"Request Header Fields Too Large","status":431,'
    b'"detail":"the request line and headers may have %d bytes"}' % MAX_HEADER_BYTES
)


class BoundedHeadersProtocol(HttpToolsProtocol):
    """
    uvicorn's protocol, with an end to headers.

    httptools collects them for as long as they come, so one connection could fill the memory. The bound is checked
    before each read is parsed: it holds to within one read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes: int | None = 0

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, or refuse it."""
        if self._header_bytes is not None:
            if self._header_bytes > MAX_HEADER_BYTES:
                self.transport.write(_TOO_LARGE % len(_DETAIL) + _DETAIL)
                self.transport.close()
                return
            self._header_bytes += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Stop counting: what follows is the body, which has its own limit."""
        self._header_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count again: what follows are the next request's headers."""
        self._header_bytes = 0
        super().on_message_complete()


def serve(app: FastAPI, *, host: str, port: int, shutdown_s: int) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Args:
        app: Started and stopped with the server.
        host: Address to listen on.
        port: Port to listen on.
        shutdown_s: Time for requests under way, in seconds.
    """
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedHeadersProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=shutdown_s,
    )
