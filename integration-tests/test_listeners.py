"""Two listeners a service: who may ask what where, under which name, and that they are one server. On real sockets."""

import asyncio
import json
import os
import signal
import socket
import sys

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastapi import FastAPI, Request, Response
from served import both_served, bound

from shared.process.bounds import BOUNDS, Bounds, Cut
from shared.process.hosts import AllowedHosts
from shared.process.listeners import ListenError, open_sockets
from testbed.consumer_process import ROOT, ConsumerProcess
from testbed.keys import PEPPER, Keys
from testbed.patience import eventually, patience

pytestmark = pytest.mark.real_time


class Service:
    """A service of two listeners, each of which says its name. `/slow` answers when `gate` is open."""

    def __init__(self, max_connections: int = 100) -> None:
        self.cuts: list[Cut] = []
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self._bounds = Bounds(max_connections=max_connections, on_cut=self.cuts.append)
        self.public, self.internal = (self._app(name) for name in ("public", "internal"))

    def _app(self, name: str) -> FastAPI:
        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
            yield {BOUNDS: self._bounds}

        app = FastAPI(lifespan=lifespan)

        @app.api_route("/{path:path}", methods=["GET", "POST"])
        async def answer(path: str, request: Request) -> Response:
            await request.body()
            self.asked.append(f"{name} {path}")
            if path == "slow":
                await self.gate.wait()
            return Response(name)

        return app

    @asynccontextmanager
    async def listening(self, *names: str) -> AsyncIterator[list[int]]:
        async with both_served(self.public, self.internal, hosts=AllowedHosts(names)) as addresses:
            yield [int(address.rpartition(":")[2]) for address in addresses]


