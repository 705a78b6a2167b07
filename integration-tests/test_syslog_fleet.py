"""Syslog and the running fleet: what util-linux' logger and rsyslog send while a region dies are so many rows, each once."""

import asyncio
import os
import socket
import uuid

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from chaos.faults import pulled
from clients.rsyslog import rsyslog
from testbed.patience import eventually, patience
from testbed.running_fleet import ROOT, Fleet

# A secured fleet takes syslog from senders with a certificate alone; `test_syslog.py` has those.
pytestmark = [pytest.mark.fleet, pytest.mark.unsecured]

COUNT: Final = 1_000
# The preferred region, in the order in which it is lost.
REGION: Final = ("producer-a", "consumer-a", "kafka-a")
TEXT: Final = "record {number}: Grüße ☃"
SETTING: Final = "GATEWAY_SYSLOG_PORT"


@pytest.fixture
async def port(fleet: Fleet) -> AsyncIterator[int]:
    """Return where the fleet takes syslog. One that does not is told to, until the end of the test."""
    settings = dict(line.split("=", 1) for line in (ROOT / ".run" / "settings").read_text().splitlines())
    if (known := settings.get(SETTING, "none")) != "none":
        yield int(known)
        return
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        chosen = int(one.getsockname()[1])
    try:
        await _set_up(fleet, settings | {SETTING: str(chosen)})
        yield chosen
    finally:
        await _set_up(fleet, settings)


async def _set_up(fleet: Fleet, settings: dict[str, str]) -> None:
    """Start the fleet with other settings: it runs, so only its gateway is started anew."""
    mode = (ROOT / ".run" / "mode").read_text().strip()
    process = await asyncio.create_subprocess_exec(
        *(ROOT / "setup.sh", f"--{mode}"),
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    await fleet.control("restart", "gateway")
    await fleet.all_ready()


class Logger:
    """
    `logger`, which sends what it is told.

    Args:
        process: It.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdin is not None
        self._stdin = process.stdin

    @classmethod
    async def to(cls, port: int, tag: str) -> "Logger":
        """Let it send to a port."""
        options = ("--server", "127.0.0.1", "--port", str(port), "--tcp", "--octet-count", "--rfc5424", "--tag", tag)
        return cls(await asyncio.create_subprocess_exec("logger", *options, stdin=asyncio.subprocess.PIPE))

    async def say(self, line: str) -> None:
        """Send a line."""
        self._stdin.write(f"{line}\n".encode())
        await self._stdin.drain()

    async def end(self) -> None:
        """Wait until it has written everything."""
        self._stdin.close()
        async with asyncio.timeout(patience(120)):
            assert await self._process.wait() == 0


async def test_what_is_sent_by_syslog_while_a_region_dies_is_stored_once(
    fleet: Fleet, port: int, tmp_path: Path
) -> None:
    tags = [f"{name}-{uuid.uuid4().hex[:8]}" for name in ("logger", "rsyslog")]
    (tmp_path / "lines").touch()

    async def stored(tag: str) -> Counter[str]:
        rows = await fleet.query("SELECT message FROM logs WHERE service_name = $1", tag)
        return Counter(row["message"] for row in rows)

    async def all_there(tag: str) -> bool:
        return len(await stored(tag)) >= COUNT

    sent: list[str] = []
    async with AsyncExitStack() as stack:
        logger = await Logger.to(port, tags[0])
        await stack.enter_async_context(rsyslog(tmp_path, port, tag=tags[1]))

        async def send(until: int) -> None:
            """Let both send on."""
            with (tmp_path / "lines").open("a") as lines:
                while len(sent) < until:
                    sent.append(line := TEXT.format(number=len(sent)))
                    lines.write(f"{line}\n")
                    await logger.say(line)

        await send(COUNT // 4)
        for tag in tags:
            await eventually(partial(stored, tag), f"the first rows of {tag} are there", within_s=60)
        async with AsyncExitStack() as lost:
            for number, part in enumerate(REGION, 1):
                await lost.enter_async_context(pulled("stop", part, back=("start", part)))
                await send(COUNT // 4 + number * COUNT // 8)
        await send(COUNT)
        await logger.end()
        await fleet.all_ready()
        for tag in tags:
            await eventually(partial(all_there, tag), f"all rows of {tag} are there", within_s=120)

    for tag in tags:
        assert await stored(tag) == Counter(sent), tag
    assert await fleet.counter("gateway", "gateway_syslog_lost_total") == 0
