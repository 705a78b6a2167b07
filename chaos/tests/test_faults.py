"""The catalogue against `setup.sh`: what a fault asks for has to exist."""

import subprocess

from pathlib import Path
from random import Random
from unittest.mock import patch

import httpx
import pytest

from chaos.faults import CATALOGUE, Scene
from chaos.fleet import REGIONS, ROOT, Addresses

PARTS = subprocess.run([ROOT / "setup.sh", "--help"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.split()[0] in {"kill", "restart", "silence"}])
@pytest.mark.parametrize("region", REGIONS)
async def test_a_fault_names_parts_that_setup_knows(name: str, region: str, tmp_path: Path) -> None:
    pulled: list[tuple[str, ...]] = []

    async def pull(*lever: str) -> str:
        pulled.append(lever)
        return ""

    async def nothing(*_: object) -> None:
        return

    async with httpx.AsyncClient() as http:
        scene = Scene(Addresses(), http, Random(1), region, tmp_path, nothing)
        with patch("chaos.faults.pull", pull), patch.object(Scene, "hold", nothing):
            await CATALOGUE[name].inject(scene)

    [services] = [line for line in PARTS.splitlines() if line.startswith("SERVICE is one of:")]
    assert pulled
    assert {lever[1] for lever in pulled} <= set(services.split())
