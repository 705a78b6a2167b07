"""
A fleet that was started with FLEET_SECURITY=on: what a stranger gets at each of its ports, and that renewal costs nothing.

`run-integration-tests.sh --deep` starts a native one for these tests alone, and `--secured` takes the one that runs, in either mode.
"""

import asyncio
import os
import ssl
import subprocess

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from outsider import IN_COMPOSE, TLS, asks, talks, tapped
from uuid_utils.compat import uuid7

from shared.process.http_client import http_client
from testbed.patience import eventually, patience

pytestmark = [pytest.mark.fleet, pytest.mark.secured, pytest.mark.deep]

ROOT: Final = Path(__file__).resolve().parent.parent
KEY: Final = ROOT / ".run/secrets/key-write"


def at(variable: str, default: int) -> str:
    return f"127.0.0.1:{os.environ.get(variable, default)}"


def shown(service: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(TLS / "ca.pem"))
    if service is not None:
        context.load_cert_chain(TLS / service / "cert.pem", TLS / service / "key.pem")
    return context


def setup(*arguments: str) -> str:
    done = subprocess.run(
        [ROOT / "setup.sh", *arguments], capture_output=True, text=True, check=False, timeout=patience(300)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def event(number: int, correlation: str) -> dict[str, Any]:
    return {"serviceName": "secured", "level": "INFO", "message": f"event {number}", "correlationId": correlation}


def key() -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY.read_text().strip()}"} if KEY.exists() else {}


def shown_by_the_gateway() -> str:
    host, port = at("GATEWAY_PORT", 8080).split(":")
    return ssl.get_server_certificate((host, int(port)), timeout=patience(10))


def stored(correlation: str) -> int:
    return int(setup("psql", "-Atc", f"SELECT count(*) FROM logs WHERE correlation_id = '{correlation}'"))


async def are_stored(correlation: str, number: int) -> bool:
    # The event loop goes on meanwhile, and hears of connections that the gateway ends.
    return await asyncio.to_thread(stored, correlation) == number


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(patience(20), base_url=f"https://{at('GATEWAY_PORT', 8080)}", tls=shown(None)) as made:
        yield made


async def test_an_event_goes_through_both_regions_and_is_stored_once(client: httpx.AsyncClient) -> None:
    correlation = str(uuid7())
    for region in ("region-a", "region-b"):
        answer = await client.post("/api/logs", json=event(1, correlation), headers={"X-Region": region, **key()})
        assert (answer.status_code, answer.json().get("region")) == (202, region), answer.text
    await eventually(lambda: are_stored(correlation, 2), "both are stored", within_s=60)


@pytest.mark.parametrize(
    ("variable", "default"), [("GATEWAY_PORT", 8080), ("CONSOLE_PORT", 8085), ("PRODUCER_A_PORT", 8081)]
)
async def test_no_public_port_speaks_plain_http(variable: str, default: int) -> None:
    async with http_client(patience(10)) as plain:
        with pytest.raises(httpx.TransportError):
            await plain.post(f"http://{at(variable, default)}/api/logs", json=event(1, "plain"))


@pytest.mark.parametrize(
    ("certificate", "scheme", "answer"),
    [
        (None, "http", "cut"),
        (None, "https", "cut"),
        ("producer-b", "https", "403"),
        ("console", "https", "403"),
        ("admin", "https", "403"),
    ],
)
async def test_a_hand_off_is_the_gateways_alone(certificate: str | None, scheme: str, answer: str) -> None:
    """Asked by a process of the machine, or from a container next door, which is in the same network."""
    assert asks("producer-a", "/internal/records", certificate=certificate, scheme=scheme) == answer


@pytest.mark.parametrize("service", ["consumer-a", "console", "gateway"])
async def test_no_internal_listener_answers_next_door_without_a_certificate(service: str) -> None:
    assert {asks(service, "/metrics", scheme=scheme) for scheme in ("http", "https")} == {"cut"}


# Versions of the API, as Kafka's own protocol asks for them; PING; and the beginning of a session as user `logs_consumer`.
SAID: Final = {
    "kafka-a": b"\0\0\0\x0a\0\x12\0\0\0\0\0\1\xff\xff",
    "redis": b"PING\r\n",
    "postgres": b"\0\0\0\x2a\0\3\0\0user\0logs_consumer\0database\0logs\0\0",
}


@pytest.mark.parametrize(("store", "how"), [(store, how) for store in SAID for how in ("plain", "tls")])
async def test_no_store_answers_next_door_without_a_certificate(store: str, how: str) -> None:
    answer = talks(store, how, SAID[store])

    if store == "postgres" and how == "plain":
        assert answer.startswith(b"E")
        assert b"no pg_hba.conf entry" in answer or b"pg_hba.conf rejects connection" in answer
    else:
        # TLS itself refuses, by a record of its own at most.
        assert answer == b"" or answer[:1] == b"\x15"


