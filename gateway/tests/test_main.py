"""The gateway's process: settings, socket and shutdown."""

import asyncio
import json
import os
import signal
import socket
import sys

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from gateway.settings import GatewaySettings
from gateway.tests.fleet import EVENT, FakeProducer
from shared.process.http_client import http_client
from shared.process.settings import SettingsError
from testbed.patience import eventually
from testbed.server import free_port

REPOSITORY = Path(__file__).parents[2]


async def run(**environment: str) -> tuple[int | None, str, str]:
    """Run `python -m gateway` to its end with these variables."""
    process = await _start(environment)
    stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()


async def _start(environment: dict[str, str]) -> asyncio.subprocess.Process:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        cwd=REPOSITORY,
        env=inherited | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_wrong_settings_are_named_and_end_the_process_with_2() -> None:
    code, _, stderr = await run(GATEWAY_PORT="http", GATEWAY_REGIONS="region-a", GATEWAY_LOG_LEVEL="loud")

    lines = stderr.splitlines()
    assert code == 2
    assert lines[0] == "the settings are wrong:"
    assert any(line.startswith("  GATEWAY_PORT: Input should be a valid integer") for line in lines)
    assert any(line.startswith("  GATEWAY_REGIONS: ") and "NAME=URL" in line for line in lines)
    assert any(line.startswith("  GATEWAY_LOG_LEVEL: ") for line in lines)
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "GATEWAY_REGIONS: Field required"),
        ({"regions": ""}, "at least one region"),
        ({"regions": "a=http://x,a=http://y"}, "names a region twice"),
        ({"regions": "A.b=http://x"}, "GATEWAY_REGIONS: A.b: [key]: String should match pattern"),
        ({"regions": "a=ftp://x"}, "GATEWAY_REGIONS: a: URL scheme should be 'http' or 'https'"),
        ({"regions": "a=http://x", "linger_ms": "0"}, "GATEWAY_LINGER_MS: Input should be greater than 0"),
        ({"regions": "a=http://x", "request_max_events": "30000"}, "must not be larger than queue_max_events"),
        ({"regions": "a=http://x", "queue_max_bytes": "1000"}, "room for the largest single event"),
    ],
)
def test_each_mistake_has_its_line(changes: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    for name, value in changes.items():
        monkeypatch.setenv(f"GATEWAY_{name.upper()}", value)

    with pytest.raises(SettingsError) as caught:
        GatewaySettings.read()

    assert any(line in explained for explained in str(caught.value).splitlines()), str(caught.value)


@pytest.mark.parametrize("names", [("REQUEST",), ("BATCH",), ("REQUEST", "BATCH")])
def test_a_setting_is_still_read_by_the_name_that_it_had(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_REGIONS", "a=http://x")
    for name, value in zip(names, ("7", "8"), strict=False):
        monkeypatch.setenv(f"GATEWAY_{name}_MAX_EVENTS", value)

    assert GatewaySettings.read().request_max_events == 7


@pytest.mark.parametrize("name", ["GATEWAY_REQUEST_MAX_EVENTS", "GATEWAY_BATCH_MAX_EVENTS"])
def test_a_mistake_is_told_under_the_name_that_was_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_REGIONS", "a=http://x")
    monkeypatch.setenv(name, "0")

    with pytest.raises(SettingsError, match=f"{name}: Input should be greater than 0"):
        GatewaySettings.read()


# Long, because a busy machine is slow to close a port, and the request in flight must not time out meanwhile.
PATIENT = {"GATEWAY_ATTEMPT_TIMEOUT_MS": "60000", "GATEWAY_DEADLINE_MS": "120000"}


class Wire:
    """A producer on a real socket, one request a connection. It answers when `gate` is open."""

    def __init__(self) -> None:
        self.producer = FakeProducer("region-a")
        self.gate = asyncio.Event()
        self.gate.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        length = next((int(h[16:]) for h in head.splitlines() if h.lower().startswith("content-length: ")), 0)
        body = await reader.readexactly(length)
        if path != "/ready":
            await self.gate.wait()
        request = httpx.Request(method, f"http://producer{path}", content=body)
        response = await self.producer.handle_async_request(request)
        writer.write(b"HTTP/1.1 %d OK\r\n" % response.status_code)
        writer.write(b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(response.content) + response.content)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def running(wire: Wire, port: int, **further: str) -> AsyncIterator[asyncio.subprocess.Process]:
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    ports = {"GATEWAY_PORT": str(port), "GATEWAY_INTERNAL_PORT": str(free_port())}
    region = {"GATEWAY_REGIONS": f"region-a=http://127.0.0.1:{address[1]}"}
    process = await _start(ports | region | PATIENT | further)
    try:
        await eventually(lambda: listens(port), "the gateway listens", within_s=30)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        server.close()
        await server.wait_closed()


async def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def talk(port: int, *pieces: bytes, end: bool = False) -> bytes:
    """Send bytes as they are and read the answer, until the other side closes or has answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    if end:
        writer.write_eof()
    answer = await reader.read(65536)
    writer.close()
    return answer


HEAD = b"POST /api/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.real_time
async def test_on_a_real_socket_liars_are_answered_and_requests_under_way_survive_sigterm(unused_tcp_port: int) -> None:
    wire = Wire()
    body = json.dumps(EVENT).encode()
    async with running(wire, unused_tcp_port) as process:
        # Content-Length says 100 MB and two bytes come: refused before the rest arrives.
        huge = await talk(unused_tcp_port, HEAD + b"Content-Length: 104857600\r\n\r\n{}")
        # Content-Length is too small: the bytes left over are no valid request.
        short = await talk(unused_tcp_port, HEAD + b"Content-Length: 5\r\n\r\n" + body)
        # Content-Length is too large, and the client closes the connection.
        long = await talk(unused_tcp_port, HEAD + b"Content-Length: 5000\r\n\r\n" + body, end=True)
        both = await talk(
            unused_tcp_port, HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1"
        )
        smuggled = await talk(unused_tcp_port, HEAD + b"X-Region: region-a\x00\r\nContent-Length: 2\r\n\r\n{}")
        good = await talk(unused_tcp_port, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

        wire.gate.clear()
        late = asyncio.create_task(talk(unused_tcp_port, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body))
        await eventually(lambda: queued(unused_tcp_port), "the request is under way")
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: refuses(unused_tcp_port), "no new connections are taken")
        wire.gate.set()
        finished = await late
        stdout, stderr = await process.communicate()

    assert huge.startswith(b"HTTP/1.1 413 ")
    assert short.startswith(b"HTTP/1.1 400 ")
    assert long == b"" or long.startswith(b"HTTP/1.1 400 ")
    assert both.startswith(b"HTTP/1.1 400 ")
    assert smuggled.startswith(b"HTTP/1.1 400 ")
    assert good.startswith(b"HTTP/1.1 202 ")
    assert b"\r\nserver:" not in good.lower()
    assert finished.startswith(b"HTTP/1.1 202 ")
    assert len(wire.producer.written) == 2
    assert stderr == b""
    for line in stdout.splitlines():
        assert json.loads(line)["service"] == "gateway"
        assert "Traceback" not in line.decode()


async def queued(port: int) -> bool:
    async with http_client(30) as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    return 'gateway_queue_events{region="region-a"} 1.0' in text


async def refuses(port: int) -> bool:
    return not await listens(port)


@pytest.mark.real_time
async def test_syslog_is_taken_at_its_port_and_its_end_is_quiet(unused_tcp_port: int) -> None:
    wire = Wire()
    at = free_port()
    async with running(wire, unused_tcp_port, GATEWAY_SYSLOG_PORT=str(at)) as process:
        _, writer = await asyncio.open_connection("127.0.0.1", at)
        writer.write(b"<14>1 - web checkout - - - one\n34 <14>1 - web checkout - - - counted")
        await eventually(lambda: len(wire.producer.written) == 2, "both messages are stored")
        process.send_signal(signal.SIGTERM)
        stdout, stderr = await process.communicate()
        writer.close()

    assert [event.message for event in wire.producer.written] == ["one", "counted"]
    assert stderr == b""
    assert b"not acknowledged" not in stdout


@pytest.mark.real_time
async def test_what_keeps_syslog_from_its_port_ends_the_process_with_a_sentence(unused_tcp_port: int) -> None:
    known = {"GATEWAY_REGIONS": "region-a=http://127.0.0.1:1", "GATEWAY_PORT": str(unused_tcp_port)}
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        _, _, stderr = await run(**known, GATEWAY_SYSLOG_PORT=taken)
    assert f"cannot listen on 127.0.0.1:{taken}" in stderr
    assert "GATEWAY_SYSLOG_PORT" in stderr
    assert "Traceback" not in stderr

    absent = {"GATEWAY_SYSLOG_TLS_CERT": "/no/cert.pem", "GATEWAY_SYSLOG_TLS_KEY": "/no/key.pem"}
    _, _, stderr = await run(**known, **absent, GATEWAY_SYSLOG_PORT=str(free_port()))
    assert "GATEWAY_SYSLOG_TLS_CERT and GATEWAY_SYSLOG_TLS_KEY cannot be used" in stderr
    assert "Traceback" not in stderr
