"""The load test itself: short split brains pass with their lag on record, and one that is interrupted leaves nothing behind."""

import asyncio
import json
import signal

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.running_fleet import ROOT

pytestmark = pytest.mark.fleet


@asynccontextmanager
async def load_test(*options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        ROOT / "load-test.sh",
        "--plain",
        "--rate",
        "300",
        *options,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


async def links() -> str:
    process = await asyncio.create_subprocess_exec(ROOT / "setup.sh", "status", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.both_modes
async def test_a_short_split_brain_passes_and_its_report_shows_the_split(tmp_path: Path) -> None:
    async with load_test("--scale", "0.3", "--seed", "7", "--report", str(tmp_path)) as process:
        output, _ = await process.communicate()
    said = output.decode()
    assert process.returncode == 0, said

    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_bytes())
    lag_s = {phase["phase"]: phase["lag_s"] for phase in report["phases"]}
    at_s = {mark["what"].partition(":")[0]: mark["at_s"] for mark in report["timeline"]}
    cut_for_s = at_s["heal a-to-b"] - at_s["cut b-to-a"]
    assert report["passed"], report["failures"]
    assert max(lag_s["steady"], lag_s["split"]) < lag_s["diverge"], lag_s
    assert lag_s["diverge"] > cut_for_s / 2, (lag_s, cut_for_s)
    assert report["exposure"]["both"]["most"] > report["phases"][0]["exposure"]
    assert report["converged_s"] is not None
    assert report["failovers"] > 0
    assert report["repeated"] > 0
    assert sum(report["duplicates"].values()) > 0
    assert sum(report["rows"].values()) >= report["outcomes"]["acknowledged"] > 0
    assert "PASSED" in said
    assert (tmp_path / "ledger").stat().st_size > 0
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert " cut; " not in await links()


async def test_one_with_clients_of_opentelemetry_passes_as_well(tmp_path: Path) -> None:
    async with load_test("--protocol", "otlp", "--scale", "0.3", "--seed", "7", "--report", str(tmp_path)) as process:
        output, _ = await process.communicate()
    said = output.decode()
    assert process.returncode == 0, said

    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_bytes())
    assert report["passed"], report["failures"]
    assert report["about"]["protocol"] == "otlp"
    assert report["repeated"] > 0
    assert sum(report["duplicates"].values()) > 0
    assert sum(report["rows"].values()) >= report["outcomes"]["acknowledged"] > 0
    assert report["outcomes"]["refused"] > 0
    assert report["exposure"]["both"]["most"] > report["phases"][0]["exposure"]


async def test_one_that_is_interrupted_takes_back_what_it_did_and_gives_no_verdict(tmp_path: Path) -> None:
    async with load_test("--scale", "0.2", "--report", str(tmp_path)) as process:
        assert process.stdout is not None
        said = ""
        while "cut b-to-a" not in said:
            line = await process.stdout.readline()
            assert line, said
            said += line.decode()
        # Its phases go by the clock, and must not pass while the links are asked for.
        process.send_signal(signal.SIGSTOP)
        assert " cut; " in await links()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        output, _ = await process.communicate()

    assert process.returncode == 130, said + output.decode()
    assert "there is no verdict" in output.decode()
    assert " cut; " not in await links()
    assert not (tmp_path / "report.json").exists()
