"""
The files that pages load: style, script, icon. All of them are in this folder, and none comes from elsewhere.

Their address has a hash of all of them. So a browser may keep them for good, modules that import each other fit together, and
after an update a page asks for the new ones.
"""

import gzip
import hashlib

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from shared.wire.problem import NotFoundError

FOLDER: Final = Path(__file__).parent / "static"
_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_GOOD: Final = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
_ASK_AGAIN: Final = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file in memory, plain and compressed."""

    kind: str
    plain: bytes
    zipped: bytes


class StaticFiles:
    """
    All files of a folder, read once.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = sorted(path for path in folder.iterdir() if path.suffix in _KINDS)
        self._files = {path.name: _read(path) for path in paths}
        digest = hashlib.sha256()
        for name, file in self._files.items():
            digest.update(f"{name} {len(file.plain)}\n".encode() + file.plain)
        self._version = digest.hexdigest()[:12]

    @property
    def prefix(self) -> str:
        """Where pages find them."""
        return f"/static/{self._version}"

    def router(self) -> APIRouter:
        """Build the route."""
        router = APIRouter(include_in_schema=False)

        @router.get("/static/{version}/{name}")
        async def static(version: str, name: str, request: Request) -> Response:
            """Serve a file; one of another version as it is now, which no browser keeps."""
            if name not in self._files:
                raise NotFoundError(f"there is no file {name}")
            file = self._files[name]
            headers = dict(_FOR_GOOD if version == self._version else _ASK_AGAIN)
            body = file.plain
            if "gzip" in request.headers.get("accept-encoding", ""):
                headers["Content-Encoding"] = "gzip"
                body = file.zipped
            return Response(body, headers=headers, media_type=file.kind)

        return router


def _read(path: Path) -> StaticFile:
    plain = path.read_bytes()
    return StaticFile(_KINDS[path.suffix], plain, gzip.compress(plain, mtime=0))
