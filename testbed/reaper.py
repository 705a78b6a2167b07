"""
Ends the processes that tests started, and removes their containers, when the tests have ended, also by `kill -9`.

A helper process reads from a pipe whose other end only this process holds. When this process has ended, the pipe ends, too.
Then the helper kills each process, and removes each container, that was not forgotten (`forget`) before.
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
    """Let the helper kill a process and its children, and then remove these folders, when this process has ended."""
    _tell("process", str(pid), _begun(pid), *map(str, folders))


def watch_container(name: str) -> None:
    """Let the helper remove a container when this process has ended."""
    _tell("container", name, "")


def forget(what: int | str) -> None:
    """Forget a process or container: it has ended."""
    _tell("forget", str(what), "")


def children_of(parent: int) -> list[int]:
    """Return the running children of `parent`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The command name, in parentheses, may contain spaces and parentheses.
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
        # A Ctrl-C, or a signal to the tests' process group, must not reach the helper.
        start_new_session=True,
    )
    # This process never waits for the helper, which ends after it.
    process.returncode = 0
    assert process.stdin is not None
    atexit.register(process.stdin.close)
    return process.stdin


def _tell(*words: str) -> None:
    helper = _helper(os.getpid())
    helper.write("\0".join(words).encode() + b"\n")
    helper.flush()


def _begun(pid: int) -> str:
    """Return a mark that distinguishes a process from a later one with the same id. It is empty if there is none."""
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
