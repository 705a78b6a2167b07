"""
Puts a day into a Parquet file, reads it back, and says what is in it. Needs the packages of the extra `archive`.

The day stays in the table. The file appears under its name when it is whole; what goes wrong before that leaves nothing behind,
and an error that says what to change.
"""

import asyncio
import os

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO

from consumer.adapters import parquet
from consumer.adapters.postgres_day_rows import copy_day, count_day, days_that_are_there
from consumer.adapters.whole_file import whole_file
from consumer.retention import Archived, ArchiveError


def archive(dsn: str, day: date, file: Path, *, again: bool = False) -> Archived:
    """
    Put a day into a file.

    Args:
        dsn: PostgreSQL.
        day: One that is over.
        file: Where to; must not exist.
        again: Where it exists, be content if it has the rows that the day has, else take another name beside it.

    Raises:
        ArchiveError: It could not be done, and no file was made.
    """
    _check_day(day, asyncio.run(days_that_are_there(dsn)))
    if again:
        found = _there_already(dsn, day, file)
        if isinstance(found, Archived):
            return found
        file = found
    return _write(dsn, day, file)


def _check_day(day: date, there: set[date]) -> None:
    today = datetime.now(UTC).date()
    if day >= today:
        raise ArchiveError(f"{day} is not over: in UTC it is {today}, and rows of it are still to come")
    if day not in there:
        over = sorted(each for each in there if each < today)
        known = f"those that are over go from {over[0]} to {over[-1]}" if over else "none is over yet"
        raise ArchiveError(f"{day} has no partition: {known}. Days that came too late for one are in logs_default")


def _there_already(dsn: str, day: date, file: Path) -> Archived | Path:
    now = asyncio.run(count_day(dsn, day))
    for number in range(1, 1000):
        name = file if number == 1 else file.with_name(f"{file.stem}.{number}{file.suffix}")
        if not _is_there(name):
            return name
        if _has(name, now):
            return Archived(str(name), *now)
    raise ArchiveError(f"{file} is there in 999 versions: move them away")


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError as exc:
        raise ArchiveError(
            f"{file} cannot be looked for: {exc.strerror or exc}; name a folder that the user of this process may use"
        ) from exc


def _has(file: Path, rows_and_sum: tuple[int, int]) -> bool:
    """Tell whether a file has these rows: what it says of itself first, and then what is in it."""
    try:
        with file.open("rb") as present:
            if parquet.said(present) != rows_and_sum:
                return False
            content = parquet.read_back(present)
    except (OSError, ValueError):  # also pyarrow's, of a file that was harmed
        return False
    return (content.rows, content.sum_seq) == rows_and_sum


def _write(dsn: str, day: date, file: Path) -> Archived:
    with whole_file(file) as target:
        content = _stream(lambda into: asyncio.run(copy_day(dsn, day, parquet.COLUMNS, parquet.NULL, into)), target)
        target.flush()
        target.seek(0)
        if not _reads_as(target, content):
            raise ArchiveError(f"{file} does not read as it was written: its disk is not to be trusted")
    return Archived(str(file), content.rows, content.sum_seq)


def _reads_as(target: BinaryIO, content: parquet.Content) -> bool:
    try:
        return parquet.read_back(target) == content
    except (OSError, ValueError):  # pyarrow's
        return False


def _stream(send: Callable[[BinaryIO], int], target: BinaryIO) -> parquet.Content:
    """Let one thread read rows from PostgreSQL while this one writes them; a pipe between them holds little."""
    reading, writing = os.pipe()

    def feed() -> int:
        with os.fdopen(writing, "wb") as into:
            return send(into)

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(feed)
        with os.fdopen(reading, "rb") as source:
            try:
                content = parquet.write(source, target)
            except ValueError:  # pyarrow's, of what was cut off; why it was, the other thread knows
                with suppress(BrokenPipeError):
                    sent.result()
                raise
    if sent.result() != content.rows:
        raise ArchiveError(f"PostgreSQL sent {sent.result()} rows, and {content.rows} were written")
    return content
