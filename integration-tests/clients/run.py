"""Runs a client's program, and reads what it says."""

import asyncio
import json
import os
import sys

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clients.install import PROGRAMS, installed
from clients.table import Client
from testbed.patience import patience
from testbed.reaper import forget, watch_process

# How long a program may take: longer than the clients' own limits, so that theirs end it.
_LIMIT_S: Final = 180
_CLIENT_FAILED: Final = 3
# Options for a Java that lives for seconds.
_SHORT_LIVED: Final = ("-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m")
# What a program may know of its surroundings. A proxy, or a client's own variable, would change what is tested.
_KEPT: Final = ("HOME", "JAVA_HOME", "PATH", "TMPDIR")


@dataclass(frozen=True)
class Ran:
    """
    What a program did.

    Attributes:
        sent: What it gave to its client, a mapping a record (client-programs/python/sending.py).
        told: Whether its client has reported a failure.
        log: What it wrote to its standard error.
    """

    sent: Sequence[Mapping[str, Any]]
    told: bool
    log: str


async def run(client: Client, url: str, count: int, seed: str) -> Ran:
    """
    Let a client send `count` records to `url`, the address of a gateway or of what stands before it.

    Raises:
        AssertionError: The program failed for another reason than its client's report of a failure.
    """
    kit = await asyncio.to_thread(installed, client.kit)
    command, environment = _command(client, kit)
    process = await asyncio.create_subprocess_exec(
        *command,
        url,
        str(count),
        seed,
        env={name: os.environ[name] for name in _KEPT if name in os.environ} | {"LANG": "C.UTF-8", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    watch_process(process.pid)
    try:
        async with asyncio.timeout(patience(_LIMIT_S)):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        _, err = await process.communicate()
        raise AssertionError(f"{client.name} does not end; its last words:\n{_end_of(err)}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        forget(process.pid)
    if process.returncode not in (0, _CLIENT_FAILED):
        raise AssertionError(f"the program of {client.name} ended with {process.returncode}:\n{_end_of(err)}")
    return Ran(
        [json.loads(line) for line in out.splitlines()],
        process.returncode == _CLIENT_FAILED,
        err.decode(errors="replace"),
    )


def _command(client: Client, kit: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    name, *arguments = client.program
    match Path(name).suffix:
        case ".py":
            # Without its own packages, which may be other versions.
            command = [sys.executable, "-S", "-W", "ignore", str(PROGRAMS / "python" / name), *arguments]
            return command, {"PYTHONPATH": str(kit)}
        case ".js":
            return ["node", str(PROGRAMS / "javascript" / name), *arguments], {"NODE_PATH": str(kit / "node_modules")}
        case _:
            return ["java", *_SHORT_LIVED, "-cp", f"{kit}/classes:{kit}/jars/*", name, *arguments], {}


def _end_of(output: bytes) -> str:
    return output.decode(errors="replace")[-3000:]
