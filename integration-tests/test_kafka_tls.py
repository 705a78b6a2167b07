"""A Kafka that asks for certificates, as native mode's does in a secured fleet: who may do what."""

import asyncio
import ssl

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError
from shell import ROOT

from consumer.adapters.kafka_log_reader import KafkaLogReader
from consumer.adapters.kafka_replication import KafkaReplication
from consumer.ports import SourceUnavailableError
from fleet.acls import May, Pattern, grants
from fleet.jobs.acls import AclSettings, ensure_acls
from fleet.jobs.topics import TopicSettings, check_topics, ensure_topics
from producer.kafka import AiokafkaProducer
from shared.process.acl_admin import AclAdmin
from shared.process.kafka_settings import KafkaSettings
from shared.wire.regions import DEAD_LETTERS, LOGS
from testbed.authority import Authority, Files
from testbed.local_servers import new_cluster_id, start_local_broker
from testbed.patience import eventually, patience
from testbed.server import free_port, kafka_properties

pytestmark = pytest.mark.services

REGIONS: Final = ("region-a", "region-b")


@dataclass(frozen=True)
class Guarded:
    """
    A Kafka with the access list of region-a.

    Attributes:
        address: Its listener with TLS.
        authority: Made the certificates that it takes.
    """

    address: str
    authority: Authority

    def access(self, service: str) -> dict[str, Any]:
        return dict(of(self.authority.issue(service), self.address).kafka_access)


class _Settings(KafkaSettings):
    """Of any client."""


def of(files: Files, address: str) -> KafkaSettings:
    return _Settings(kafka_bootstrap_servers=address, **kafka_files(files))


def kafka_files(files: Files) -> dict[str, Any]:
    return {
        "kafka_security_protocol": "SSL",
        "kafka_cert_file": str(files.cert),
        "kafka_key_file": str(files.key),
        "kafka_ca_file": str(files.ca),
    }


def secured(authority: Authority, folder: Path) -> dict[str, str]:
    """Return what native mode adds to a broker's configuration, with the files of this authority."""
    files = authority.issue("kafka-a")
    both = folder / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
    text = (ROOT / "native/templates/kafka-tls.properties").read_text().replace("${REGION}", "a")
    lines = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    lines["ssl.keystore.location"], lines["ssl.truststore.location"] = str(both), str(files.ca)
    lines["listener.security.protocol.map"] = "CLIENTS:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SSL"
    # The test bed looks without a certificate whether it runs.
    lines["super.users"] += ";User:ANONYMOUS"
    return lines


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("authority")
    authority = Authority(folder)
    clients, internal, controller, guarded = (f"127.0.0.1:{free_port()}" for _ in range(4))

    def properties(data: str) -> dict[str, str]:
        made = kafka_properties(clients, clients, internal, controller, data) | secured(authority, folder)
        for name in ("listeners", "advertised.listeners"):
            made[name] += f",GUARDED://{guarded}"
        return made

    server = start_local_broker(clients, properties, new_cluster_id())
    try:
        admin = kafka_files(authority.issue("admin"))
        lists = AclSettings(region="region-a", regions=REGIONS, kafka_bootstrap_servers=guarded, **admin)
        asyncio.run(ensure_acls(lists))
        topics = TopicSettings(
            region="region-a",
            regions=REGIONS,
            kafka_bootstrap_servers=guarded,
            **kafka_files(authority.issue("topics-a")),
        )
        asyncio.run(ensure_topics(topics))
        assert asyncio.run(check_topics(topics)) == []
        yield Guarded(guarded, authority)
    finally:
        server.close()


async def names_seen(kafka: Guarded, access: dict[str, Any]) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address, request_timeout_ms=3000, **access)
    try:
        await admin.start()
        return set(await admin.list_topics())
    finally:
        await admin.close()


async def write(kafka: Guarded, service: str, topic: str) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.address, acks="all", enable_idempotence=True, **kafka.access(service)
    )
    try:
        await producer.start()
        await asyncio.wait_for(producer.send_and_wait(topic, b"{}", b"key"), patience(20))
    finally:
        await producer.stop()


async def read(kafka: Guarded, service: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.address, auto_offset_reset="earliest", **kafka.access(service))
    consumer.assign([TopicPartition(topic, number) for number in range(6)])
    try:
        await consumer.start()
        record = await asyncio.wait_for(consumer.getone(), patience(20))
        return bytes(record.value)
    finally:
        await consumer.stop()


