"""A secured fleet seen from outside: what another process of the machine gets, or another container in the same networks."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from testbed.patience import patience

ROOT: Final = Path(__file__).resolve().parent.parent
TLS: Final = ROOT / ".run/tls"
PROGRAM: Final = ROOT / "testbed/stranger.py"
IN_COMPOSE: Final = (ROOT / ".run/mode").exists() and (ROOT / ".run/mode").read_text().strip() == "compose"
# In compose mode: where it answers, and a network that it is in. Natively all is on loopback, and ports are variables.
PLACES: Final = {
    "producer-a": ("PRODUCER_A_INTERNAL_PORT", 8181, "edge"),
    "consumer-a": ("CONSUMER_A_INTERNAL_PORT", 8182, "edge"),
    "console": ("CONSOLE_INTERNAL_PORT", 8185, "edge"),
    "gateway": ("GATEWAY_INTERNAL_PORT", 8180, "edge"),
    "kafka-a": ("KAFKA_A_PORT", 9092, "region-a"),
    "redis": ("REDIS_PORT", 6379, "stores"),
    "postgres": ("POSTGRES_PORT", 5432, "stores"),
}
_INSIDE: Final = {"kafka-a": 29092}
"""Compose mode's listeners for its own networks, where they are others than the published ones."""


def project() -> str:
    """Return what Compose calls the fleet."""
    lines = dict(line.split("=", 1) for line in (ROOT / ".run/settings").read_text().splitlines())
    return os.environ.get("COMPOSE_PROJECT_NAME") or lines["COMPOSE_PROJECT_NAME"]


def place(service: str) -> tuple[str, int]:
    """Return where a stranger next door finds a service."""
    variable, port, _ = PLACES[service]
    if IN_COMPOSE:
        return service, _INSIDE.get(service, port)
    return "127.0.0.1", int(os.environ.get(variable, port))


def next_door(service: str, certificate: str | None) -> list[str]:
    """Return the command of a Python beside `service`, which has the certificate of another one in the folder that it is told."""
    if not IN_COMPOSE:
        return [sys.executable, str(PROGRAM)]
    mounted = (
        [] if certificate is None else ["--volume", f"{project()}_tls-{certificate}:/shown:ro", "--group-add", "0"]
    )
    network = ["--network", f"{project()}_{PLACES[service][2]}"]
    return [*in_container(*network, *mounted), "python", "-c", PROGRAM.read_text()]


def in_container(*options: str) -> list[str]:
    return ["docker", "run", "--rm", "--interactive", *options, f"{project()}/app"]


def run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=patience(60)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def asks(service: str, path: str, *, certificate: str | None = None, scheme: str = "https") -> str:
    """Post to the internal listener of a service, and return the status, or "cut"."""
    host, port = place(service)
    folder = "-" if certificate is None else "/shown" if IN_COMPOSE else str(TLS / certificate)
    return run([*next_door(service, certificate), "ask", folder, f"{scheme}://{host}:{port}{path}"])


def talks(service: str, how: str, said: bytes) -> bytes:
    """Say something to a store, in plain text or by TLS without a certificate, and return what it answers."""
    host, port = place(service)
    return bytes.fromhex(run([*next_door(service, None), "talk", how, host, str(port), said.hex()]))


@asynccontextmanager
async def tapped(places: Sequence[str], *markers: str) -> AsyncIterator[Mapping[str, Mapping[str, int]]]:
    """
    Listen to all packets, and learn at the end how many had a marker in them.

    In compose mode a container shares the network of each of `places` with the right to see its packets. Natively all of them are on
    loopback, which root may listen to.
    """
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    natively = {"loopback": [*as_root, sys.executable, str(PROGRAM)]}
    shared = ("--user", "0", "--cap-add", "NET_RAW")
    commands = {
        name: [*in_container(*shared, "--network", f"container:{container(name)}"), "python", "-c", PROGRAM.read_text()]
        for name in (places if IN_COMPOSE else ())
    } or natively
    found: dict[str, Mapping[str, int]] = {}
    pipe = asyncio.subprocess.PIPE
    async with contextlib.AsyncExitStack() as stack:
        taps = {}
        for name, command in commands.items():
            taps[name] = await asyncio.create_subprocess_exec(*command, "tap", *markers, stdin=pipe, stdout=pipe)
            stack.callback(_end, taps[name])
        for tap in taps.values():
            assert tap.stdout is not None
            assert await asyncio.wait_for(tap.stdout.readline(), patience(60)) == b"listening\n"
        yield found
        for name, tap in taps.items():
            said, _ = await asyncio.wait_for(tap.communicate(b""), patience(60))
            found[name] = json.loads(said)


def _end(tap: asyncio.subprocess.Process) -> None:
    if tap.returncode is None:
        tap.kill()


def container(service: str) -> str:
    chosen = [
        "--filter",
        f"label=com.docker.compose.project={project()}",
        "--filter",
        f"label=com.docker.compose.service={service}",
    ]
    return run(["docker", "ps", "--quiet", *chosen])
