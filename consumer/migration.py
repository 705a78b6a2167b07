"""
Numbered changes of the schema: what one consists of, and which ones a database needs.

A migration is a file `NNNN_name.sql`. Each `-- step:` in it begins a transaction of its own; a file without is one step. What
follows `-- otherwise:` undoes the steps that were taken when a later one could not be. A file with `-- each run:` is executed
again by each run, for functions that an earlier release puts its own in the place of. A file that was released is never
changed; its comments may be.
"""

import hashlib
import re

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_EACH_RUN: Final = re.compile(r"^-- each run: .+$", re.MULTILINE)
_MARK: Final = re.compile(r"^-- (step|otherwise): .+$", re.MULTILINE)


class MigrationError(Exception):
    """The files, or the database, are not what they should be; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Migration:
    """
    One change.

    Attributes:
        number: Its place among the others.
        name: Of its file.
        checksum: Of all that is executed.
        steps: Statements, each of them for a transaction of its own.
        otherwise: Statements for when not all steps could be taken.
        each_run: Whether it is executed again where it was applied.
    """

    number: int
    name: str
    checksum: str
    steps: Sequence[str]
    otherwise: str | None
    each_run: bool


def parse(name: str, text: str) -> Migration:
    """
    Read a file.

    Args:
        name: Of the file, without folders.
        text: Of the file.

    Raises:
        MigrationError: The name has no number, or the parts of the file are in no order.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise MigrationError(f"{name} is no name of a migration: call it like 0001_tables.sql")
    marks = list(_MARK.finditer(text))
    kinds = [mark[1] for mark in marks]
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    parts = [text[mark.end() : end] for mark, end in zip(marks, ends, strict=False)]
    if "otherwise" in kinds[:-1] or kinds == ["otherwise"]:
        raise MigrationError(f"{name}: put `-- otherwise:` behind the last step, and once")
    if marks and _executed(text[: marks[0].start()]):
        raise MigrationError(f"{name}: put `-- step:` before the first statement")
    otherwise = parts.pop() if kinds[-1:] == ["otherwise"] else None
    checksum = hashlib.sha256("\n".join(_executed(text)).encode()).hexdigest()
    return Migration(int(found[1]), name, checksum, parts or [text], otherwise, _EACH_RUN.search(text) is not None)


def _executed(text: str) -> list[str]:
    """Return the lines without those that say something to people alone."""
    return [line.rstrip() for line in text.splitlines() if line.strip() and (_MARK.match(line) or line[:2] != "--")]


def in_order(migrations: Iterable[Migration]) -> Sequence[Migration]:
    """
    Put migrations in order.

    Raises:
        MigrationError: A number is missing or given twice.
    """
    ordered = sorted(migrations, key=lambda migration: migration.number)
    for expected, migration in enumerate(ordered, 1):
        if migration.number != expected:
            raise MigrationError(
                f"{migration.name} should have number {expected:04}: numbers begin with 0001, without gaps"
            )
    return ordered


def missing(known: Sequence[Migration], applied: Mapping[int, str]) -> Sequence[Migration]:
    """
    Return what a database needs, in order.

    A database may be ahead: a newer release was there before. What it has beyond `known` is left alone.

    Args:
        known: All that this release has, in order.
        applied: The checksums of what the database has, by number.

    Raises:
        MigrationError: The database has something else under a number, or less than what came before it.
    """
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"the database has another {migration.number:04} than {migration.name}: "
                "run the release that it was made by, or restore a backup of this one"
            )
    needed = [migration for migration in known if migration.number not in applied]
    if needed and applied and needed[0].number < max(applied):
        raise MigrationError(
            f"the database has migration {max(applied):04} and not {needed[0].name}: restore a backup, "
            "table schema_migrations was changed by hand"
        )
    return needed
