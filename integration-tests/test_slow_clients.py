"""Clients that sleep, trickle, or stop in the middle: on real sockets, against a gateway in a process of its own."""

import asyncio
import json
import resource

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from operator import gt

import aiohttp
import httpx
import pytest

from served import both_served

from producer.app import create_app as create_producer
from producer.app import create_internal_app as create_internal_producer
from producer.settings import ProducerSettings
from producer.tests.fakes import FakeKafka
from shared.event.model import MAX_EVENT_BYTES
from shared.process.http_client import http_client
from shared.process.server import HEADERS_S, LEAST_BYTES_A_S, PAUSE_S
from testbed.consumer_process import ConsumerProcess
from testbed.patience import eventually, patience

# Here, because they last and need a quiet machine as little as the others do.
pytestmark = pytest.mark.services

EVENT = {"serviceName": "slow", "level": "INFO", "message": "m", "correlationId": "c"}
HALF_SENT = 2_500
MAX_RESIDENT_BYTES = 350 * 1024 * 1024
HEAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ONE, BATCH = HEAD % b"/api/logs", HEAD % b"/api/logs/batch"


class Door:
    """A gateway in a process of its own, a producer behind it, and where both of them are."""

    def __init__(self, gateway: ConsumerProcess, producer: str, internal: str, kafka: FakeKafka) -> None:
        self.gateway = gateway
        self.kafka = kafka
        self.ports = [gateway.port, int(producer.rpartition(":")[2])]
        self.internal_port = int(internal.rpartition(":")[2])
        self._clients: list[Client] = []

    async def connect(self, port: int, sent: bytes = b"") -> "Client":
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        self._clients.append(client)
        client.writer.write(sent)
        await client.writer.drain()
        return client

    async def hang_up(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.writer.close()
        await asyncio.gather(*(client.writer.wait_closed() for client in self._clients), return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"


class Client:
    """A client that does as it pleases."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> bytes:
        """Read until the server closes."""
        return await self.reader.read()

    async def status(self) -> int:
        """Read the first line of the answer; 0 if there is none."""
        line = await self.reader.readline()
        return int(line.split()[1]) if line else 0

    async def trickle(self, byte: bytes) -> None:
        """Send a byte a second until the server has had enough."""
        with suppress(OSError):
            while not self.reader.at_eof():
                self.writer.write(byte)
                await self.writer.drain()
                await asyncio.sleep(1)


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    """Have as many files as the clients need, here and in what is started from here."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] if before[1] > 0 else 16_384, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """A gateway with the variables that a test asks for."""
    kafka = FakeKafka()
    settings = ProducerSettings(region="region-a", kafka_bootstrap_servers="kafka.test:9092")
    async with AsyncExitStack() as stack:
        producer, internal = await stack.enter_async_context(
            both_served(create_producer(settings, kafka.connect), create_internal_producer())
        )
        # This machine may be busy with its clients: that is no reason to give the producer up.
        patient = {"GATEWAY_ATTEMPT_TIMEOUT_MS": "60000", "GATEWAY_DEADLINE_MS": "120000"}
        patient |= {"GATEWAY_HEALTH_TIMEOUT_MS": "60000", "GATEWAY_REGIONS": f"region-a={internal}"}
        gateway = ConsumerProcess(patient | getattr(request, "param", {}), "gateway")
        await gateway.start()
        stack.push_async_callback(gateway.close)
        await eventually(gateway.readiness, "the gateway answers", within_s=60)
        door = Door(gateway, producer, internal, kafka)
        stack.push_async_callback(door.hang_up)
        yield door


async def test_clients_that_sleep_do_not_keep_others_from_posting(door: Door) -> None:
    asleep = [await door.connect(port, BATCH + b"Content-Length: 1000\r\n\r\n[") for port in 64 * door.ports]

    async with http_client(patience(30)) as client:
        for port in door.ports:
            answers = [await client.post(f"http://127.0.0.1:{port}/api/logs/batch", json=[EVENT]) for _ in range(10)]
            assert [answer.status_code for answer in answers] == [202] * 10

    assert not any(client.reader.at_eof() for client in asleep), "they slept all the time"


async def test_the_memory_of_half_sent_bodies_is_bounded_and_whole_ones_are_taken(door: Door) -> None:
    half = ONE + b"Content-Length: %d\r\n\r\n" % MAX_EVENT_BYTES + b" " * (MAX_EVENT_BYTES - 1024)
    seen: list[int] = []
    answers: list[int] = []

    async def post_honestly(client: httpx.AsyncClient) -> None:
        while True:
            answers.append((await client.post(f"{door.url}/api/logs", json=EVENT)).status_code)
            answers.append((await client.post(f"{door.url}/api/logs/batch", json=[EVENT] * 1000)).status_code)
            seen.append(door.gateway.resident_bytes())
            await asyncio.sleep(0.05)

    async with http_client(patience(60)) as client:
        honest = asyncio.create_task(post_honestly(client))
        clients = []
        for _ in range(HALF_SENT // 50):
            clients += await asyncio.gather(*(door.connect(door.gateway.port, half) for _ in range(50)))
        told = [asyncio.create_task(client.answer()) for client in clients]
        held = await door.gateway.metric("gateway_body_bytes_held")
        cut = await door.gateway.metric("gateway_connections_cut_total", reason="bytes")
        await eventually(lambda: sum(task.done() for task in told) >= cut, "who had to give way is told", within_s=60)
        sent = len(answers)
        await eventually(lambda: len(answers) > sent + 10, "others are served meanwhile", within_s=60)
        honest.cancel()
    counted = await door.gateway.metric("gateway_requests_total", status="503")
    for task in told:
        task.cancel()
    results = await asyncio.gather(*told, return_exceptions=True)

    refused = [result for result in results if isinstance(result, bytes) and result]
    assert len(refused) >= HALF_SENT - 128 * 1024 * 1024 // (MAX_EVENT_BYTES - 1024)
    assert all(b" 503 " in result.splitlines()[0] and b"retry-after: 1\r\n" in result for result in refused)
    assert counted >= cut, "each is counted as what it was told"
    assert held <= 128 * 1024 * 1024
    assert max(seen) < MAX_RESIDENT_BYTES, f"{max(seen) / 1024 / 1024:.0f} MiB"
    assert set(answers) == {202}


HAND_OFF = "half a hand-off"
HALVES = {
    "half a request line": (b"POST /api/lo", b"g"),
    "half the headers": (ONE, b"X"),
    "half a body": (ONE + b"Content-Length: 100000\r\n\r\n{", b" "),
    "half a chunk": (ONE + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n{", b" "),
    "half the trailers": (ONE + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ", b"a"),
    "half a body for a path that is none": (HEAD % b"/nowhere" + b"Content-Length: 100000\r\n\r\n{", b" "),
    HAND_OFF: (HEAD % b"/internal/records" + b"Content-Length: 100000\r\n\r\n{", b" "),
}


async def test_half_a_request_is_let_go_and_a_slow_one_is_taken(door: Door) -> None:
    """All at once, since each lasts as long as it may."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def stopping(port: int, sent: bytes, byte: bytes, *, trickles: bool) -> tuple[bytes, float]:
        client = await door.connect(port, sent)
        trickling = asyncio.create_task(client.trickle(byte) if trickles else asyncio.sleep(0))
        try:
            with suppress(ConnectionResetError):
                return await client.answer(), loop.time() - began
        finally:
            await trickling
        return b"", loop.time() - began

    async def slow(port: int, framing: bytes) -> int:
        event = json.dumps(EVENT | {"message": "m" * (LEAST_BYTES_A_S - 500)}).encode() + b"\n"
        seconds = int(PAUSE_S) + 10
        pieces = [b"%x\r\n%b\r\n" % (2 * len(event), 2 * event) if b"chunked" in framing else 2 * event] * seconds
        head = BATCH.replace(b"application/json", b"application/x-ndjson")
        length = framing % (2 * len(event) * seconds) if b"%d" in framing else framing
        client = await door.connect(port, head + length + b"Connection: close\r\n\r\n")
        for piece in pieces:
            client.writer.write(piece)
            await asyncio.sleep(1)
        client.writer.write(b"0\r\n\r\n" if b"chunked" in framing else b"")
        return await client.status()

    places = [(name, port) for name in HALVES for port in door.ports] + [(HAND_OFF, door.internal_port)]
    halves = [(name, port, trickles) for name, port in places for trickles in (False, True)]
    ended, taken = await asyncio.gather(
        asyncio.gather(*(stopping(port, *HALVES[name], trickles=trickles) for name, port, trickles in halves)),
        asyncio.gather(
            *(
                slow(port, way)
                for port in door.ports
                for way in (b"Content-Length: %d\r\n", b"Transfer-Encoding: chunked\r\n")
            )
        ),
    )

    for (name, port, trickles), (answer, lasted_s) in zip(halves, ended, strict=True):
        what = f"{name}, {trickles=}, port {port}: {answer[:60]!r} after {lasted_s:.0f} s"
        early = name == "half a body for a path that is none" or (name == HAND_OFF and port != door.internal_port)
        wanted = (b"404",) if early else (b"408", b"400") if trickles else (b"408",)
        # What a client goes on sending can reset its connection before it has read the answer.
        if answer or not trickles:
            assert answer.split()[1] in wanted, what
        assert lasted_s > min(HEADERS_S, PAUSE_S) - 1 or b"400" in answer, what
    assert taken == [202] * 4


async def test_clients_that_keep_their_connections_are_served_on_them(door: Door) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in json.dumps(EVENT).encode():
            yield bytes([byte])

    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:
        for port in door.ports:
            url = f"http://127.0.0.1:{port}/api/logs"
            for _ in range(20):
                async with session.post(url, data=chunks(), headers=headers) as answer:
                    assert answer.status == 202
                async with session.post(url, data=b" " * 300_000, headers=headers) as answer:
                    assert answer.status == 413
                async with session.post(url, json=EVENT) as answer:
                    assert answer.status == 202

    def post_with_a_pool(url: str) -> set[int]:
        with httpx.Client(timeout=patience(30)) as client:
            return {client.post(url, json=EVENT).status_code for _ in range(50)}

    for port in door.ports:
        url = f"http://127.0.0.1:{port}/api/logs"
        pools = await asyncio.gather(*(asyncio.to_thread(post_with_a_pool, url) for _ in range(4)))
        assert pools == [{202}] * 4

    body = json.dumps(EVENT).encode()
    one = ONE + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for port in door.ports:
        piped = await door.connect(
            port, 200 * one + HEAD.replace(b"POST", b"GET") % b"/health" + b"Connection: close\r\n\r\n"
        )
        received = await piped.answer()
        assert received.count(b"HTTP/1.1 202 ") == 200
        assert received.count(b"HTTP/1.1 200 ") == 1


@pytest.mark.parametrize(
    "door", [{"GATEWAY_QUEUE_MAX_EVENTS": "6000", "GATEWAY_MAX_BATCH_REQUESTS": "16"}], indirect=True
)
async def test_a_flood_from_one_address_refuses_no_other(door: Door) -> None:
    flooded: list[int] = []
    answered = [0] * 40
    batch = json.dumps([EVENT] * 1000).encode()
    headers = {"Content-Type": "application/json"}

    async def flood(session: aiohttp.ClientSession, number: int) -> None:
        while True:
            async with session.post(f"{door.url}/api/logs/batch", data=batch, headers=headers) as answer:
                flooded.append(answer.status)
                answered[number] += 1

    connector = aiohttp.TCPConnector(limit=40, local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=connector) as session, http_client(patience(60)) as other:
        posts = [asyncio.create_task(flood(session, number)) for number in range(len(answered))]
        # A second caller: from its first request on, some places are not the flood's.
        await eventually(lambda: flooded.count(503) > 20, "the flood is more than there is room for", within_s=60)

        async def stay_known() -> None:
            # A caller that is not heard of for ten seconds is no second one any more, and on a slow machine one answer takes long.
            while True:
                await other.post(f"{door.url}/api/logs", json=EVENT)

        await other.post(f"{door.url}/api/logs", json=EVENT)
        posts.append(asyncio.create_task(stay_known()))
        # What had a place before that keeps it until its answer.
        before = list(answered)
        await eventually(
            lambda: all(map(gt, answered, before)), "the flood's earlier requests are answered", within_s=60
        )
        answers = []
        for _ in range(30):
            answers.append(await other.post(f"{door.url}/api/logs", json=EVENT))
            answers.append(await other.post(f"{door.url}/api/logs/batch", json=[EVENT] * 100))
        for task in posts:
            task.cancel()
        await asyncio.gather(*posts, return_exceptions=True)

    refused = [answer.text for answer in answers if answer.status_code != 202]
    # A machine that is slow enough has events that no region acknowledges in time. That is no refusal for the flood's sake.
    assert [text for text in refused if "in time" not in text] == []
    assert len(refused) < len(answers)
    assert 202 in flooded
