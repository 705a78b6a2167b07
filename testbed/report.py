"""
Keeps the output of a failed test, and the end of each part's log at that moment.

Each failure has a folder in the one that `TEST_REPORT` names, by default `.run/test-report`. The file `flaky` there has a
line for each test that failed and then passed when it was run again.
"""

import os
import re
import shutil
import subprocess

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
_LAST_BYTES: Final = 1_000_000
_NAME_CHARACTERS: Final = 120

# Log files of the processes that this one started, by unique names.
_logs: MutableMapping[str, Path] = {}


def watch_log(name: str, file: Path) -> None:
    """Keep the end of this file with each failure from now on, until the file is removed."""
    _logs[f"{name}-{len(_logs)}"] = file


def folder() -> Path:
    """Return the folder of this run's failures."""
    return Path(os.environ.get("TEST_REPORT") or ROOT / ".run" / "test-report")


def keep(report: pytest.TestReport, *, fleet: bool) -> Path:
    """
    Write down a failure.

    Args:
        report: The report of pytest.
        fleet: Whether the test used the running fleet.
    """
    name = re.sub(r"[^\w.-]+", "-", report.nodeid)[-_NAME_CHARACTERS:].strip("-")
    place = next(_free(folder() / name))
    place.mkdir(parents=True)
    (place / "report.txt").write_text(
        f"{report.nodeid}: {report.when} failed\n\n{report.longreprtext}\n\n{report.caplog}\n{report.capstdout}\n{report.capstderr}"
    )
    for log_name, file in list(_logs.items()):
        if file.exists():
            _copy_end(file, place / f"{log_name}.log")
        else:
            del _logs[log_name]
    if fleet:
        _keep_fleet(place)
    return place


def note_flaky(nodeid: str) -> None:
    """Write down that a test failed, and passed when it was run again."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "flaky").open("a") as file:
        file.write(f"{nodeid}\n")


def _keep_fleet(place: Path) -> None:
    for file in (ROOT / ".run" / "logs").glob("*.log"):
        _copy_end(file, place / f"fleet-{file.name}")
    mode = ROOT / ".run" / "mode"
    if mode.exists() and mode.read_text().strip() == "compose":
        with (place / "fleet-compose.log").open("wb") as file_:
            command = ["docker", "compose", "logs", "--no-color", "--timestamps", "--tail", "3000"]
            subprocess.run(command, cwd=ROOT, stdout=file_, stderr=subprocess.STDOUT, timeout=60, check=False)
    with (place / "fleet-status.txt").open("wb") as file_:
        subprocess.run(
            [ROOT / "setup.sh", "status"], cwd=ROOT, stdout=file_, stderr=subprocess.STDOUT, timeout=120, check=False
        )


def _copy_end(file: Path, to: Path) -> None:
    with file.open("rb") as source, to.open("wb") as target:
        source.seek(max(0, file.stat().st_size - _LAST_BYTES))
        shutil.copyfileobj(source, target)


def _free(place: Path) -> Iterator[Path]:
    yield from (p for n in range(1, 1000) if not (p := place.with_name(f"{place.name}-{n}")).exists())
