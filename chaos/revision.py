"""The version of the project that a report is about."""

import shutil
import subprocess

from testbed.access import ROOT


def revision(*question: str) -> str:
    """Return git's answer about this checkout, or `unknown` if there is none."""
    asked = subprocess.run(  # noqa: S603 - no part of it is input
        [shutil.which("git") or "git", *question],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"
