"""The way of an event through services as `FLEET_SECURITY=on` has them: https, keys of two tenants, certificates between the processes."""

import ssl

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from surroundings import Surroundings, as_consumer, as_role
from uuid_utils.compat import uuid7

from shared.access.scopes import Scope
from shared.process.http_client import http_client
from testbed.authority import Authority
from testbed.consumer_process import ConsumerProcess
from testbed.keys import PEPPER, Keys, bearer
from testbed.patience import eventually, patience

pytestmark = pytest.mark.services


@dataclass
class Services:
    """
    One region's services, each a process.

    Attributes:
        keys: All that are good.
        trusted: How a client knows them.
        running: By name.
        authority: Made all certificates.
    """

    keys: Keys
    authority: Authority
    trusted: ssl.SSLContext
    running: dict[str, ConsumerProcess]

    def url(self, service: str, *, internal: bool = False) -> str:
        process = self.running[service]
        return f"https://127.0.0.1:{process.internal_port if internal else process.port}"

    def known_as(self, service: str) -> ssl.SSLContext:
        context = self.authority.trusted()
        files = self.authority.issue(service)
        context.load_cert_chain(files.cert, files.key)
        return context

    def secured(self, service: str) -> dict[str, str]:
        name = service.upper()
        return self.authority.issue(service).environment(service) | {
            f"{name}_KEYS_FILE": str(self.keys.path),
            f"{name}_KEYS_PEPPER": PEPPER,
        }


@asynccontextmanager
async def services(around: Surroundings, folder: Path, keys: Keys) -> AsyncIterator[Services]:
    authority = Authority(folder / "tls")
    made = Services(keys, authority, authority.trusted(), {})
    keys.write()
    async with AsyncExitStack() as stack:

        async def start(service: str, variables: Mapping[str, str]) -> None:
            process = ConsumerProcess({**made.secured(service), **variables}, service)
            made.running[service] = process
            await process.start()
            stack.push_async_callback(process.close)

        await start("producer", {"PRODUCER_REGION": "region-a", "PRODUCER_KAFKA_BOOTSTRAP_SERVERS": around.kafka})
        await start("console", {"CONSOLE_POSTGRES_DSN": as_role("logs_api", around.postgres)})
        await start(
            "consumer",
            {
                "CONSUMER_REGION": "region-a",
                "CONSUMER_REGIONS": "region-a,region-b",
                "CONSUMER_GROUP": around.group,
                "CONSUMER_KAFKA_BOOTSTRAP_SERVERS": around.kafka,
                "CONSUMER_POSTGRES_DSN": as_consumer(around.postgres),
                "CONSUMER_REDIS_URL": around.redis,
            },
        )
        await start(
            "gateway",
            {
                "GATEWAY_REGIONS": f"region-a={made.url('producer', internal=True)}",
                "GATEWAY_CONSOLE": made.url("console", internal=True),
            },
        )
        async with http_client(patience(10), tls=made.trusted) as client:
            for service in made.running:

                async def ready(service: str = service) -> bool:
                    try:
                        return (await client.get(f"{made.url(service)}/ready")).status_code == 200
                    except httpx.TransportError:
                        return False

                await eventually(ready, f"{service} is ready", within_s=60)
        yield made


async def test_one_identity_of_two_tenants_is_stored_twice_read_apart_and_open_to_no_stranger(
    around: Surroundings, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys.json")
    own = {tenant: keys.make(Scope.WRITE, Scope.READ, tenant=tenant) for tenant in ("acme", "beta")}
    reads_alone = keys.make(Scope.READ, tenant="acme")
    event: dict[str, Any] = {"eventId": str(uuid7()), "timestamp": datetime.now(UTC).isoformat()}
    event |= {"serviceName": "s", "level": "INFO", "correlationId": "c"}
    async with (
        services(around, tmp_path, keys) as made,
        http_client(patience(20), tls=made.trusted) as client,
        http_client(patience(20), tls=made.known_as("console")) as other_service,
        http_client(patience(20)) as plain,
    ):
        door = f"{made.url('gateway')}/api/logs"

        async def post(key: str | None, message: str, url: str = door) -> int:
            headers = {} if key is None else bearer(key)
            return (await client.post(url, json=event | {"message": message}, headers=headers)).status_code

        assert await post(None, "a stranger's") == 401
        assert await post(own["acme"][:-1] + "!", "mistyped") == 401
        assert await post(reads_alone, "of a key that reads") == 403
        assert await post(own["acme"], "past the gateway", f"{made.url('producer')}/api/logs") == 403
        hand_off = f"{made.url('producer', internal=True)}/internal/records"
        assert (await other_service.post(hand_off, content=b"{}")).status_code == 403
        for stranger, url in ((plain, door.replace("https", "http")), (client, hand_off)):
            with pytest.raises(httpx.TransportError):
                await stranger.post(url, json=event | {"message": "without TLS, or without a certificate"})
        for _ in range(2):
            for tenant, key in own.items():
                assert await post(key, f"of {tenant}") == 202

        async def found(key: str) -> list[str]:
            answer = await client.get(f"{door}?from=-1h", headers=bearer(key))
            assert answer.status_code == 200, answer.text
            return [item["message"] for item in answer.json()["items"]]

        for tenant, key in own.items():

            async def stored(tenant: str = tenant, key: str = key) -> bool:
                return await found(key) == [f"of {tenant}"]

            await eventually(stored, f"{tenant} reads its own event", within_s=60)
    rows = await around.rows(2)
    assert sorted(row["message"] for row in rows) == ["of acme", "of beta"]
    assert {str(row["tenant_event_id"]) for row in rows} == {event["eventId"]}