async def answers(kafka: Guarded, tls: ssl.SSLContext | None) -> bool:
    """Ask Kafka for the versions that it knows, as every client does first. Without a client, which would try again for long."""
    host, port = kafka.address.split(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    except (ssl.SSLError, ConnectionError):
        return False
    try:
        writer.write(b"\0\0\0\x0a\0\x12\0\0\0\0\0\1\xff\xff")
        return (await asyncio.wait_for(reader.read(8), patience(20)))[4:] == b"\0\0\0\1"
    except (ssl.SSLError, ConnectionError):
        return False
    finally:
        writer.transport.abort()


async def test_without_a_certificate_of_the_fleet_nothing_is_answered(kafka: Guarded, tmp_path: Path) -> None:
    def shown(files: Files | None) -> ssl.SSLContext:
        tls = ssl.create_default_context(cafile=str(kafka.authority.ca))
        if files is not None:
            tls.load_cert_chain(files.cert, files.key)
        return tls

    assert await answers(kafka, shown(kafka.authority.issue("producer-a")))
    assert not await answers(kafka, None)
    assert not await answers(kafka, shown(None))
    assert not await answers(kafka, shown(Authority(tmp_path).issue("admin")))


async def test_a_service_that_is_not_in_the_list_sees_no_topic(kafka: Guarded) -> None:
    assert await names_seen(kafka, kafka.access("gateway")) == set()
    assert LOGS in await names_seen(kafka, kafka.access("producer-a"))


@pytest.mark.parametrize(
    ("service", "topic"),
    [
        ("consumer-a", LOGS),
        ("producer-b", LOGS),
        ("mirror-to-b", LOGS),
        ("producer-a", DEAD_LETTERS),
        ("topics-a", LOGS),
    ],
)
async def test_a_service_writes_nothing_that_is_not_its_own(kafka: Guarded, service: str, topic: str) -> None:
    # The second, if it may write no topic at all.
    with pytest.raises((TopicAuthorizationFailedError, ClusterAuthorizationFailedError)):
        await write(kafka, service, topic)


async def test_each_service_does_its_work(kafka: Guarded) -> None:
    client = await AiokafkaProducer.connect(kafka.address, LOGS, kafka.access("producer-a"))
    try:
        await (await client.send(b"key", b"{}"))
    finally:
        await client.close(1)
    for reader in ("consumer-a", "mirror-to-b"):
        assert await read(kafka, reader, LOGS) == b"{}"
    await write(kafka, "consumer-a", DEAD_LETTERS)
    await write(kafka, "mirror-to-a", "region-b.logs")


@pytest.mark.parametrize("service", ["producer-a", "producer-b", "consumer-b", "topics-a"])
async def test_events_are_read_by_consumers_and_mirrors_alone(kafka: Guarded, service: str) -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        await read(kafka, service, LOGS)


async def test_a_consumers_other_questions_are_answered(kafka: Guarded) -> None:
    access = kafka.access("consumer-a")
    watch = KafkaReplication(bootstrap_servers=kafka.address, client_id="watch", sources=["region-b"], access=access)
    await watch.start()
    try:

        async def seen() -> bool:
            try:
                return await watch.look() is not None
            except SourceUnavailableError:
                return False

        await eventually(seen, "replication is seen")
    finally:
        await watch.stop()
    logs = KafkaLogReader(bootstrap_servers=kafka.address, client_id="find", group="log-consumer", access=access)
    await logs.start()
    await logs.stop()


async def test_the_list_is_made_once_and_what_is_not_in_it_goes(kafka: Guarded) -> None:
    settings = AclSettings(
        region="region-a",
        regions=REGIONS,
        kafka_bootstrap_servers=kafka.address,
        **kafka_files(kafka.authority.issue("admin")),
    )
    assert await ensure_acls(settings) == (0, 0)
    of_others, too_much = (2, LOGS, Pattern.LITERAL, "a-tool", May.READ), (2, LOGS, 3, "consumer-a", May.WRITE)
    async with AclAdmin(kafka.address, settings.kafka_access) as admin:
        there = await admin.read()
        await admin.make({*there, of_others, too_much}, {"a-tool", "consumer-a"})
    assert await ensure_acls(settings) == (0, 1)
    async with AclAdmin(kafka.address, settings.kafka_access) as admin:
        assert await admin.read() == there | {of_others}


async def test_what_an_open_kafka_left_of_connectors_goes_and_positions_stay(kafka: Guarded) -> None:
    admin = kafka_files(kafka.authority.issue("admin"))
    settings = AclSettings(region="region-a", regions=REGIONS, kafka_bootstrap_servers=kafka.address, **admin)
    made = ["mm2-configs.region-b.internal", "mm2-offsets.region-b.internal"]
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.address, **settings.kafka_access)
    await client.start()
    try:
        await client.create_topics([NewTopic(name, 1, 1) for name in made])

        async def there() -> set[str]:
            return set(await client.list_topics()) & set(made)

        async def are(names: set[str]) -> bool:
            return await there() == names

        await eventually(lambda: are(set(made)), "they are there")
        await ensure_acls(settings)
        assert await there() == set(made)
        await ensure_acls(settings, from_open=True)
        await eventually(lambda: are(set(made[1:])), "the notes are gone")
        await ensure_acls(settings, from_open=True)
    finally:
        await client.close()


def test_a_mirror_may_only_read_in_the_region_that_it_copies_from() -> None:
    there = {grant.may for grant in grants("region-a", REGIONS) if grant.service == "mirror-to-b"}
    assert there == {May.READ, May.DESCRIBE, May.DESCRIBE_CONFIGS}
