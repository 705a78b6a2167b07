"""Waits until the fleet has recovered: each part works, and probes of both regions are served, stored and mirrored."""

import asyncio
import contextlib
import time

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import asyncpg
import httpx

from aiokafka.errors import KafkaError
from pydantic_core import to_json
from uuid_utils.compat import uuid7

from chaos.checker import Place
from chaos.fleet import REGIONS, Addresses, counters, readiness
from chaos.observe import RunRecords, ends, unreplayed

_PROBES: Final = 12


class Recovery:
    """
    Ask until the answer is good.

    Args:
        at: The fleet.
        http: A client.
    """

    def __init__(self, at: Addresses, http: httpx.AsyncClient) -> None:
        self._at = at
        self._http = http
        self._probes = f"probe-{uuid7().hex}"

    async def whole_again(self, *, within_s: float, set_back: bool = False) -> float | None:
        """
        Return after how many seconds every part works again, or None if that takes too long.

        Args:
            within_s: Limit of the wait, in seconds.
            set_back: Also wait until the database has again all rows that it had before it was set back. Probes do not
                show that: those of one region are stored while the consumers of the other one still replay.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                for address in self._at.services.values():
                    while not await self._well(address):
                        await asyncio.sleep(0.1)
                await asyncio.gather(*(self._serves_and_mirrors(region) for region in REGIONS))
                while set_back and not await self._replayed():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return None
        return time.monotonic() - began

    async def _well(self, address: str) -> bool:
        said = await readiness(self._http, address)
        return said is not None and not said["reasons"] and not said["degraded"] and await self._in_time(address)

    async def _in_time(self, address: str) -> bool:
        """Return whether no watermark is ahead of the clock, which would make new events late."""
        series = await counters(self._http, address) or {}
        watermarks = [s for name, s in series.items() if name.startswith("consumer_watermark_timestamp_seconds")]
        return all(watermark <= time.time() for watermark in watermarks)

    async def _replayed(self) -> bool:
        with contextlib.suppress(KafkaError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return await unreplayed(self._at) == 0
        return False

    async def _serves_and_mirrors(self, region: str) -> None:
        """Wait until a region serves its events, PostgreSQL stores them, and the other region's Kafka has their copies."""
        probes = [self._probe() for _ in range(_PROBES)]
        since = await self._ends_patiently()
        while not await self._served(region, probes):
            await asyncio.sleep(0.2)
        wanted = {probe["eventId"] for probe in probes}
        while await self._stored(wanted) < len(wanted):
            await asyncio.sleep(0.2)
        records = RunRecords(self._at, self._probes, since)
        while True:
            with contextlib.suppress(KafkaError, OSError):
                await records.read_on()
            mirrored = {r.event_id.hex() for r in records.records if "." in r.place.topic}
            if {identity.replace("-", "") for identity in wanted} <= mirrored:
                return
            await asyncio.sleep(0.3)

    def _probe(self) -> dict[str, Any]:
        return {
            "eventId": str(uuid7()),
            "timestamp": time.time_ns() // 1_000_000,
            "serviceName": self._probes,
            "level": "INFO",
            "message": "whole again?",
            "correlationId": str(uuid7()),
        }

    async def _served(self, region: str, probes: Sequence[Mapping[str, Any]]) -> bool:
        try:
            answer = await self._http.post(
                f"{self._at.gateway}/api/logs/batch",
                content=to_json(probes),
                headers={"Content-Type": "application/json", "X-Region": region},
            )
        except httpx.TransportError:
            return False
        return answer.status_code == 202 and all(item["region"] == region for item in answer.json()["items"])

    async def _stored(self, ids: Collection[str]) -> int:
        try:
            connection = await asyncpg.connect(self._at.postgres, timeout=3)
            try:
                sql = "SELECT count(*) FROM logs WHERE service_name = $1 AND event_id = ANY($2::uuid[])"
                return await connection.fetchval(sql, self._probes, ids, timeout=5) or 0
            finally:
                await connection.close(timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return 0

    async def _ends_patiently(self) -> dict[Place, int]:
        while True:
            with contextlib.suppress(KafkaError, OSError):
                return await ends(self._at)
            await asyncio.sleep(0.2)
