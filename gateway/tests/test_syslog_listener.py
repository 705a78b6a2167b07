"""Syslog's connections: backpressure, bounds, TLS, and what becomes of messages when something ends."""

import asyncio
import socket
import ssl
import subprocess

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger import MetricsLedger
from gateway.listeners.connection import AT_ONCE, Means
from gateway.listeners.door import open_syslog
from gateway.listeners.framing import MAX_MESSAGE_BYTES
from gateway.listeners.syslog import SyslogDoor, SyslogListener
from gateway.metrics import GatewayMetrics
from gateway.quotas.limits import Limits
from gateway.quotas.meters import TenantMeters
from gateway.settings import GatewaySettings
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.outcome import Accepted, Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.turns import Turns
from shared.process.bounds import Bounds, Cut
from shared.process.listeners import ListenError, open_sockets
from shared.process.metrics import new_registry
from testbed.patience import eventually, patience

pytestmark = pytest.mark.real_time

HERE = Accepted("region-a")
AWAY = Refused(503, "away", retryable=True)


@dataclass
class Sink:
    """A region that does as it is told; `open` holds what comes."""

    regions: Sequence[str] = ("region-a",)
    stored: list[ReceivedEvent] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    attempts: int = 0
    outcome: Callable[[ReceivedEvent], Outcome] = lambda _: HERE
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def accept(
        self,
        events: Sequence[SealedEvent],
        region: str | None,
        traceparent: bytes | None = None,
        *,
        hold_s: float | None = None,
    ) -> Sequence[Outcome]:
        assert (region, traceparent, hold_s) == (None, None, 4)
        self.attempts += 1
        await self.open.wait()
        read = [decode_received(event.encoded) for event in events]
        self.ids += [event.event_id for event in events]
        outcomes = [self.outcome(event) for event in read]
        self.stored += [event for event, one in zip(read, outcomes, strict=True) if one is HERE]
        return outcomes

    @property
    def messages(self) -> list[str]:
        return [event.message for event in self.stored]


@dataclass
class Running:
    """A listener, and what it counts."""

    port: int
    sink: Sink
    listener: SyslogListener
    metrics: GatewayMetrics
    bounds: Bounds
    cut: list[Cut]
    lost: list[int]
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        self.writers.append(writer)
        return reader, writer

    async def send(self, *sent: bytes, **options: Any) -> None:
        _, writer = await self.connect(**options)
        for some in sent:
            writer.write(some)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    def count(self, outcome: str) -> float:
        return float(self.metrics.records.labels("syslog", outcome)._value.get())


@asynccontextmanager
async def running(
    tls: ssl.SSLContext | None = None,
    *,
    max_connections: int = 10,
    max_bytes: int = 32 * 1024 * 1024,
    limits: Limits | None = None,
) -> AsyncIterator[Running]:
    metrics = GatewayMetrics(new_registry())
    meters = TenantMeters(lambda: "default", metrics)
    if limits is not None:
        meters.use({"default": limits})
    cut: list[Cut] = []
    lost: list[int] = []
    sink = Sink()
    sockets = open_sockets("127.0.0.1", 0, "no setting")
    bounds = Bounds(max_bytes, 100, cut.append)
    means = Means(sink, MetricsLedger(metrics, [], ["syslog"]), Turns(), bounds, 4, lost.append, meters)
    listener = SyslogListener(SyslogDoor(sockets, tls, max_connections), means)
    await listener.start()
    here = Running(sockets[0].getsockname()[1], sink, listener, metrics, bounds, cut, lost)
    try:
        yield here
    finally:
        sink.open.set()
        await listener.close()
        for writer in here.writers:
            if not writer.is_closing():
                writer.transport.abort()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def test_messages_of_both_framings_become_durable_in_their_order() -> None:
    async with running() as here:
        await here.send(b"<14>1 - h app - - - one\n25 <14>1 - h app - - - two", b"2\n<14>1 - h app - - - three")
        await eventually(lambda: len(here.sink.stored) == 3, "all are stored")
        await eventually(lambda: not here.listener.connections, "the connection is forgotten")

    assert here.sink.messages == ["one", "two2", "three"]
    assert here.count("accepted") == 3
    assert here.lost == []


