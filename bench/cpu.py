"""
Processor time and memory of processes with all their children, from `/proc`.

PostgreSQL works in children that come and go. The kernel adds a child's time to its parent when the child has ended, so
nothing is lost, and nothing is counted twice.
"""

import os

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the command's name, from 0; see proc(5).
_PARENT, _USER, _SYSTEM, _WAITED_USER, _WAITED_SYSTEM = 1, 11, 12, 13, 14


@dataclass(frozen=True, slots=True)
class Process:
    """
    One process.

    Attributes:
        parent: The process that started it.
        ticks: Processor time of its own and of the children that it has waited for.
    """

    parent: int
    ticks: int


def parse_stat(text: str) -> Process:
    """Read the content of `/proc/PID/stat`."""
    # The command's name, in parentheses, may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    ticks = sum(int(fields[index]) for index in (_USER, _SYSTEM, _WAITED_USER, _WAITED_SYSTEM))
    return Process(int(fields[_PARENT]), ticks)


def family(root: int, processes: Mapping[int, Process]) -> set[int]:
    """Return a process and all that descend from it; nothing if there is no such process."""
    members: set[int] = set()
    found = {root} & processes.keys()
    while found:
        members |= found
        found = {pid for pid, process in processes.items() if process.parent in found} - members
    return members


def ticks(roots: Iterable[int], processes: Mapping[int, Process]) -> int:
    """Return the processor time of these processes and all that descend from them."""
    members = set().union(*(family(root, processes) for root in roots))
    return sum(processes[pid].ticks for pid in members)


def running() -> Mapping[int, Process]:
    """Return the processes of this machine at this moment."""
    found: dict[int, Process] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            found[int(stat.parent.name)] = parse_stat(stat.read_text(errors="replace"))
    return found


class Meter:
    """
    Processor time of named processes since the meter was made.

    Args:
        pids: The first process of each.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._begun = self._read()

    def seconds(self) -> Mapping[str, float]:
        """Return what each has used since."""
        now = self._read()
        return {name: (now[name] - self._begun[name]) / _TICKS_A_SECOND for name in self._pids}

    def _read(self) -> Mapping[str, int]:
        processes = running()
        return {name: ticks([pid], processes) for name, pid in self._pids.items()}


def peak_resident_mib(pid: int) -> float:
    """Return the most memory that a process has occupied since it began, without its children."""
    status = Path(f"/proc/{pid}/status").read_text()
    [kib] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kib) / 1024
