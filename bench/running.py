"""The fleet that `./setup.sh` started, in either mode, as benchmarks need it; addresses come from the environment."""

import asyncio
import time

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import httpx

from prometheus_client.parser import text_string_to_metric_families

from bench.report import BrokenRunError
from chaos.fleet import Addresses, pull
from testbed.access import fleet_client, setting

CONSUMERS: Final = ("consumer-a", "consumer-b")
_STORED_WITHIN_S: Final = 120.0


class Running:
    """
    A fleet that is ready.

    Args:
        http: Client for metrics and probes.
        postgres: Connection to the store.
    """

    def __init__(self, http: httpx.AsyncClient, postgres: asyncpg.Connection) -> None:
        self._at = Addresses()
        self._http = http
        self.postgres = postgres

    @property
    def gateway(self) -> str:
        """Where clients post."""
        return self._at.gateway

    @property
    def window_ms(self) -> float:
        """The consumers' reorder window."""
        return float(setting("APP_REORDER_WINDOW_MS", 1000))

    async def all_ready(self) -> None:
        """
        Make sure that it is well.

        Raises:
            BrokenRunError: A part is not.
        """
        for name, address in self._at.services.items():
            answer = await self._http.get(f"{address}/ready")
            if answer.status_code != httpx.codes.OK:
                raise BrokenRunError(f"{name} is not ready: {answer.text[:300]}")

    async def consumers_say(self, *names: str) -> list[float]:
        """Return metrics of both consumers, all series of a name added up."""
        texts = [(await self._http.get(f"{self._at.services[name]}/metrics")).text for name in CONSUMERS]
        samples = [s for text in texts for family in text_string_to_metric_families(text) for s in family.samples]
        return [sum(sample.value for sample in samples if sample.name == name) for name in names]

    async def rows_of(self, service: str, least: int) -> int:
        """Wait until a run's acknowledged events are rows and no more are added. Return how many there are."""
        query = "SELECT count(*) FROM logs WHERE service_name = $1"
        deadline = time.monotonic() + _STORED_WITHIN_S
        before, rows = -1, int(await self.postgres.fetchval(query, service))
        while (rows < least or rows != before) and time.monotonic() < deadline:
            await asyncio.sleep(1)
            before, rows = rows, int(await self.postgres.fetchval(query, service))
        return rows

    async def distinct_of(self, service: str) -> int:
        """Return how many different events of a run there are, by the number that the client gave them."""
        query = "SELECT count(DISTINCT (attributes->>'n')::bigint) FROM logs WHERE service_name = $1"
        return int(await self.postgres.fetchval(query, service))

    async def forget(self, services: Collection[str]) -> Any:
        """Remove the rows of these runs, which takes more rights than a reader's."""
        names = ", ".join("'" + name.replace("'", "''") + "'" for name in services)
        statement = f"DELETE FROM logs WHERE service_name IN ({names or 'NULL'})"  # noqa: S608 - quoted
        return await pull("psql", "--no-psqlrc", "--command", statement)


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    """
    Hand out the running fleet.

    Raises:
        BrokenRunError: None is running, or it is not well.
    """
    try:
        postgres = await asyncpg.connect(Addresses().postgres)
    except OSError as exc:
        raise BrokenRunError(f"no fleet is running, start one with ./setup.sh: {exc}") from exc
    try:
        async with fleet_client(30) as http:
            fleet = Running(http, postgres)
            await fleet.all_ready()
            yield fleet
    finally:
        await postgres.close()