async def test_nothing_more_is_read_while_nothing_becomes_durable_and_all_of_it_arrives_then() -> None:
    async with running() as here:
        here.sink.open.clear()
        _, writer = await here.connect()
        line = b"<14>1 - h app - - - %08d " + b"x" * 1000 + b"\n"
        sent = 0

        async def write() -> None:
            nonlocal sent
            while sent < 20_000:
                writer.write(line % sent)
                await writer.drain()
                sent += 1
            writer.close()

        writing = asyncio.create_task(write())
        await eventually(lambda: here.sink.attempts == 1, "the first messages wait for a region")
        # What the kernel and this side's writer hold is full sooner or later.
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(patience(0.2))
        assert sent < 20_000
        assert here.sink.attempts == 1

        here.sink.open.set()
        await writing
        await eventually(lambda: len(here.sink.stored) == 20_000, "all are stored", within_s=60)

    assert [int(message[:8]) for message in here.sink.messages] == [*range(20_000)]


async def test_a_tenant_that_sends_too_much_is_read_more_slowly_and_what_was_read_is_sent_when_all_ends() -> None:
    async with running(limits=Limits(events_per_second=0.001, burst_s=1)) as here:
        waited = here.metrics.quota_waited.labels("default")._value.get
        _, writer = await here.connect()
        writer.write(b"<14>1 - h app - - - one\n<14>1 - h app - - - two\n")
        await eventually(lambda: len(here.sink.stored) == 2, "more than the burst is taken when the burst is whole")
        writer.write(b"<14>1 - h app - - - three\n")
        await eventually(lambda: waited() > 1000, "the next one has to wait")
        assert here.sink.messages == ["one", "two"]
        await here.listener.close()

    assert here.sink.messages == ["one", "two", "three"]
    assert here.lost == []


async def test_messages_are_stored_however_old_they_are_and_counted() -> None:
    async with running(limits=Limits(max_age_s=3600)) as here:
        await here.send(b"<14>1 2003-10-11T22:14:15.003Z h app - - - old\n<14>1 - h app - - - new\n")
        await eventually(lambda: len(here.sink.stored) == 2, "both are stored")

        assert here.metrics.outside_ages.labels("default")._value.get() == 1


async def test_what_no_region_takes_now_is_tried_again_with_the_same_identity() -> None:
    async with running() as here:
        here.sink.outcome = lambda event: AWAY if "b" in event.message and here.sink.attempts < 3 else HERE
        await here.send(b"<14>a\n<14>b\n<14>c\n")
        await eventually(lambda: len(here.sink.stored) == 3, "all are stored")

    assert sorted(here.sink.messages) == ["a", "b", "c"]
    assert (len(here.sink.ids), len(set(here.sink.ids))) == (5, 3)
    assert (here.count("accepted"), here.count("refused"), here.lost) == (3, 0, [])


async def test_what_is_refused_for_good_is_counted_and_holds_up_nothing() -> None:
    async with running() as here:
        here.sink.outcome = lambda event: Refused(400, "odd", retryable=False) if event.message == "b" else HERE
        await here.send(b"<14>a\n<14>b\n<14>c\n")
        await eventually(lambda: here.count("accepted") == 2, "the others are stored")

    assert here.count("refused") == 1


async def test_a_sender_that_goes_is_no_reason_to_give_up_what_was_read() -> None:
    async with running() as here:
        here.sink.open.clear()
        _, writer = await here.connect()
        writer.write(b"<14>a\n<14>b\n<14>cut of")
        await eventually(lambda: here.sink.attempts == 1, "the first messages wait for a region")
        writer.transport.abort()
        await asyncio.sleep(0.1)
        assert here.listener.connections == 1
        here.sink.open.set()
        await eventually(lambda: len(here.sink.stored) >= 2, "what was read is stored")
        await eventually(lambda: not here.listener.connections, "the connection is forgotten")

    assert here.sink.messages[:2] == ["a", "b"]
    assert here.lost == []


async def test_what_the_end_of_a_connection_cuts_is_kept_and_marked() -> None:
    async with running() as here:
        await here.send(b"100 <14>1 - h app - - - half of it")
        await eventually(lambda: here.sink.stored, "it is stored")

    [event] = here.sink.stored
    assert (event.message, event.attributes["_cut"]) == ("half of it", "message 100")
    assert here.metrics.repaired.labels("syslog", "cut")._value.get() == 1


