"""
`python -m consumer.archive DAY FILE`: put a day that is over into a Parquet file, and say what is in it.

What needs the extra `archive` is imported when it is known to be there (`archiving.py`).
"""

import argparse
import json
import os
import sys

from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pydantic_settings import SettingsConfigDict

from consumer.retention import ArchiveError
from shared.process.settings import ServiceSettings, run_main, secret, with_password

NEEDS: Final = "an archive needs the packages of the extra `archive`: pip install .[archive]"


class ArchiveSettings(ServiceSettings):
    """From the same variables as the consumer's."""

    model_config = SettingsConfigDict(env_prefix="CONSUMER_", frozen=True)

    postgres_dsn: str = secret("postgresql://logs:logs@127.0.0.1:5432/logs", description="PostgreSQL, as a URL.")
    postgres_password: str = secret("", description="Of the user that `CONSUMER_POSTGRES_DSN` names.")

    @property
    def store(self) -> str:
        """PostgreSQL as a URL that has its password."""
        return with_password(self.postgres_dsn, self.postgres_password)


def main() -> int:
    """
    Archive one day.

    Returns:
        Exit status: 1 when there is no file.
    """
    parser = argparse.ArgumentParser(prog="python -m consumer.archive")
    parser.add_argument("day", type=_day, metavar="DAY", help="like 2026-11-23")
    parser.add_argument("file", type=Path, metavar="FILE", help="like 2026-11-23.parquet")
    parser.add_argument("--again", action="store_true", help="where FILE is there, use it or take a name beside it")
    arguments = parser.parse_args()
    settings = ArchiveSettings.read()
    if find_spec("pyarrow") is None:
        sys.stderr.write(f"{NEEDS}\n")
        return 1
    from consumer.archiving import archive  # noqa: PLC0415 - an extra

    os.nice(10)  # the work of the fleet goes first
    try:
        done = archive(settings.store, arguments.day, arguments.file.absolute(), again=arguments.again)
    except ArchiveError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    sys.stdout.write(json.dumps({"file": done.file, "rows": done.rows, "sumSeq": done.sum_seq}) + "\n")
    return 0


def _day(written: str) -> date:
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{written}' is no day: write it like 2026-11-23") from None


if __name__ == "__main__":
    run_main(main)
