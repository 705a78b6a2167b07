# ruff: noqa: INP001 - a script beside what it makes; grafana/ is no package
"""
Make `grafana/dashboards/*.json`: `python grafana/generate.py`, or `--check` to only compare.

Dashboards are code (`grafana/boards/`), so that a panel's unit, description and limits are reviewed together with its query.
Queries may use only metrics that exist, and the files must be up to date: `integration-tests/test_contracts.py` holds both.
"""

import argparse
import sys

from pathlib import Path
from typing import Final

from boards import consumer, fleet, ingest, logs, replication, runbook, stores
from boards.board import render

FOLDER: Final = Path(__file__).parent / "dashboards"
RUNBOOK: Final = Path(__file__).parent.parent / "docs" / "runbook.md"


def wanted() -> dict[Path, str]:
    """Return each file with its text."""
    sections = runbook.sections(RUNBOOK.read_text())
    made = {
        "fleet": fleet.build(sections),
        "ingest": ingest.build(),
        "replication": replication.build(),
        "consumer": consumer.build(),
        "stores": stores.build(),
        "logs": logs.build(),
        "runbook": runbook.build(sections),
    }
    return {FOLDER / f"{name}.json": render(board) for name, board in made.items()}


def main() -> int:
    """Write the files, or compare them; 1 when they differ."""
    parser = argparse.ArgumentParser(description="Make grafana/dashboards/*.json from code.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when a file is not what would be written"
    )
    check = parser.parse_args().check
    files = wanted()
    there = {path: path.read_text() for path in FOLDER.glob("*.json")}
    if check:
        for path in sorted(path for path in files.keys() | there.keys() if files.get(path) != there.get(path)):
            sys.stderr.write(f"{path.name} is not what the code makes: run python grafana/generate.py\n")
        return int(files != there)
    for path, text in files.items():
        path.write_text(text)
    for path in there.keys() - files.keys():
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