async def all_said(port: int, sent: bytes) -> bytes:
    """Send, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await reader.read()
    finally:
        writer.close()


def get(*lines: str, path: str = "/") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "Connection: close", "", ""]).encode()


@pytest.mark.parametrize(
    "lines",
    [
        ("Host: evil.example",),
        ("Host: evil.example:8080", "X-Forwarded-Host: localhost", "Forwarded: host=localhost"),
        ("X-Forwarded-Host: localhost", "HOST: EVIL.example"),
        ("Host: localhost", "Host: evil.example"),
        ("Host: evil.example", "Host: localhost"),
        ("Host: localhost.evil.example",),
        ("Host: evil.example", "Connection: Upgrade", "Upgrade: h2c"),
    ],
)
async def test_a_foreign_host_name_is_421(lines: tuple[str, ...]) -> None:
    service = Service()
    async with service.listening("logs.example.org") as ports:
        answers = [await all_said(port, get(*lines, path=path)) for port in ports for path in ("/", "/nowhere")]

    assert service.asked == []
    assert service.cuts == [Cut.HOST] * 4
    for answer in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
        assert b"content-type: application/problem+json" in head
        problem = json.loads(body)
        assert "evil.example" in problem["detail"].lower()
        assert "add the name to APP_ALLOWED_HOSTS" in problem["detail"]


@pytest.mark.parametrize(
    "lines",
    [
        ("Host: localhost",),
        ("Host: 127.0.0.1:8080", "X-Forwarded-Host: evil.example"),
        ("Host: logs.example.org:443",),
        ("Host: [::1]:8080",),
        ("Host:",),
        (),
    ],
)
async def test_a_name_of_the_service_is_served_on_both_listeners(lines: tuple[str, ...]) -> None:
    service = Service()
    async with service.listening("logs.example.org") as ports:
        answers = [await all_said(port, get(*lines)) for port in ports]

    assert [answer.rpartition(b"\r\n\r\n")[2] for answer in answers] == [b"public", b"internal"]


async def test_a_foreign_request_is_refused_in_its_turn_and_its_body_is_not_asked_for() -> None:
    service = Service()
    own = b"GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n"
    foreign = b"POST / HTTP/1.1\r\nHost: evil.example\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    async with service.listening() as (port, _):
        answer = await all_said(port, own + foreign + b'{"a":"b"}' + own)

    assert service.asked == ["public first"]
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 421 " in answer


async def test_connections_of_one_listener_push_out_none_of_the_other() -> None:
    service = Service(max_connections=4)
    async with service.listening() as (public, internal):
        kept = [await asyncio.open_connection("127.0.0.1", internal) for _ in range(4)]
        for reader, writer in kept:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"internal")
        crowd = [await asyncio.open_connection("127.0.0.1", public) for _ in range(12)]
        await eventually(lambda: len(service.cuts) >= 8, "the crowd is bounded")
        for reader, writer in kept:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"internal")
        # Idle ones of the internal listener are remembered from here on, and make room for its own alone.
        more = [await asyncio.open_connection("127.0.0.1", internal) for _ in range(2)]
        await eventually(lambda: len(service.cuts) >= 10, "the internal one is bounded, too")
        left = [writer for reader, writer in kept if not reader.at_eof()]
        crowd += [await asyncio.open_connection("127.0.0.1", public) for _ in range(6)]
        await eventually(lambda: len(service.cuts) >= 16, "the crowd is bounded again")
        assert [writer for reader, writer in kept if not reader.at_eof()] == left
        for _, writer in [*kept, *crowd, *more]:
            writer.close()

    assert set(service.cuts) == {Cut.CONNECTIONS}


async def test_requests_in_flight_on_both_listeners_are_finished_when_the_server_ends() -> None:
    service = Service()
    async with service.listening() as ports:
        posts = [asyncio.create_task(all_said(port, get("Host: localhost", path="/slow"))) for port in ports]
        await eventually(lambda: len(service.asked) == 2, "both are in flight")
        asyncio.get_running_loop().call_later(0.2, service.gate.set)
    answers = await asyncio.gather(*posts)

    assert [answer.rpartition(b"\r\n\r\n")[2] for answer in answers] == [b"public", b"internal"]
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


# ---------------------------------------------------------------- as processes

GATEWAY = {"GATEWAY_REGIONS": "region-a=http://127.0.0.1:9"}
PRODUCER = {"PRODUCER_REGION": "region-a", "PRODUCER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}


@asynccontextmanager
async def running(module: str, variables: dict[str, str]) -> AsyncIterator[ConsumerProcess]:
    process = ConsumerProcess(variables, module)
    await process.start()
    try:
        await eventually(process.readiness, "it answers", within_s=60)
        yield process
    finally:
        await process.close()


@pytest.mark.parametrize(("module", "variables"), [("gateway", GATEWAY), ("producer", PRODUCER)])
async def test_a_service_has_both_listeners_and_ends_both(
    module: str, variables: dict[str, str], tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys.json")
    keys.write()
    named = {
        "APP_ALLOWED_HOSTS": "logs.example.org",
        "GATEWAY_KEYS_FILE": str(keys.path),
        "GATEWAY_KEYS_PEPPER": PEPPER,
    }
    async with running(module, {**variables, **named, "FLEET_SECURITY": "on"}) as process:
        ports = [process.port, process.internal_port]
        said = {
            (port, path, host): (await all_said(port, get(f"Host: {host}", path=path))).split(b" ", 2)[1]
            for port in ports
            for path in ("/health", "/metrics", "/internal/records")
            for host in ("localhost", "logs.example.org", socket.gethostname(), "evil.example")
        }
        ready = [(await all_said(port, get(path="/ready"))).rpartition(b"\r\n\r\n")[2] for port in ports]

    public, internal = ports
    assert {status for (_, _, host), status in said.items() if host == "evil.example"} == {b"421"}
    for (port, path, host), status in said.items():
        if host != "evil.example":
            records = b"405" if (module, port) == ("producer", internal) else b"404"
            metrics = b"200" if port == internal else b"401" if module == "gateway" else b"404"
            wanted = {"/health": b"200", "/metrics": metrics, "/internal/records": records}
            assert status == wanted[path], (port == public, path, host)
    assert json.loads(ready[0]) == {"status": "not ready"}
    assert json.loads(ready[1])["reasons"]


@pytest.mark.parametrize("listener", ["", "INTERNAL_"])
@pytest.mark.parametrize(("module", "variables"), [("gateway", GATEWAY), ("producer", PRODUCER)])
async def test_a_service_that_cannot_have_one_of_its_listeners_says_so_and_ends(
    module: str, variables: dict[str, str], listener: str
) -> None:
    with bound() as taken, bound() as free:
        taken.listen()
        ports = {"": free, "INTERNAL_": free} | {listener: taken}
        other = "INTERNAL_" if not listener else ""
        free.close()
        own = {f"{module.upper()}_{name}PORT": str(one.getsockname()[1]) for name, one in ports.items() if one is taken}
        own[f"{module.upper()}_{other}PORT"] = str(unused())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **variables, **own},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(patience(60)):
                _, stderr = await process.communicate()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)

    name = f"{module.upper()}_{listener}"
    assert process.returncode == 1
    assert f"Address already in use; set {name}HOST or {name}PORT to another address" in stderr.decode()
    assert "Traceback" not in stderr.decode()


def unused() -> int:
    with bound() as free:
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [("203.0.113.7", 0, "assign"), ("no-such-name.invalid", 80, "name"), ("127.0.0.1", 99999, "port")],
)
def test_an_address_that_cannot_be_had_is_told_with_the_setting(host: str, port: int, reason: str) -> None:
    with pytest.raises(ListenError, match=rf"cannot listen on {host}:{port}: (?i:.*{reason}.*); set A or B"):
        open_sockets(host, port, "A or B")


def test_a_name_of_several_addresses_is_listened_to_at_each_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, 1, 6, "", ("2001:db8::1", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))] * 2
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    [opened] = open_sockets("both", 0, "A")

    with opened:
        assert opened.getsockname()[0] == "127.0.0.1"