async def test_a_tapped_wire_has_no_byte_of_an_event(client: httpx.AsyncClient) -> None:
    """From client to gateway, producer, Kafka, the other region's Kafka, consumer, PostgreSQL and Redis."""
    marker, correlation = f"marked-{uuid7()}", str(uuid7())
    key_sent = key()["Authorization"].removeprefix("Bearer ")
    places = ("gateway", "producer-a", "consumer-b", "kafka-a", "kafka-b", "postgres", "redis")
    async with tapped(places, marker, correlation, key_sent) as found:
        for region in ("region-a", "region-b"):
            body = event(1, correlation) | {"message": marker}
            answer = await client.post("/api/logs", json=body, headers={"X-Region": region, **key()})
            assert answer.status_code == 202, answer.text
        await eventually(lambda: are_stored(correlation, 2), "both are stored", within_s=60)

    assert set(found) == (set(places) if IN_COMPOSE else {"loopback"})
    for place, seen in found.items():
        # The tap works: it has seen TLS, and what it sent itself in plain text.
        assert seen["tls"] > 0, place
        assert seen["in-plain-text"] > 0, place
        assert (seen[marker], seen[correlation], seen[key_sent]) == (0, 0, 0), place


@pytest.mark.parametrize("variable", ["KAFKA_A_PORT", "KAFKA_B_PORT", *([] if IN_COMPOSE else ["KAFKA_A_WAN_PORT"])])
async def test_kafka_tells_its_topics_to_no_stranger(variable: str) -> None:
    address = at(variable, {"KAFKA_A_PORT": 9092, "KAFKA_A_WAN_PORT": 9094, "KAFKA_B_PORT": 9093}[variable])
    for access in ({}, {"security_protocol": "SSL", "ssl_context": shown(None)}):
        admin = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=3000, **access)
        try:
            with pytest.raises(KafkaError):
                await admin.start()
        finally:
            await admin.close()


async def test_postgresql_takes_no_service_without_its_certificate() -> None:
    password = setup("secret", "logs_consumer").strip()
    given: dict[str, Any] = {"host": "127.0.0.1", "port": int(at("POSTGRES_PORT", 5432).partition(":")[2])}
    given |= {"user": "logs_consumer", "password": password, "database": "logs"}
    for tls in (False, shown(None)):
        with pytest.raises((asyncpg.InvalidAuthorizationSpecificationError, asyncpg.ConnectionDoesNotExistError)):
            await asyncpg.connect(**given, ssl=tls)
    connection = await asyncpg.connect(**given, ssl=shown("admin"))
    await connection.close()


async def test_redis_takes_no_client_without_a_certificate() -> None:
    host, port = at("REDIS_PORT", 6379).split(":")
    for tls in (None, shown(None)):
        try:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
            writer.write(b"PING\r\n")
            assert await asyncio.wait_for(reader.read(100), patience(10)) == b""
        except (ssl.SSLError, ConnectionError):
            continue
        writer.close()


async def test_all_certificates_are_renewed_under_load_without_losing_a_request(client: httpx.AsyncClient) -> None:
    correlation, is_over, sent = str(uuid7()), asyncio.Event(), 0
    before = shown_by_the_gateway()

    async def keep_posting() -> None:
        nonlocal sent
        while not is_over.is_set():
            body = event(sent, correlation) | {"eventId": str(uuid7()), "timestamp": datetime.now(UTC).isoformat()}
            async with asyncio.timeout(patience(120)):
                # A region whose Kafka is started again answers 503, and the identity makes the retry harmless.
                while True:
                    answer = await client.post("/api/logs", json=body, headers=key())
                    if answer.status_code != 503:
                        break
                    await asyncio.sleep(float(answer.headers["retry-after"]))
            assert answer.status_code == 202, answer.text
            sent += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(keep_posting())
        said = await asyncio.to_thread(setup, "renew")
        is_over.set()
    assert "certificates, for 90 days: gateway" in said
    assert shown_by_the_gateway() != before
    await eventually(lambda: are_stored(correlation, sent), "all of them are stored, once", within_s=120)
    setup("status")


async def test_a_refused_key_is_in_an_audit_log_that_is_whole(client: httpx.AsyncClient) -> None:
    refused = await client.post("/api/logs", json=event(1, "audited"), headers={"Authorization": "Bearer made-up"})
    assert refused.status_code == 401

    said = await asyncio.to_thread(setup, "audit", "verify")

    assert [line.split(":")[0] for line in said.splitlines() if "whole" in line] == ["gateway", "console"]
