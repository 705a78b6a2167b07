"""
The fault rotation, twice: with a seed that is always the same, and with a new one.

`CHAOS_MINUTES` makes one long run of it instead, `CHAOS_SEED` repeats one. Needs a fleet in fault mode:
`FLEET_FAULTS=on ./setup.sh`.
"""

import asyncio
import os
import signal
import sys

import pytest

from chaos.fleet import running_mode
from testbed.access import ROOT

pytestmark = pytest.mark.chaos

# One for each mode, so that a run of both reaches more of the catalogue than either.
FIXED_SEEDS = {"native": "1", "compose": "2"}
MINUTES = os.environ.get("CHAOS_MINUTES")


async def rotate(*options: str) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "chaos", *options, cwd=ROOT)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)  # it takes its fault back, and ends
            await process.wait()


async def test_nothing_is_lost_or_doubled_whatever_is_done_to_the_fleet() -> None:
    deep = os.environ.get("TEST_DEPTH") == "deep"
    fixed = ("--seed", FIXED_SEEDS[running_mode()], *(("--minutes", "12") if deep else ("--minutes", "2")))
    fresh = ("--minutes", "4" if deep else "1")
    seed = ("--seed", os.environ["CHAOS_SEED"]) if os.environ.get("CHAOS_SEED") else ()
    for options in [(*seed, "--minutes", MINUTES)] if MINUTES else [fixed, fresh]:
        assert await rotate(*options) == 0, f"python -m chaos {' '.join(options)}; its seed is in the output"
