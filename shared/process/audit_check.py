"""Checks an audit log: says each line at which its chain was changed, and that its end was cut off. It may run while the service writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.access.audit_chain import BEGINNING, Broken, digest, follow, named
from shared.access.audit_head import read_head
from shared.process.audit_file import files_of, head_of, lines_of, path_of

# A log that turns to its next file meanwhile is looked at again.
_TRIES: Final = 5


class AuditError(Exception):
    """The log cannot be checked; the message says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """
    What a check found.

    Attributes:
        problems: A sentence each.
        lines: How many were looked at.
        newer: How many of these came after the head was read.
        digest: Of the last line.
    """

    problems: tuple[str, ...]
    lines: int
    newer: int
    digest: str


def check(folder: Path, name: str, secret: bytes) -> Found:
    """
    Check a log.

    Raises:
        AuditError: There is none.
    """
    for _ in range(_TRIES):
        before = _read(head_of(folder, name))
        found = _checked(folder, name, before, secret)
        if not found.problems or _read(head_of(folder, name)) == before:
            break
    return found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise AuditError(f"{path} cannot be read: {exc.strerror}") from exc


def _checked(folder: Path, name: str, head_text: bytes | None, secret: bytes) -> Found:
    files = dict(files_of(folder, name))
    if head_text is None and not files:
        raise AuditError(f"there is no audit log of {name} in {folder}; FLEET_SECURITY=on ./setup.sh starts one")
    problems: list[str] = []
    head, problem = None, "it is gone"
    if head_text is not None:
        try:
            head, problem = read_head(head_text, secret), ""
        except ValueError as exc:
            problem = str(exc)
    if head is None:
        problems.append(f"{head_of(folder, name).name}: {problem}, so that a cut end of the log cannot be known")
        first = min(files, default=1)
        prev = BEGINNING if first == 1 else _names(path_of(folder, name, first))
    else:
        first, prev = head.first, head.prev
    lines = newer = 0
    for number in range(first, max([*files, head.last if head else first]) + 1):
        path = path_of(folder, name, number)
        if number not in files:
            if head is None or number < head.last or head.line:
                problems.append(f"{path.name}: the file is gone")
            continue
        text = lines_of(path)
        lines += len(text)
        known = len(text) if head is None or number < head.last else head.line if number == head.last else 0
        newer += max(len(text) - known, 0)
        expected = head.digest if head is not None and number == head.last else None
        prev = _followed(problems, path.name, text[:known], prev, expected)
        prev = _followed(problems, path.name, text[known:], prev, None, known)
    return Found(tuple(problems), lines, newer, prev)


def _followed(  # noqa: PLR0917 - private
    problems: list[str], file: str, lines: Sequence[bytes], prev: str, expected: str | None, before: int = 0
) -> str:
    """Follow a part of the chain, go on after each place where it breaks, and return its last digest."""
    done = 0
    while True:
        found = follow(lines[done:], prev, expected)
        if not isinstance(found, Broken):
            return found.head
        problems.append(f"{file}, line {before + done + found.line}: {found.reason}")
        done += found.line - 1
        if done >= len(lines):
            # The end is another than the head says: what follows names the true one.
            return expected or prev
        line = lines[done]
        if (names := named(line)) is None:
            done, prev = done + 1, digest(line)
        else:
            prev = names


def _names(path: Path) -> str:
    lines = lines_of(path)
    return (named(lines[0]) if lines else None) or BEGINNING
