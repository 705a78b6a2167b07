"""
A file that appears under its name when it is whole, or not at all, and never in the place of another one.

It is written beside its place, under the name with `.partial`, by one process at a time. What a killed one left there is
removed by the next.
"""

import errno
import fcntl
import os

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from consumer.retention import ArchiveError

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
# What file systems without hard links answer.
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """
    Lend a file to write and read; at the end without an error it is on the disk, under `path`.

    Raises:
        ArchiveError: There is no folder, no room, another file, or another one that writes to it; nothing is left behind.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        if not path.parent.is_dir():
            raise ArchiveError(f"there is no folder {path.parent}: make it, or name another one")
        _refuse_another(path)
        with _of_this_process(partial, path) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _put(partial, path)
            finally:
                # Under the lock: afterwards it could be that of another one.
                partial.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as exc:
        if exc.errno in _NO_ROOM:
            raise ArchiveError(f"the disk of {path.parent} is full: make room there, or name another folder") from exc
        raise ArchiveError(f"{path} cannot be written: {exc.strerror or exc}") from exc


def _refuse_another(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise ArchiveError(f"{path} is there already: name another file, or move it away")


@contextmanager
def _of_this_process(partial: Path, path: Path) -> Iterator[BinaryIO]:
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArchiveError(
                    f"another archive is being written to {path}: wait for it, or name another file"
                ) from None
            if _has_name(descriptor, partial):
                if os.fstat(descriptor).st_size == 0:
                    yield file
                    return
                # Of one that was killed. It may have its final name, too, so nothing of it is changed.
                partial.unlink()


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _put(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except FileExistsError:
        _refuse_another(path)
        raise
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        _refuse_another(path)
        partial.rename(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
