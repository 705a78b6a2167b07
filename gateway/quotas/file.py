"""
The file with the tenants' quotas, read again within a second of a change.

A file that cannot be used changes nothing: what was in force stays in force, and that is told. A gateway that starts with such a
file has no quotas until it can be used, since all tenants would be without a gateway else.
"""

import asyncio

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from gateway.metrics import GatewayMetrics
from gateway.quotas.limits import Limits, TenantsError, read_tenants

log: Final = structlog.stdlib.get_logger(__name__)

LOOK_S: Final = 0.5
_TOLD_PROBLEMS: Final = 10


class TenantsFile:
    """
    Watches the file.

    Args:
        path: Where it is.
        gateways: How many share its limits.
        use: Told what holds from now on.
        metrics: Where it is shown whether the file can be used.

    Attributes:
        problem: What is wrong with the file, in a sentence; empty while what it says is in force.
    """

    def __init__(
        self, path: Path, gateways: int, use: Callable[[Mapping[str, Limits]], None], metrics: GatewayMetrics
    ) -> None:
        self.problem = ""
        self._path = path
        self._gateways = gateways
        self._use = use
        self._in_force = metrics.tenants_file_in_force
        self._text: str | None = None
        self._seen: tuple[int, ...] | None = None

    def look(self) -> None:
        """Read the file if it is another one than before."""
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if seen == self._seen:
                return
            text = self._path.read_text(encoding="utf-8")
            self._seen = seen
            if text == self._text and not self.problem:
                return
            tenants = read_tenants(text, self._gateways)
        except (OSError, UnicodeDecodeError, TenantsError) as exc:
            self._complain(exc)
            return
        self._text, self.problem = text, ""
        self._in_force.set(1)
        self._use(tenants)
        log.info("the tenants' quotas are in force", file=str(self._path), tenants=len(tenants))

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.look)

    def _complain(self, error: Exception) -> None:
        problems = error.problems if isinstance(error, TenantsError) else [str(error)]
        problem = f"{self._path}: {'; '.join(problems[:_TOLD_PROBLEMS])}"
        if problem == self.problem:
            return
        self.problem = problem
        self._in_force.set(0)
        held = "the quotas before it stay in force" if self._text is not None else "no quotas are in force"
        log.error("the tenants' file cannot be used", problem=problem, consequence=held)
