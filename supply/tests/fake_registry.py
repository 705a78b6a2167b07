"""A registry of images on loopback: the part of the HTTP API (version 2) that tells digests, with tokens for public images."""

import hashlib
import json
import threading

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

INDEX = "application/vnd.oci.image.index.v1+json"


class Registry(ThreadingHTTPServer):
    """
    Has one index for each `repository:tag` in `tags`.

    Attributes:
        tags: The bytes of the index of each image.
        wants: `Bearer` or `Basic`: what it asks for before it answers; None for nothing.
        tells_digest: Whether answers have the header, which the API leaves open.
        status: What every request for an index is answered with, instead of the index.
        asked: Methods and paths of all requests.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tags: dict[str, bytes] = {}
        self.wants: str | None = "Bearer"
        self.tells_digest = True
        self.status: HTTPStatus | None = None
        self.asked: list[str] = []
        self.tokens: set[str] = set()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def put(self, name: str, content: str) -> str:
        """Set what a tag means, and return its digest."""
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"is": content}})
        self.tags[name] = body.encode()
        return f"sha256:{hashlib.sha256(body.encode()).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self.path.startswith("/token?"):
            self._give_token()
        else:
            self._answer()

    def _give_token(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        assert asked["service"] == ["fake registry"]
        token = f"for {asked['scope'][0]}"
        self.server.tokens.add(token)
        self._send(HTTPStatus.OK, json.dumps({"token": token}).encode())

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        repository, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
        scope = f"repository:{repository}:pull"
        given = self.headers.get("Authorization")
        if self.server.wants and given != f"Bearer for {scope}":
            realm = f'realm="http://{self.server.host}/token",service="fake registry",scope="{scope}"'
            self._send(HTTPStatus.UNAUTHORIZED, b"", {"WWW-Authenticate": f"{self.server.wants} {realm}"})
            return
        assert not given or given.removeprefix("Bearer ") in self.server.tokens
        body = self.server.tags.get(f"{repository}:{tag}")
        if self.server.status:
            self._send(self.server.status, b"")
        elif body is None or INDEX not in self.headers["Accept"]:
            self._send(HTTPStatus.NOT_FOUND, b"")
        else:
            digest = {"Docker-Content-Digest": f"sha256:{hashlib.sha256(body).hexdigest()}"}
            self._send(HTTPStatus.OK, body, {"Content-Type": INDEX} | (digest if self.server.tells_digest else {}))

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @override
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Registry]:
    """Serve until the block ends."""
    with Registry() as registry:
        thread = threading.Thread(target=registry.serve_forever, daemon=True)
        thread.start()
        yield registry
        registry.shutdown()
        thread.join()
