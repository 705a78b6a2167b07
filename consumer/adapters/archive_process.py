"""Runs `python -m consumer.archive` for retention: as a process, so that it takes no memory and no turns of the consumer's."""

import asyncio
import json
import os
import sys
import time

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final

from consumer.retention import Archived, ArchiveError

# After a failure, for a disk that is full would be filled again and again.
_PAUSE_S: Final = 600.0


# It gets the whole DSN by the first, and would complain of two ways to give it.
_DSN: Final = ("CONSUMER_POSTGRES_DSN", "CONSUMER_POSTGRES_PASSWORD")


def _without_dsn() -> dict[str, str]:
    given = {name for variable in _DSN for name in (variable, f"{variable}_FILE")}
    return {name: value for name, value in os.environ.items() if name not in given}


class ArchiveProcess:
    """
    Puts days into files of one folder, each called after its day.

    Args:
        folder: Where they go.
        dsn: Where the store is.
        clock: Seconds, monotonic.
    """

    def __init__(self, folder: Path, dsn: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._dsn = dsn
        self._clock = clock
        self._failed: dict[date, tuple[float, str]] = {}

    async def __call__(self, day: date) -> Archived:
        """
        Put a day into a file, unless there is one that has it.

        Raises:
            ArchiveError: It could not be done, now or a short time ago.
        """
        until, why = self._failed.get(day, (0.0, ""))
        if why and self._clock() < until:
            raise ArchiveError(why)
        code, out, err = await self._run("--again", str(day), str(self._folder / f"logs_{day:%Y%m%d}.parquet"))
        if code != 0:
            why = (err.strip() or f"the archive process ended with {code}").splitlines()[-1]
            self._failed[day] = (self._clock() + _PAUSE_S, why)
            raise ArchiveError(why)
        self._failed.pop(day, None)
        done = json.loads(out)
        return Archived(done["file"], done["rows"], done["sumSeq"])

    async def _run(self, *arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "consumer.archive",
            *arguments,
            env=_without_dsn() | {"CONSUMER_POSTGRES_DSN": self._dsn},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        return process.returncode or 0, out.decode(), err.decode(errors="replace")
