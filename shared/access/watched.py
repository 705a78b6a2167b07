"""A file whose content is in force, and is read again within a second of a change."""

import asyncio

from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

log: Final = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")
EVERY_S: Final = 0.5
MAX_BYTES: Final = 16 * 1024 * 1024


class WatchedFileError(Exception):
    """A file cannot be used, and there is nothing older that could stay in force."""


class Watched(Generic[T]):
    """
    What a file says, as long as it makes sense.

    One that makes none, as when it is half-written, changes nothing: the old content stays in force,
    `problem` says so, and the log does once.

    Args:
        path: The file. It may be replaced, or written to, or be a link that is changed.
        parse: Makes of its bytes what is in force.
        what: What it is called in logs and problems: `the key file`.
        on_change: Told after new content came into force, and when `problem` came or went.

    Raises:
        WatchedFileError: It cannot be used from the beginning.

    Attributes:
        value: What is in force.
        problem: Why the file is not what is in force; None while it is.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes], T],
        *,
        what: str,
        on_change: Callable[["Watched[T]"], None] | None = None,
    ) -> None:
        self._path = path
        self._parse = parse
        self._what = what
        self._on_change = on_change
        self.problem: str | None = None
        try:
            self._seen: bytes | OSError = self._read()
            self.value: T = parse(self._seen)
        except (OSError, ValueError) as exc:
            raise WatchedFileError(f"{what} {path} cannot be used: {_why(exc)}") from exc

    def look(self) -> None:
        """Read the file again now."""
        try:
            found: bytes | OSError = self._read()
        except OSError as exc:
            found = exc
        self._take(found)

    async def run(self, every_s: float = EVERY_S) -> None:
        """Read it again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                found: bytes | OSError = await asyncio.to_thread(self._read)
            except OSError as exc:
                found = exc
            self._take(found)

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise OSError(f"it has more than {MAX_BYTES} bytes")
        return text

    def _take(self, found: bytes | OSError) -> None:
        if _same(found, self._seen):
            return
        self._seen = found
        why = self._use(found)
        if why is None:
            self.problem = None
            log.info("a file was read again", file=str(self._path))
        else:
            self.problem = f"{self._what} {self._path} cannot be used, and what it said before stays in force: {why}"
            log.error("a file cannot be used; what it said before stays in force", file=str(self._path), why=why)
        if self._on_change is not None:
            self._on_change(self)

    def _use(self, found: bytes | OSError) -> str | None:
        """Let it come into force, or return why that cannot be."""
        if isinstance(found, OSError):
            return _why(found)
        try:
            self.value = self._parse(found)
        except ValueError as exc:
            return _why(exc)
        return None


def _same(one: bytes | OSError, other: bytes | OSError) -> bool:
    if isinstance(one, OSError) and isinstance(other, OSError):
        return str(one) == str(other)
    return one == other


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
