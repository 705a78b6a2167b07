"""
Ends what the tests have started when the tests have gone, however they went: `kill -9` included.

A helper process reads from a pipe whose other end only this process holds. When this process is gone the pipe ends, and
what was not taken back by then is killed. A container is removed by the same means.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Final

_ROOT: Final = Path(__file__).resolve().parent.parent


def watch_process(pid: int, *folders: Path) -> None:
    """Have a process, and its children, killed when this one has gone, and then these folders removed."""
    _tell("process", str(pid), _begun(pid), *map(str, folders))


def watch_container(name: str) -> None:
    """Have a container removed when this process has gone."""
    _tell("container", name, "")


def forget(what: int | str) -> None:
    """Take back: it has ended."""
    _tell("forget", str(what), "")


def children_of(parent: int) -> list[int]:
    """Return the processes that `parent` has started and that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The command name, in parentheses, may itself hold spaces and parentheses.
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


@cache
def _helper(_owner: int) -> IO[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed.reaper"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # A Ctrl-C, or a signal to the group of the tests, must not reach it.
        start_new_session=True,
    )
    # Nobody waits for it: it goes when we go.
    process.returncode = 0
    assert process.stdin is not None
    atexit.register(process.stdin.close)
    return process.stdin


def _tell(*words: str) -> None:
    helper = _helper(os.getpid())
    helper.write("\0".join(words).encode() + b"\n")
    helper.flush()


def _begun(pid: int) -> str:
    """Return what tells a process from a later one of the same number, empty if there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return ""


def _main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[str, tuple[str, str, list[str]]] = {}
    for line in sys.stdin.buffer:
        kind, what, begun, *folders = line.decode().rstrip("\n").split("\0")
        if kind == "forget":
            watched.pop(what, None)
        else:
            watched[what] = (kind, begun, folders)
    for what, (kind, begun, folders) in watched.items():
        if kind == "container":
            subprocess.run(["docker", "rm", "--force", "--volumes", what], capture_output=True, check=False)
        elif begun and _begun(int(what)) == begun:
            for pid in (*children_of(int(what)), int(what)):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main()
