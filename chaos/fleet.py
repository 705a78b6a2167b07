"""
The running fleet from outside, alike in both modes.

Addresses come from the variables that move the ports. `./setup.sh` controls parts and faults. All other functions speak
the parts' own protocols.
"""

import asyncio

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx

from testbed import addresses
from testbed.access import ROOT, RUN, told_at

REGIONS: Final = ("region-a", "region-b")
SERVICES: Final = ("gateway", "producer-a", "producer-b", "consumer-a", "consumer-b")


def letter(region: str) -> str:
    """Return the suffix of a region's parts: `a` of `region-a`."""
    return region.removeprefix("region-")


@dataclass(frozen=True)
class Addresses(addresses.Addresses):
    """
    The addresses of the parts.

    Attributes:
        services: Of those that an event goes through; the console reads, and is not among them.
    """

    services: Mapping[str, str] = field(default_factory=lambda: {service: told_at(service) for service in SERVICES})


class LeverError(Exception):
    """`./setup.sh` refused or failed. The message is its output."""


async def pull(*lever: str) -> str:
    """
    Run `./setup.sh VERB ...` and return its output.

    It runs to its end, also when the caller is cancelled: half a lever would leave harm that is never taken back.

    Raises:
        LeverError: It refused or failed.
    """
    process = await asyncio.create_subprocess_exec(
        ROOT / "setup.sh",
        *lever,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # only this process handles a terminal's Ctrl-C
    )
    talking = asyncio.ensure_future(process.communicate())
    try:
        output, _ = await asyncio.shield(talking)
    except asyncio.CancelledError:
        await talking
        raise
    if process.returncode != 0:
        raise LeverError(f"./setup.sh {' '.join(lever)}: {output.decode().strip()}")
    return output.decode()


def as_user(name: str, url: str) -> str:
    """Return a URL with another user and no password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}"))


async def readiness(http: httpx.AsyncClient, address: str) -> Mapping[str, Any] | None:
    """Return the body of `/ready`, or None without an answer."""
    try:
        answer = await http.get(f"{address}/ready", timeout=2)
    except httpx.TransportError:
        return None
    said: Mapping[str, Any] = answer.json()
    return said


async def counters(http: httpx.AsyncClient, address: str) -> Mapping[str, float] | None:
    """Return the series that a service exports, by their text form, or None without an answer."""
    try:
        text = (await http.get(f"{address}/metrics", timeout=2)).text
    except httpx.TransportError:
        return None
    series: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            series[name] = float(value)
    return series


def running_mode() -> str:
    """
    Return the mode of the running fleet, `native` or `compose`.

    Raises:
        LeverError: `./setup.sh` has started no fleet.
    """
    try:
        return (RUN / "mode").read_text().strip()
    except FileNotFoundError:
        raise LeverError("no fleet is running; start one with FLEET_FAULTS=on ./setup.sh") from None
