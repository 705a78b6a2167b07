"""The servers of a process end with it, however it ends."""

import asyncio
import os
import signal
import sys

from pathlib import Path

import pytest

from testbed.patience import eventually
from testbed.reaper import children_of

ROOT = Path(__file__).resolve().parent.parent.parent
STARTS_TWO = """
import subprocess, sys, time
from pathlib import Path
from testbed.reaper import forget, watch_process
kept = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=subprocess.DEVNULL)
family = subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"], start_new_session=True, stdout=subprocess.PIPE)
grandchild = int(family.stdout.readline())
taken_back = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=subprocess.DEVNULL)
folder = Path(sys.argv[1])
folder.mkdir()
watch_process(kept.pid, folder)
watch_process(family.pid)
watch_process(taken_back.pid)
forget(taken_back.pid)
print(kept.pid, family.pid, grandchild, taken_back.pid, flush=True)
time.sleep(1000)
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_process_leaves_no_process_and_no_folder_behind(tmp_path: Path, ending: signal.Signals) -> None:
    folder = tmp_path / "data"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTS_TWO, str(folder), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    kept, family, grandchild, taken_back = map(int, (await process.stdout.readline()).split())
    assert all(map(runs, (kept, family, grandchild, taken_back)))
    assert grandchild in children_of(family)
    process.send_signal(ending)
    await process.wait()
    try:
        await eventually(lambda: not any(map(runs, (kept, family, grandchild))), "all that was watched is gone")
        await eventually(lambda: not folder.exists(), "its folder is gone")
        assert runs(taken_back)
    finally:
        os.kill(taken_back, signal.SIGKILL)
