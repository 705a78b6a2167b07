"""The plugin runs and reports the tests of a small project."""

import asyncio
import os
import subprocess
import sys
import time

from pathlib import Path
from typing import Any

import pytest

from testbed.patience import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGURATION = """
[tool.pytest.ini_options]
addopts = ["--import-mode=importlib", "-p", "no:looptime_plugin", "-p", "no:cacheprovider", "-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "testbed.plugin"]
asyncio_mode = "auto"
markers = ["services", "fleet", "chaos", "real_time"]
"""
FAILS_ONCE = """
from pathlib import Path
from typing import Any

def test_sometimes(request):
    marker = Path(__file__).with_name("seen")
    was_there = marker.exists()
    marker.touch()
    assert was_there

def test_never():
    print("what it said")
    assert False

def test_always():
    pass
"""
TAKES_DOWN = """
import time
from pathlib import Path
from typing import Any
import pytest

@pytest.fixture
def server():
    yield
    Path(__file__).with_name("taken-down").touch()

def test_waits(server):
    Path(__file__).with_name("waits").touch()
    time.sleep(1000)
"""


def project(folder: Path, name: str, text: str) -> Path:
    (folder / "pyproject.toml").write_text(CONFIGURATION)
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def command(folder: Path, *options: str) -> dict[str, Any]:
    return {
        "args": [sys.executable, "-m", "pytest", "-q", *options],
        "cwd": folder,
        "env": os.environ | {"PYTHONPATH": str(ROOT), "TEST_REPORT": str(folder / "report")},
    }


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "workers"])
def test_a_flaky_test_is_named_and_fails_the_run_and_what_failed_is_kept(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    project(tmp_path, "test_some.py", FAILS_ONCE)

    done = subprocess.run(
        **command(tmp_path, "--reruns", "1", "--fail-on-flaky", *workers), capture_output=True, text=True, check=False
    )

    assert done.returncode != 0
    assert "FLAKY test_some.py::test_sometimes" in done.stdout
    assert "FLAKY test_some.py::test_never" not in done.stdout
    assert "1 failed, 2 passed, 2 rerun" in done.stdout
    assert (tmp_path / "report" / "flaky").read_text() == "test_some.py::test_sometimes\n"
    kept = sorted(path.name for path in (tmp_path / "report").iterdir() if path.is_dir())
    assert kept == ["test_some.py-test_never-1", "test_some.py-test_never-2", "test_some.py-test_sometimes-1"]
    assert "what it said" in (tmp_path / "report" / "test_some.py-test_never-1" / "report.txt").read_text()


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "workers"])
async def test_sigterm_takes_fixtures_down(tmp_path: Path, workers: tuple[str, ...]) -> None:
    project(tmp_path, "test_some.py", TAKES_DOWN)
    # The test command starts pytest in the background, where Ctrl-C is ignored.
    ignoring = ["env", "--ignore-signal=INT"]
    call = command(tmp_path, *workers)
    process = await asyncio.create_subprocess_exec(
        *ignoring, *call["args"], cwd=call["cwd"], env=call["env"], stdout=subprocess.DEVNULL
    )
    try:
        await eventually((tmp_path / "waits").exists, "the test runs")
        process.terminate()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not workers:
        assert (tmp_path / "taken-down").exists()


def test_a_services_unit_tests_run_on_simulated_time(tmp_path: Path) -> None:
    project(
        tmp_path,
        "gateway/tests/test_some.py",
        "import asyncio\nasync def test_a_day():\n"
        "    begun = asyncio.get_running_loop().time()\n    await asyncio.sleep(86400)\n"
        "    assert asyncio.get_running_loop().time() - begun == 86400\n",
    )

    done = subprocess.run(**command(tmp_path), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


async def test_elsewhere_time_is_real() -> None:
    begun = time.monotonic()
    await asyncio.sleep(0.01)
    assert time.monotonic() - begun >= 0.01
