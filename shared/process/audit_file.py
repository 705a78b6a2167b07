"""
The files of an audit log: chained lines, bounded files, and a head that is kept beside them.

Everything here waits for the disk; `shared.process.audit` calls it beside the event loop. What was appended is on the disk. What
could not be appended is not there in part either, so that it can be tried again.
"""

import fcntl
import os

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from shared.access.audit_chain import BEGINNING, Broken, chained, digest, follow, named
from shared.access.audit_head import Head, read_head, signed

Act = Mapping[str, Any]

UNKNOWN: Final = "unknown"
"""What a line names where the one before it cannot be known. No line has that digest, so the chain shows the place."""

_MODE: Final = 0o600
_MAX_HEAD_BYTES: Final = 4096


class AuditFile:
    """
    The log of one service. It opens itself with the first lines, so that a full disk does not end a start.

    Args:
        folder: Where its files are; of this service alone.
        name: What the files are called: `gateway-000001.jsonl`, and `gateway.head`.
        secret: What the head is signed with.
        max_bytes: Of one file.
        max_files: How many are kept.
    """

    def __init__(self, folder: Path, name: str, secret: bytes, *, max_bytes: int, max_files: int) -> None:
        self._folder = folder
        self._name = name
        self._secret = secret
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._head: Head | None = None
        self._lock: IO[bytes] | None = None

    def append(self, acts: Sequence[Act]) -> None:
        """
        Write acts, all of them or none.

        Raises:
            OSError: They are not written.
        """
        head = self._open() if self._head is None else self._head
        head = self._turned(head)
        lines, prev = [], head.digest
        for number, act in enumerate(acts, head.acts + 1):
            lines.append(chained({"n": number, **act}, prev))
            prev = digest(lines[-1])
        new = Head(head.first, head.prev, head.last, head.line + len(lines), head.acts + len(lines), prev)
        self._write(path_of(self._folder, self._name, head.last), b"".join(line + b"\n" for line in lines), new)
        self._head = new
        self._forget(new.first)

    def close(self) -> None:
        """Let another process write on."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._head = None

    def _open(self) -> Head:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock is None:
            lock = self._opened(self._folder / f"{self._name}.lock", os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                lock.close()
                raise OSError(f"another process writes the audit log in {self._folder}") from exc
            self._lock = lock
        return self._resumed()

    def _resumed(self) -> Head:
        """Return where to go on. Where that is in doubt, the next line breaks the chain, and a check names the place."""
        numbers = sorted(number for number, _ in files_of(self._folder, self._name))
        try:
            head = read_head(self._head_file().read_bytes()[:_MAX_HEAD_BYTES], self._secret)
        except (FileNotFoundError, ValueError):
            head = None
        if head is not None:
            return self._caught_up(head)
        if not numbers:
            return Head(digest=UNKNOWN) if self._head_file().exists() else Head()
        self._end_line(numbers[-1])
        lines = lines_of(path_of(self._folder, self._name, numbers[-1]))
        first = named(_first_line(path_of(self._folder, self._name, numbers[0])))
        return Head(numbers[0], first or BEGINNING, numbers[-1], len(lines), 0, UNKNOWN)

    def _caught_up(self, head: Head) -> Head:
        """Take up lines that were written just before an end, when their head was not."""
        path = path_of(self._folder, self._name, head.last)
        try:
            lines = lines_of(path)
        except FileNotFoundError:
            lines = []
        known, newer = lines[: head.line], lines[head.line :]
        is_whole = len(known) == head.line and (not known or digest(known[-1]) == head.digest)
        further = follow(newer, head.digest)
        if not is_whole or isinstance(further, Broken):
            self._end_line(head.last)
            count = len(lines_of(path)) if path.exists() else 0
            return Head(head.first, head.prev, head.last, count, head.acts, head.digest)
        self._drop_half_line(path)
        return Head(head.first, head.prev, head.last, len(lines), head.acts + len(newer), further.head)

    def _end_line(self, number: int) -> None:
        """Let what was found be, and the next line begin anew."""
        path = path_of(self._folder, self._name, number)
        if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            with self._opened(path, os.O_WRONLY | os.O_APPEND) as file:
                file.write(b"\n")

    def _drop_half_line(self, path: Path) -> None:
        """A line without its end was never told to be written: the process was killed in it."""
        with suppress(FileNotFoundError):
            text = path.read_bytes()
            if not text.endswith(b"\n"):
                os.truncate(path, text.rfind(b"\n") + 1)

    def _turned(self, head: Head) -> Head:
        """Begin a file if the last one is full, and let the oldest go."""
        path = path_of(self._folder, self._name, head.last)
        if not path.exists() or path.stat().st_size < self._max_bytes:
            return head
        last = head.last + 1
        first, prev = head.first, head.prev
        while last - first >= self._max_files:
            first += 1
            oldest = path_of(self._folder, self._name, first)
            prev = named(_first_line(oldest)) or UNKNOWN if first < last else head.digest
        return Head(first, prev, last, 0, head.acts, head.digest)

    def _write(self, path: Path, text: bytes, head: Head) -> None:
        with self._opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                _write_all(file, text)
                os.fsync(file.fileno())
                self._put_head(head)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file.fileno(), before)
                raise

    def _put_head(self, head: Head) -> None:
        path = self._head_file()
        new = path.with_name(f"{path.name}.new")
        with self._opened(new, os.O_WRONLY | os.O_TRUNC | os.O_CREAT) as file:
            _write_all(file, signed(head, self._secret))
            os.fsync(file.fileno())
        new.replace(path)

    def _forget(self, first: int) -> None:
        for number, path in files_of(self._folder, self._name):
            if number < first:
                with suppress(OSError):
                    path.unlink()

    def _head_file(self) -> Path:
        return head_of(self._folder, self._name)

    @staticmethod
    def _opened(path: Path, flags: int) -> IO[bytes]:
        # Unbuffered, so that closing it does not write what could not be written before.
        opened = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        return os.fdopen(opened, "r+b" if flags & os.O_RDWR else "wb", buffering=0)


def _write_all(file: IO[bytes], text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[file.write(left) :]


def path_of(folder: Path, name: str, number: int) -> Path:
    """Return a file of a log."""
    return folder / f"{name}-{number:06}.jsonl"


def head_of(folder: Path, name: str) -> Path:
    """Return the file of a log's head."""
    return folder / f"{name}.head"


def files_of(folder: Path, name: str) -> Iterator[tuple[int, Path]]:
    """Yield the files of a log, and their numbers."""
    for path in folder.glob(f"{name}-*.jsonl"):
        number = path.stem.removeprefix(f"{name}-")
        if number.isascii() and number.isdigit():
            yield int(number), path


def lines_of(path: Path) -> list[bytes]:
    """Return the whole lines of a file; what comes after the last line feed is none."""
    return path.read_bytes().split(b"\n")[:-1]


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline().rstrip(b"\n")
    except FileNotFoundError:
        return b""
