"""The catalogue against `setup.sh`: each lever that a fault pulls has to exist."""

import contextlib
import subprocess

from pathlib import Path
from random import Random
from unittest.mock import AsyncMock, patch

import httpx
import pytest

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from chaos.catalogue import CATALOGUE
from chaos.faults import Scene
from chaos.fleet import REGIONS, Addresses, LeverError
from shared.process.http_client import http_client
from testbed.access import ROOT

# Errors of a fault that asks the fleet itself, since these tests have none.
_NO_FLEET = (LeverError, OSError, KafkaError, RedisError, httpx.HTTPError)
PARTS = subprocess.run([ROOT / "setup.sh", "--help"], capture_output=True, text=True, check=True).stdout


async def pulled_by(name: str, region: str, folder: Path) -> list[tuple[str, ...]]:
    """Inject a fault without a fleet, and return the levers that it pulled."""
    pulled: list[tuple[str, ...]] = []

    async def pull(*lever: str) -> str:
        pulled.append(lever)
        return ""

    async def nothing(*_: object) -> None:
        return

    async with http_client(10) as http:
        scene = Scene(Addresses(), http, Random(1), region, folder, nothing)
        with patch("chaos.faults.pull", pull), patch.object(Scene, "hold", nothing):
            await CATALOGUE[name].inject(scene)
    return pulled


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.split()[0] in {"kill", "restart", "silence"}])
@pytest.mark.parametrize("region", REGIONS)
async def test_a_fault_names_parts_that_setup_knows(name: str, region: str, tmp_path: Path) -> None:
    pulled = await pulled_by(name, region, tmp_path)

    [services] = [line for line in PARTS.splitlines() if line.startswith("SERVICE is one of:")]
    assert pulled
    assert {lever[1] for lever in pulled} <= set(services.split())


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.startswith("clock of ")])
@pytest.mark.parametrize("region", REGIONS)
async def test_a_clock_that_is_put_wrong_is_one_that_setup_can_put_wrong(
    name: str, region: str, tmp_path: Path
) -> None:
    pulled = await pulled_by(name, region, tmp_path)

    [clocks] = [line for line in PARTS.splitlines() if line.startswith("CLOCK is one of:")]
    assert {lever[1] for lever in pulled} <= set(clocks.split())
    assert [lever[0] for lever in pulled] == ["clock", "clock"]
    assert (pulled[0][2], pulled[1][2]) == (name.split()[-2].lstrip("+"), "0")


def test_the_clock_of_a_broker_is_hours_slow_and_hours_fast_where_there_is_a_lever_for_it() -> None:
    steps = {name: fault for name, fault in CATALOGUE.items() if name.startswith("clock of kafka ")}

    assert {int(name.split()[-2]) for name in steps} == {-7200, 7200}
    assert all(fault.modes == ("native",) for fault in steps.values())


@pytest.mark.parametrize(
    ("name", "levers"),
    [
        ("retention passes a consumer", ["stop", "start"]),
        ("retention passes consumer and mirror", ["cut", "stop", "start", "heal"]),
        ("retention passes a suspended consumer", ["suspend", "resume"]),
        ("slow mirror, then healing", ["suspend", "resume"]),
        ("large events", ["suspend", "resume"]),
    ],
)
async def test_what_is_held_goes_on_when_the_harm_is_done(name: str, levers: list[str], tmp_path: Path) -> None:
    pulled: list[str] = []

    async def pull(verb: str, part: str) -> str:
        pulled.append(verb)
        return part

    async def nothing(*_: object) -> None:
        return

    database = AsyncMock()
    database.fetch.return_value = []
    database.fetchrow.return_value = {"events": 2, "waits_s": [1.1, 2.2]}
    async with http_client(10) as http:
        scene = Scene(_NOWHERE, http, Random(1), REGIONS[0], tmp_path, nothing)
        with (
            patch("chaos.faults.pull", pull),
            patch.object(Scene, "hold", nothing),
            patch("chaos.faults.asyncpg.connect", AsyncMock(return_value=database)),
            contextlib.suppress(*_NO_FLEET),
        ):
            await CATALOGUE[name].inject(scene)

    assert pulled == levers


# No process listens at this address. The test must not harm a fleet that runs on this machine.
_NOBODY = "127.0.0.1:1"
_NOWHERE = Addresses(
    services=dict.fromkeys(Addresses().services, f"http://{_NOBODY}"),
    kafka=dict.fromkeys(REGIONS, _NOBODY),
    postgres=f"postgresql://{_NOBODY}/none",
    redis=f"redis://{_NOBODY}/0",
    prometheus=f"http://{_NOBODY}",
    toxiproxy=f"http://{_NOBODY}",
)
_BACK = {"suspend": "resume", "stop": "start", "cut": "heal", "fill": "unfill", "clock": "clock"}


@pytest.mark.parametrize("name", CATALOGUE)
async def test_a_lever_that_failed_is_taken_back_all_the_same(name: str, tmp_path: Path) -> None:
    pulled: list[tuple[str, ...]] = []

    async def pull(*lever: str) -> str:
        pulled.append(lever)
        if lever[0] in _BACK and lever[-1] != "0":
            raise LeverError("half of it worked")
        return ""

    async def nothing(*_: object) -> None:
        return

    async with http_client(10) as http:
        scene = Scene(_NOWHERE, http, Random(1), REGIONS[0], tmp_path, nothing)
        database = AsyncMock()
        database.fetchval.return_value = 0
        with (
            patch("chaos.faults.pull", pull),
            patch.object(Scene, "hold", nothing),
            patch("chaos.faults.asyncpg.connect", AsyncMock(return_value=database)),
            contextlib.suppress(*_NO_FLEET),
        ):
            await CATALOGUE[name].inject(scene)

    done = [lever for lever in pulled if lever[0] in _BACK and lever[-1] != "0"]
    back = [lever for lever in pulled if lever[0] in _BACK.values() and lever not in done]
    assert [lever[:2] for lever in back] == [(_BACK[verb], part) for verb, part, *_ in reversed(done)]
