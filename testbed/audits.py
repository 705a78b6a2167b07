"""The audit log of a service in tests."""

import json

from pathlib import Path
from typing import Any

from shared.process.audit_check import check
from shared.process.audit_file import files_of, lines_of
from testbed.keys import PEPPER


def acts(folder: Path, name: str, *kinds: str) -> list[dict[str, Any]]:
    """Return the acts of a log that is whole; of some kinds, or of all."""
    found = check(folder, name, PEPPER.encode())
    assert not found.problems, found.problems
    lines = [line for _, path in sorted(files_of(folder, name)) for line in lines_of(path)]
    return [act for act in map(json.loads, lines) if not kinds or act["act"] in kinds]


def everything(folder: Path) -> str:
    """Return the text of all files of a folder."""
    return "".join(path.read_text() for path in folder.iterdir())


def block(folder: Path) -> None:
    """Let a log not be written: a file stands where its folder should be."""
    folder.write_text("")


def unblock(folder: Path) -> None:
    """Let it be written again."""
    folder.unlink()


def is_away(folder: Path) -> bool:
    """Tell whether there is no log, and no folder for one."""
    return not folder.exists()