async def test_a_message_that_is_too_long_is_cut_and_those_after_it_arrive() -> None:
    async with running() as here:
        await here.send(b"<14>1 - h app - - - " + b"x" * (2 * MAX_MESSAGE_BYTES) + b"\n<14>next\n")
        await eventually(lambda: len(here.sink.stored) == 2, "both are stored")

    first, second = here.sink.stored
    assert first.attributes["_cut"].startswith(f"message {2 * MAX_MESSAGE_BYTES + 20}")
    assert second.message == "next"


async def test_a_length_that_is_none_ends_the_connection_and_nothing_else() -> None:
    async with running() as here:
        reader, writer = await here.connect()
        writer.write(b"<14>before\n99999999999 <14>text\n999999999 <14>odd")
        await writer.drain()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), patience(20))
        writer.close()
        await here.send(b"<14>after\n")
        await eventually(lambda: "after" in here.sink.messages, "the next connection is served")

    assert here.sink.messages == ["before", "99999999999 <14>text", "999999999 <14>odd", "after"]


async def test_one_connection_too_many_is_closed_and_the_others_stay() -> None:
    async with running(max_connections=2) as here:
        kept = [await here.connect() for _ in range(2)]
        await eventually(lambda: here.listener.connections == 2, "both are there")
        reader, writer = await here.connect()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), patience(20)) == b""
        writer.close()
        assert here.cut == [Cut.CONNECTIONS]
        for number, (_, one) in enumerate(kept):
            one.write(b"<14>%d\n" % number)
        await eventually(lambda: len(here.sink.stored) == 2, "they are served")
        for _, one in kept:
            one.close()
        await eventually(lambda: not here.listener.connections, "both are gone")
        await here.send(b"<14>again\n")
        await eventually(lambda: len(here.sink.stored) == 3, "there is room again")


async def test_unfinished_messages_are_held_within_the_budget_and_the_oldest_gives_way() -> None:
    async with running(max_bytes=300_000) as here:
        first, second = [(await here.connect())[1] for _ in range(2)]
        first.write(b"<14>" + b"a" * 200_000)
        await eventually(lambda: here.bounds.held_bytes >= 200_000, "the first is held")
        second.write(b"<14>" + b"b" * 200_000)
        await eventually(lambda: here.sink.stored, "what there is of the first is stored")
        second.write(b"\n")
        await eventually(lambda: len(here.sink.stored) == 2, "the second goes on")

    assert here.cut == [Cut.BYTES]
    assert [event.message[0] for event in here.sink.stored] == ["a", "b"]
    assert here.bounds.held_bytes == 0


async def test_the_end_of_the_gateway_reads_no_more_and_waits_for_what_was_read() -> None:
    async with running() as here:
        here.sink.open.clear()
        _, writer = await here.connect()
        writer.write(b"<14>a\n")
        await eventually(lambda: here.sink.attempts == 1, "the first message waits for a region")
        writer.write(b"<14>b\n<14>c")
        await eventually(lambda: arrived_at(here), "the others have arrived")
        closing = asyncio.create_task(here.listener.close())
        await asyncio.sleep(0.1)
        here.sink.open.set()
        await closing
        writer.close()

    assert here.sink.messages == ["a", "b", "c"]
    assert here.lost == []


def arrived_at(here: Running) -> bool:
    """Tell whether bytes lie in front of the only connection."""
    [connection] = here.listener._connections
    return bool(connection._reader._buffer)  # type: ignore[attr-defined]  # there is no other way to know


async def test_messages_that_no_region_takes_are_seen_to_wait_until_one_does() -> None:
    async with running() as here:
        here.sink.outcome = lambda event: HERE if event.message == "taken" else AWAY
        await here.send(b"<14>taken\n<14>one\n<14>two\n")
        await eventually(lambda: here.sink.attempts >= 3, "they are tried again and again")
        assert here.listener.waiting == 2
        here.sink.outcome = lambda _: HERE
        await eventually(lambda: not here.listener.connections, "all are stored")

        assert here.listener.waiting == 0
        assert sorted(here.sink.messages) == ["one", "taken", "two"]
        assert here.lost == []


