"""
The running fleet from outside, alike in both modes.

Addresses come from the variables that move the ports. `./setup.sh` controls parts and faults. All other functions speak
the parts' own protocols.
"""

import asyncio
import os

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx

ROOT: Final = Path(__file__).resolve().parent.parent
RUN: Final = ROOT / ".run"
REGIONS: Final = ("region-a", "region-b")
SERVICES: Final = ("gateway", "producer-a", "producer-b", "consumer-a", "consumer-b")


def letter(region: str) -> str:
    """Return the suffix of a region's parts: `a` of `region-a`."""
    return region.removeprefix("region-")


def setting(name: str, default: object = "") -> str:
    """Return a variable of the running fleet. Without one, return it from the environment, `.env` or the default."""
    started_with = _pairs(RUN / "settings") if (RUN / "mode").exists() else {}
    for source in (started_with, os.environ, _pairs(ROOT / ".env")):
        if source.get(name):
            return source[name]
    return str(default)


def _pairs(path: Path) -> Mapping[str, str]:
    if not path.exists():
        return {}
    pairs = (line.strip().partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name: value.strip("\"'") for name, _, value in pairs}


def _at(variable: str, default: int) -> str:
    return f"127.0.0.1:{setting(variable, default)}"


def _exposed(variable: str, default: int) -> str:
    bound = setting("BIND_ADDRESS", "127.0.0.1")
    return f"{'127.0.0.1' if bound == '0.0.0.0' else bound}:{setting(variable, default)}"  # noqa: S104 - compared, not bound


def _kafka() -> Mapping[str, str]:
    return {"region-a": _at("KAFKA_A_PORT", 9092), "region-b": _at("KAFKA_B_PORT", 9093)}


def _services() -> Mapping[str, str]:
    ports = {
        "gateway": ("GATEWAY_PORT", 8080),
        "producer-a": ("PRODUCER_A_PORT", 8081),
        "consumer-a": ("CONSUMER_A_PORT", 8082),
        "producer-b": ("PRODUCER_B_PORT", 8083),
        "consumer-b": ("CONSUMER_B_PORT", 8084),
    }
    return {
        service: f"http://{_exposed(*port) if service == 'gateway' else _at(*port)}" for service, port in ports.items()
    }


def _postgres() -> str:
    return f"postgresql://logs:{setting('POSTGRES_PASSWORD', 'logs')}@{_at('POSTGRES_PORT', 5432)}/logs"


@dataclass(frozen=True)
class Addresses:
    """The addresses of the parts."""

    services: Mapping[str, str] = field(default_factory=_services)
    kafka: Mapping[str, str] = field(default_factory=_kafka)
    postgres: str = field(default_factory=_postgres)
    redis: str = field(default_factory=lambda: f"redis://{_at('REDIS_PORT', 6379)}/0")
    prometheus: str = field(default_factory=lambda: f"http://{_at('PROMETHEUS_PORT', 9090)}")
    console: str = field(default_factory=lambda: f"http://{_at('CONSOLE_PORT', 8085)}")
    toxiproxy: str = field(default_factory=lambda: f"http://{_at('TOXIPROXY_PORT', 8474)}")

    @property
    def gateway(self) -> str:
        """The gateway's address, to which clients post."""
        return self.services["gateway"]


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
