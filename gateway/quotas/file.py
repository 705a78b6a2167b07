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
from gateway.quotas.limits import Limits, read_tenants
from gateway.quotas.meters import TenantMeters
from gateway.settings import GatewaySettings
from shared.access.watched import EVERY_S, Watched, WatchedFileError
from shared.ingest.caller import PRINCIPAL
from shared.process.audit_acts import Acts

log: Final = structlog.stdlib.get_logger(__name__)

_WHAT: Final = "the tenants' file"


class TenantsFile:
    """
    Watches the file.

    Args:
        path: Where it is.
        gateways: How many share its limits.
        use: Told what holds from now on.
        metrics: Where it is shown whether the file can be used.
        acts: Where it is noted that it changed.
    """

    def __init__(
        self,
        path: Path,
        gateways: int,
        use: Callable[[Mapping[str, Limits]], None],
        metrics: GatewayMetrics,
        acts: Acts,
    ) -> None:
        self._path = path
        self._gateways = gateways
        self._use = use
        self._acts = acts
        self._in_force = metrics.tenants_file_in_force
        self._watched: Watched[Mapping[str, Limits]] | None = None
        self._cannot_begin = ""
        self._open()

    @property
    def problem(self) -> str:
        """What is wrong with the file, in a sentence; empty while what it says is in force."""
        return self._cannot_begin if self._watched is None else self._watched.problem or ""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while self._watched is None:
            await asyncio.sleep(EVERY_S)
            self._open()
        await self._watched.run()

    def _open(self) -> None:
        try:
            self._watched = Watched(self._path, self._parse, what=_WHAT, on_change=self._changed)
        except WatchedFileError as exc:
            problem = str(exc)
        else:
            self._changed(self._watched)
            return
        self._in_force.set(0)
        if problem != self._cannot_begin:
            self._cannot_begin = problem
            log.error("no quotas are in force", problem=problem)
            self._acts.tenants_read(problem, 0)

    def _parse(self, text: bytes) -> Mapping[str, Limits]:
        return read_tenants(text.decode(), self._gateways)

    def _changed(self, watched: Watched[Mapping[str, Limits]]) -> None:
        self._in_force.set(0 if watched.problem else 1)
        self._acts.tenants_read(watched.problem or "", len(watched.value))
        if not watched.problem:
            self._use(watched.value)
            log.info("the tenants' quotas are in force", file=str(self._path), tenants=len(watched.value))


def open_quotas(
    settings: GatewaySettings, metrics: GatewayMetrics, clock: Callable[[], float], acts: Acts
) -> tuple[TenantMeters, TenantsFile] | tuple[None, None]:
    """Return what tenants may send, if there is a file that says so. Nothing asks for it else."""
    if settings.tenants_file is None:
        return None, None
    meters = TenantMeters(
        lambda: PRINCIPAL.get().tenant,
        metrics,
        clock,
        told=lambda tenant, quota: acts.quota_refused(tenant, quota.value, PRINCIPAL.get().key_id),
    )
    return meters, TenantsFile(Path(settings.tenants_file), settings.count, meters.use, metrics, acts)