async def test_what_is_not_acknowledged_when_the_gateway_ends_is_told_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.listeners.syslog.DRAIN_S", 0.1)
    async with running() as here:
        here.sink.open.clear()
        _, writer = await here.connect()
        # More than is tried at a time, and the beginning of one more.
        writer.write(b"<14>a\n" * (3 * AT_ONCE) + b"<14>b")
        await eventually(lambda: here.sink.attempts == 1, "the messages wait for a region")
        await here.listener.close()
        writer.close()

        assert sum(here.lost) == 3 * AT_ONCE + 1
        assert here.listener.connections == 0
        assert here.bounds.held_bytes == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*make, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def settings(**known: Any) -> GatewaySettings:
    return GatewaySettings(regions={"region-a": "http://region-a.test"}, **known)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def opened(**known: Any) -> SyslogDoor:
    door = open_syslog(settings(syslog_port=free_port(), **known))
    assert door is not None
    for one in door.sockets:
        one.close()
    return door


async def test_silent_connections_in_their_handshake_are_bounded(certificate: tuple[str, str]) -> None:
    cert, key = certificate
    door = opened(syslog_tls_cert=cert, syslog_tls_key=key)
    async with running(door.tls, max_connections=2) as here:
        for _ in range(3):
            await here.connect()
        await eventually(lambda: here.cut == [Cut.CONNECTIONS], "the third one is refused")


async def test_tls_is_spoken_where_a_certificate_is_given(certificate: tuple[str, str]) -> None:
    cert, key = certificate
    door = opened(syslog_tls_cert=cert, syslog_tls_key=key)
    async with running(door.tls) as here:
        await here.send(b"7 <14>abc", ssl=ssl.create_default_context(cafile=cert))
        await eventually(lambda: here.sink.messages == ["abc"], "it is stored")
        # A sender of plain text costs only its own connection.
        await here.send(b"<14>plain\n")
        await here.send(b"7 <14>def", ssl=ssl.create_default_context(cafile=cert))
        await eventually(lambda: here.sink.messages == ["abc", "def"], "the next one is stored")


async def test_a_client_without_a_certificate_is_refused_where_one_is_asked_for(certificate: tuple[str, str]) -> None:
    cert, key = certificate
    door = opened(syslog_tls_cert=cert, syslog_tls_key=key, syslog_tls_ca=cert)
    async with running(door.tls) as here:
        context = ssl.create_default_context(cafile=cert)
        reader, writer = await here.connect(ssl=context)
        writer.write(b"<14>anonymous\n")
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), patience(20))
        writer.transport.abort()
        context.load_cert_chain(cert, key)
        await here.send(b"<14>known\n", ssl=context)
        await eventually(lambda: here.sink.messages == ["known"], "only the known one is stored")


def test_without_a_port_there_is_no_listener() -> None:
    assert open_syslog(settings()) is None
    assert settings(syslog_port="none").syslog_port is None


def test_a_file_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path, certificate: tuple[str, str]) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    cert, key = certificate
    with pytest.raises(ListenError, match="GATEWAY_SYSLOG_TLS_CERT and GATEWAY_SYSLOG_TLS_KEY cannot be used"):
        opened(syslog_tls_cert=str(tmp_path / "no.pem"), syslog_tls_key=key)
    with pytest.raises(ListenError, match="GATEWAY_SYSLOG_TLS_CA cannot be used"):
        opened(syslog_tls_cert=cert, syslog_tls_key=key, syslog_tls_ca=str(tmp_path / "absent.pem"))


def test_a_port_that_is_taken_is_told_with_its_setting() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ListenError, match="set GATEWAY_HOST or GATEWAY_SYSLOG_PORT to another address"):
            open_syslog(settings(syslog_port=other.getsockname()[1]))


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"syslog_tls_cert": "/cert.pem"}, "belong together"),
        ({"syslog_tls_ca": "/ca.pem"}, "needs both"),
        ({"syslog_port": 8080}, "another listener"),
        ({"syslog_port": 8180}, "another listener"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(known: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings(**known)
