"""
The running fleet from outside, the same in both modes.

Addresses come from the variables that move the ports, parts and faults are handled through `./setup.sh`, and everything
else speaks the protocols of the parts themselves.
"""

import asyncio
import os

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

ROOT: Final = Path(__file__).resolve().parent.parent
REGIONS: Final = ("region-a", "region-b")
SERVICES: Final = ("gateway", "producer-a", "producer-b", "consumer-a", "consumer-b")


def letter(region: str) -> str:
    """Return the suffix of a region's parts: `a` of `region-a`."""
    return region.removeprefix("region-")


def _at(variable: str, default: int) -> str:
    return f"127.0.0.1:{os.environ.get(variable, default)}"


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
    return {service: f"http://{_at(*port)}" for service, port in ports.items()}


def _postgres() -> str:
    password = os.environ.get("POSTGRES_PASSWORD") or "logs"
    return f"postgresql://logs:{password}@{_at('POSTGRES_PORT', 5432)}/logs"


@dataclass(frozen=True)
class Addresses:
    """Where the parts answer."""

    services: Mapping[str, str] = field(default_factory=_services)
    kafka: Mapping[str, str] = field(default_factory=_kafka)
    postgres: str = field(default_factory=_postgres)
    redis: str = field(default_factory=lambda: f"redis://{_at('REDIS_PORT', 6379)}/0")
    prometheus: str = field(default_factory=lambda: f"http://{_at('PROMETHEUS_PORT', 9090)}")
    toxiproxy: str = field(default_factory=lambda: f"http://{_at('TOXIPROXY_PORT', 8474)}")

    @property
    def gateway(self) -> str:
        """Where clients post."""
        return self.services["gateway"]


class LeverError(Exception):
    """`./setup.sh` refused or failed; the message is what it said."""


async def pull(*lever: str) -> str:
    """
    Run `./setup.sh VERB ...` and return what it said.

    Raises:
        LeverError: It did not work.
    """
    process = await asyncio.create_subprocess_exec(
        ROOT / "setup.sh", *lever, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise LeverError(f"./setup.sh {' '.join(lever)}: {output.decode().strip()}")
    return output.decode()


async def readiness(http: httpx.AsyncClient, address: str) -> Mapping[str, Any] | None:
    """Return what `/ready` says, None when nobody answers."""
    try:
        answer = await http.get(f"{address}/ready", timeout=2)
    except httpx.TransportError:
        return None
    said: Mapping[str, Any] = answer.json()
    return said


async def counters(http: httpx.AsyncClient, address: str) -> Mapping[str, float] | None:
    """Return every series a service exports, by its text form, None when nobody answers."""
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
    Return `native` or `compose`, as the fleet that runs was started.

    Raises:
        LeverError: `./setup.sh` has started none.
    """
    try:
        return (ROOT / ".run" / "mode").read_text().strip()
    except FileNotFoundError:
        raise LeverError("no fleet is running; start one with FLEET_FAULTS=on ./setup.sh") from None
