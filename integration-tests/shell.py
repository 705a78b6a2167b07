"""Parts of `setup.sh`, run from tests as they run on a machine: functions by name, or the script itself in a checkout of its own."""

import os
import shlex
import subprocess

from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
# As setup.sh sources them.
_PARTS: Final = (
    "say dotenv settings preflight secrets pki user postgres install render fleet links volumes backup tail archive compose proof".split()  # noqa: SIM905 - as in setup.sh
)

_READ: Final = (
    "setup.sh native mirrormaker prometheus grafana toxiproxy gateway producer consumer console fleet shared *.yml Dockerfile *.lock".split()  # noqa: SIM905
)


def environment(**more: str) -> dict[str, str]:
    """Return what a plain login has, and no more."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root")} | more


def run_bash(
    script: str, *arguments: str, env: Mapping[str, str] | None = None, root: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a script in which every function of setup.sh is known, in the checkout `root`, whose state is in `.run` there."""
    sources = "\n".join(f"source native/{part}.sh" for part in _PARTS)
    prelude = f"""
        set -euo pipefail
        ROOT={shlex.quote(str(root))}
        RUN_DIR=$(readlink -f -- "$ROOT/.run") CALLED_FROM=$PWD
        FLEET_USER=$(id -un)
        source "$ROOT/native/surroundings.sh"
        umask 077
        cd -- "$ROOT"
        {sources}
        SOCKET_DIR=$(socket_dir)
        POSTGRES_SOCKET_DIR=$SOCKET_DIR/postgres
        export ROOT RUN_DIR FLEET_USER SOCKET_DIR POSTGRES_SOCKET_DIR
    """
    return subprocess.run(
        ["bash", "-c", prelude + script, "setup.sh", *arguments],
        env=environment() if env is None else env,
        capture_output=True,
        text=True,
        check=False,
    )


def copy_of_the_checkout(folder: Path) -> Path:
    """Copy what setup.sh reads of the checkout to a folder, which is made."""
    folder.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-zco", "--exclude-standard", "--", *_READ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
            target.chmod((ROOT / name).stat().st_mode)
    return folder


def put_on_path(folder: Path, name: str, script: str) -> str:
    """Make a program of that name, and return a PATH on which it comes first."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/usr/bin/env bash\n{script}\n")
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
