"""`python -m consumer`, or another service, as a process: its exit code, its log lines and its probes."""

import asyncio
import json
import os
import signal
import sys
import tempfile

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from prometheus_client.parser import text_string_to_metric_families

from shared.process.http_client import http_client
from testbed.patience import patience
from testbed.reaper import forget, watch_process
from testbed.report import watch_log
from testbed.server import free_port

ROOT: Final = Path(__file__).resolve().parent.parent
STOP_S: Final = 30
# No variable that begins so is inherited.
_OURS: Final = ("APP_", "CONSOLE_", "CONSUMER_", "FLEET_SECURITY", "GATEWAY_", "PRODUCER_")


class ConsumerProcess:
    """
    One process of a service.

    Args:
        environment: Its variables, without the ports, which this class chooses.
        module: The module that Python runs.
        folder: Where its packages are; an earlier release has its own.
        port: Where it answers; by default a free one.

    Attributes:
        port: Where it answers.
        internal_port: Where it answers the fleet; an earlier release does not.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        module: str = "consumer",
        folder: Path = ROOT,
        *,
        port: int | None = None,
    ) -> None:
        self._module = module
        self._folder = folder
        self.port = port or free_port()
        self.internal_port = free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        service = module if module in ("gateway", "producer", "console") else "consumer"
        ports = {"PORT": self.port, "INTERNAL_PORT": self.internal_port}
        own = {f"{service.upper()}_{name}": str(port) for name, port in ports.items()}
        self._environment = {**kept, **environment, **own}
        self._log = tempfile.NamedTemporaryFile(prefix="test-consumer-")  # noqa: SIM115 - closed with the process
        watch_log(module, Path(self._log.name))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            cwd=self._folder,
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )
        watch_process(self._process.pid)

    async def ended(self, within_s: float = 60.0) -> int:
        """
        Wait until it has ended by itself, and return its exit code, negative for a signal.

        Raises:
            AssertionError: It still runs after `within_s`. The message has its last lines.
        """
        try:
            async with asyncio.timeout(patience(within_s)):
                code = await self._running.wait()
        except TimeoutError:
            raise AssertionError(f"still running after {within_s} s: {self.lines()[-5:]}") from None
        forget(self.pid)
        return code

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._running.returncode is None

    async def close(self) -> None:
        """Ask it to end as an orchestrator does, and clean up."""
        try:
            if self.alive:
                self._running.send_signal(signal.SIGTERM)
                try:
                    code = await self.ended(STOP_S)
                except AssertionError:
                    self._running.kill()
                    await self._running.wait()
                    raise
                # After its shutdown uvicorn ends itself by the same signal.
                assert code in (0, -signal.SIGTERM), f"exit code {code}: {self.lines()[-5:]}"
        finally:
            self._log.close()

    def kill(self) -> None:
        """Kill it."""
        self._running.kill()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend the process inside the block."""
        self._running.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._running.send_signal(signal.SIGCONT)

    def lines(self) -> list[dict[str, Any]]:
        """Return its log lines. A line that is no JSON object comes as `{"raw": line}`."""
        raw = os.pread(self._log.fileno(), 10_000_000, 0).decode(errors="replace")
        return [_parsed(line) for line in raw.splitlines()]

    async def readiness(self) -> dict[str, Any]:
        """
        Return the body of `/ready`.

        Raises:
            OSError: It does not answer yet.
        """
        body: dict[str, Any] = (await self._get("/ready")).json()
        return body

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that have these labels."""
        families = text_string_to_metric_families((await self._get("/metrics", patience(30))).text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def internal_url(self) -> str:
        """Where it answers the fleet."""
        return f"http://127.0.0.1:{self.internal_port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    def resident_bytes(self) -> int:
        """Return its resident memory now, in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def _get(self, path: str, within_s: float = 10) -> httpx.Response:
        try:
            async with http_client(within_s) as client:
                return await client.get(self.url + path)
        except httpx.TransportError as exc:
            raise OSError(f"{path}: {exc!r}") from exc

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process


def _parsed(line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"raw": line}
