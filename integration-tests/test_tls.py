"""TLS of the services' listeners, on real sockets: who is refused, how it is told, and that renewal costs no request."""

import asyncio
import json
import math
import ssl
import time

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from fastapi import FastAPI, Response
from served import both_served
from structlog.testing import capture_logs

from fleet.jobs import healthcheck
from producer.settings import ProducerSettings
from shared.process.bounds import BOUNDS, DEFAULT_CONNECTIONS, Bounds, Cut
from shared.process.http_client import http_client
from shared.process.settings import SettingsError
from shared.process.tls import Certificate, TlsError, certificate, name_of, soonest_end
from testbed.authority import Authority, Files
from testbed.patience import eventually, patience

REQUEST: Final = b"GET /internal/asked HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


@dataclass
class Scene:
    """
    A service with https, and with an internal listener for `gateway` alone, who may ask all, and `prometheus`.

    Attributes:
        authority: Made all certificates.
        own: The service's.
        public: Address of the one listener.
        internal: Of the other.
        asked: Paths that the applications were asked for.
        cut: Connections that were ended, by reason.
    """

    authority: Authority
    own: Files
    public: str = ""
    internal: str = ""
    asked: list[str] = field(default_factory=list)
    cut: Counter[Cut] = field(default_factory=Counter)

    def client(self, shown: Files | None) -> httpx.AsyncClient:
        return http_client(patience(10), tls=context(self.authority.ca, shown))


def context(ca: Path, shown: Files | None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(ca))
    if shown is not None:
        made.load_cert_chain(shown.cert, shown.key)
    return made


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "fleet")


@pytest.fixture
async def scene(
    authority: Authority, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    # No handshake of a slow machine ends for its time.
    monkeypatch.setattr("shared.process.secured.HANDSHAKE_S", patience(60))
    most = getattr(request, "param", DEFAULT_CONNECTIONS)
    own = authority.issue("producer-a")
    told = Scene(authority, own)
    settings = ProducerSettings(
        region="region-a", tls_cert_file=str(own.cert), tls_key_file=str(own.key), **own.settings()
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        yield {BOUNDS: Bounds(max_connections=most, on_cut=lambda why: told.cut.update([why]))}

    public, internal = FastAPI(lifespan=lifespan), FastAPI()
    for app in (public, internal):

        @app.get("/{path:path}")
        async def answer(path: str) -> Response:
            told.asked.append(f"/{path}")
            return Response("yes")

    async with both_served(public, internal, settings=settings) as (told.public, told.internal):
        yield told


async def ask(address: str, tls: ssl.SSLContext | None) -> bytes:
    """Ask in the plainest way, and return what came back before the connection ended."""
    url = httpx.URL(address)
    try:
        reader, writer = await asyncio.open_connection(
            url.host, url.port, ssl=tls, server_hostname="127.0.0.1" if tls else None
        )
    except (ssl.SSLError, ConnectionError):
        return b""
    try:
        writer.write(REQUEST)
        return await asyncio.wait_for(reader.read(), patience(10))
    except (ssl.SSLError, ConnectionError):
        return b""
    finally:
        writer.close()


def old_tls(scene: Scene) -> ssl.SSLContext:
    made = context(scene.authority.ca, scene.authority.issue("gateway"))
    made.set_ciphers("ALL:@SECLEVEL=0")
    made.minimum_version, made.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return made


def of_another_authority(scene: Scene) -> ssl.SSLContext:
    other = Authority(scene.own.ca.parent.parent / "other")
    return context(scene.authority.ca, other.issue("gateway"))


def expired(scene: Scene) -> ssl.SSLContext:
    return context(scene.authority.ca, scene.authority.issue("gateway", ends_in=timedelta(hours=-1)))


def without_one(scene: Scene) -> ssl.SSLContext:
    return context(scene.authority.ca, None)


def plain(_: Scene) -> None:
    return None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # an old one is what is tried
@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        (plain, "a request without TLS"),
        (old_tls, "a version of TLS that is too old"),
        (of_another_authority, "a certificate that is not taken"),
        (expired, "a certificate that is not taken (certificate has expired)"),
        (without_one, "no certificate"),
    ],
)
async def test_a_stranger_gets_no_answer_from_an_internal_listener_and_is_told_of_and_counted(
    scene: Scene, way: Callable[[Scene], ssl.SSLContext | None], sentence: str
) -> None:
    with capture_logs() as lines:
        assert await ask(scene.internal, way(scene)) == b""
        await eventually(lambda: scene.cut == {Cut.TLS: 1}, "the connection is counted")
    assert scene.asked == []
    [line] = [line for line in lines if line["event"] == "connections refused"]
    assert line["shown"].startswith(sentence)
    assert line["log_level"] == "warning"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # an old one is what is tried
@pytest.mark.parametrize("way", [plain, old_tls])
async def test_a_public_listener_takes_no_plain_text_and_no_old_tls(
    scene: Scene, way: Callable[[Scene], ssl.SSLContext | None]
) -> None:
    assert await ask(scene.public, way(scene)) == b""
    await eventually(lambda: scene.cut == {Cut.TLS: 1}, "the connection is counted")
    assert scene.asked == []


@pytest.mark.parametrize("scene", [2], indirect=True)
async def test_connections_that_stay_in_their_handshake_are_bounded_in_number(scene: Scene) -> None:
    url = httpx.URL(scene.public)
    silent = [await asyncio.open_connection(url.host, url.port) for _ in range(2)]
    # The server has taken both once a third one is refused.
    await eventually(lambda: _is_refused(scene), "one more is refused")
    assert set(scene.cut) == {Cut.CONNECTIONS}
    assert not any(reader.at_eof() for reader, _ in silent)

    for _, writer in silent:
        writer.close()

    # Who goes gives its place back at once, and not when its time for a handshake is over.
    tls = context(scene.authority.ca, None)
    await eventually(lambda: _is_answered(scene, tls), "there is room again")
    assert Cut.TLS not in scene.cut


async def _is_refused(scene: Scene) -> bool:
    url = httpx.URL(scene.public)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        return await asyncio.wait_for(reader.read(), patience(2)) == b"" and scene.cut[Cut.CONNECTIONS] > 0
    except (TimeoutError, ConnectionError):
        return scene.cut[Cut.CONNECTIONS] > 0
    finally:
        writer.close()


async def _is_answered(scene: Scene, tls: ssl.SSLContext) -> bool:
    return (await ask(scene.public, tls)).startswith(b"HTTP/1.1 200")


async def test_a_public_listener_asks_no_client_for_a_certificate(scene: Scene) -> None:
    async with scene.client(None) as client:
        assert (await client.get(f"{scene.public}/api/logs")).text == "yes"
    assert (scene.asked, scene.cut) == (["/api/logs"], {})


async def test_the_gateway_may_ask_a_producer_everything(scene: Scene) -> None:
    async with scene.client(scene.authority.issue("gateway")) as client:
        for path in ("/internal/records", "/metrics"):
            assert (await client.get(scene.internal + path)).text == "yes"
    assert scene.cut == {}


@pytest.mark.parametrize(
    ("service", "named"),
    [("producer-b", True), ("console", True), ("gateway", False), ("gateway.evil", True)],
)
async def test_the_certificate_of_another_service_is_refused_with_a_sentence_and_counted(
    scene: Scene, service: str, *, named: bool
) -> None:
    async with scene.client(scene.authority.issue(service, named=named)) as client:
        answer = await client.get(f"{scene.internal}/internal/records")
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert "this listener is not for it" in json.loads(answer.text)["detail"]
    assert (scene.asked, scene.cut) == ([], {Cut.PEER: 1})


async def test_a_watcher_sees_the_probes_and_nothing_else(scene: Scene) -> None:
    async with scene.client(scene.authority.issue("prometheus")) as client:
        for path in ("/metrics", "/ready", "/health"):
            assert (await client.get(scene.internal + path)).text == "yes"
        for path in ("/internal/records", "/", "/metrics/"):
            assert (await client.get(scene.internal + path)).status_code == 403
    assert (scene.asked, scene.cut) == (["/metrics", "/ready", "/health"], {Cut.PEER: 3})


@pytest.mark.parametrize(("service", "status"), [("prometheus", 0), ("producer-b", 1), (None, 1)])
async def test_a_containers_health_check_shows_a_certificate(
    scene: Scene, service: str | None, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    if service is not None:
        files = scene.authority.issue(service)
        for name, file in (("cert.pem", files.cert), ("key.pem", files.key), ("ca.pem", files.ca)):
            (tmp_path / name).write_bytes(file.read_bytes())
        shown = ["--identity", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["healthcheck", *shown, f"{scene.internal}/ready"])

    assert await asyncio.to_thread(healthcheck.main) == status
    assert scene.asked == ["/ready"] * (1 - status)


@pytest.mark.parametrize("addresses", [["10.1.2.3"], ["producer-b"]])
async def test_a_client_takes_no_server_that_has_another_address_in_its_certificate(
    authority: Authority, addresses: list[str]
) -> None:
    own, gateway = authority.issue("producer-a", addresses=addresses), authority.issue("gateway")
    settings = ProducerSettings(region="region-a", **own.settings())
    to_fleet = Certificate(str(gateway.cert), str(gateway.key), str(gateway.ca), "SETTINGS").client()
    async with (
        both_served(FastAPI(), FastAPI(), settings=settings) as (_, internal),
        http_client(5, tls=to_fleet) as client,
    ):
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            await client.get(f"{internal}/ready")


async def test_what_is_no_request_is_told_so_by_tls_too(scene: Scene) -> None:
    url = httpx.URL(scene.public)
    tls = context(scene.authority.ca, None)
    for sent, status in ((b"GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n", b"421"), (b"NONSENSE\r\n\r\n", b"400")):
        reader, writer = await asyncio.open_connection(url.host, url.port, ssl=tls)
        writer.write(sent)
        assert (await asyncio.wait_for(reader.readline(), patience(10))).split()[1] == status
        await asyncio.wait_for(reader.read(), patience(10))
        writer.close()
    assert scene.asked == []


async def test_renewal_under_load_loses_no_request(scene: Scene) -> None:
    gateway = scene.authority.issue("gateway")
    to_fleet = certificate(str(gateway.cert), str(gateway.key), str(gateway.ca), "SETTINGS").client()
    is_over, shown, done = asyncio.Event(), set[int](), Counter[str]()

    async def keep_asking(name: str, *, connections_last: bool) -> None:
        while not is_over.is_set():
            async with http_client(patience(10), tls=to_fleet) as client:
                for _ in range(50 if connections_last else 1):
                    answer = await client.get(f"{scene.internal}/internal/records")
                    assert answer.status_code == 200
                    done[name] += 1

    async def serial() -> int:
        url = httpx.URL(scene.internal)
        _, writer = await asyncio.open_connection(url.host, url.port, ssl=to_fleet)
        found = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return int(found, 16)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(keep_asking(f"client {number}", connections_last=number % 2 == 0))
        for _ in range(3):
            before = await serial()
            assert before not in shown
            shown.add(before)
            done.clear()
            scene.authority.issue("producer-a")
            scene.authority.issue("gateway")
            async with asyncio.timeout(patience(30)):
                while await serial() == before or len(done) < 4:  # noqa: ASYNC110 - a new connection shows it, and nothing else
                    await asyncio.sleep(0.05)
        is_over.set()
    assert scene.cut == {}


def test_half_a_pair_of_files_leaves_the_old_certificate_in_force(authority: Authority) -> None:
    own = authority.issue("producer-a")
    held = Certificate(str(own.cert), str(own.key), str(own.ca), "SETTINGS")
    whole = own.cert.read_bytes()
    own.cert.write_bytes(whole[: len(whole) // 2])
    assert not held.refresh()
    assert not held.refresh()
    authority.issue("producer-a")
    assert held.refresh()
    assert not held.refresh()
    own.cert.unlink()
    assert not held.refresh()


def test_the_end_that_is_told_is_that_of_the_certificate_in_force(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.process.tls._known", {})
    days = timedelta(days=1).total_seconds()
    own = authority.issue("producer-a", ends_in=timedelta(days=3))
    held = certificate(str(own.cert), str(own.key), str(own.ca), "SETTINGS")
    other = authority.issue("producer-b", ends_in=timedelta(days=5))
    certificate(str(other.cert), str(other.key), str(other.ca), "SETTINGS")
    assert soonest_end() == held.end == pytest.approx(time.time() + 3 * days, abs=patience(60))
    # A file that is half written changes nothing; a whole one does, at once.
    authority.issue("producer-a", ends_in=timedelta(days=4))
    own.key.write_text("")
    held.refresh()
    assert held.end < time.time() + 3.5 * days
    authority.issue("producer-a", ends_in=timedelta(days=4))
    assert held.refresh()
    assert soonest_end() == held.end > time.time() + 3.5 * days


def test_a_service_without_certificates_tells_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.process.tls._known", {})
    assert soonest_end() == math.inf


@pytest.mark.parametrize("broken", ["cert", "key", "ca"])
def test_a_file_that_cannot_be_used_ends_the_start_with_a_sentence(authority: Authority, broken: str) -> None:
    own = authority.issue("producer-a")
    getattr(own, broken).write_text("nonsense")
    settings = ProducerSettings(region="region-a", **own.settings())
    with pytest.raises(
        TlsError, match="PRODUCER_FLEET_CERT_FILE, PRODUCER_FLEET_KEY_FILE and PRODUCER_FLEET_CA_FILE cannot be used"
    ):
        _ = settings.identity


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"PRODUCER_TLS_CERT_FILE": "x"}, "PRODUCER_TLS_CERT_FILE and PRODUCER_TLS_KEY_FILE belong together"),
        ({"PRODUCER_FLEET_CERT_FILE": "x"}, "PRODUCER_FLEET_CA_FILE belong together"),
        ({"PRODUCER_KAFKA_CERT_FILE": "x"}, "PRODUCER_KAFKA_CERT_FILE and PRODUCER_KAFKA_KEY_FILE belong together"),
        (
            {"PRODUCER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            "needs PRODUCER_KAFKA_SASL_USERNAME and PRODUCER_KAFKA_SASL_PASSWORD",
        ),
        ({"PRODUCER_KAFKA_CA_FILE": "x"}, "PRODUCER_KAFKA_SECURITY_PROTOCOL is PLAINTEXT"),
        ({"PRODUCER_KAFKA_SECURITY_PROTOCOL": "TLS"}, "PRODUCER_KAFKA_SECURITY_PROTOCOL"),
    ],
)
def test_half_of_what_belongs_together_is_refused(
    given: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PRODUCER_REGION": "region-a", **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=sentence):
        ProducerSettings.read()


def test_a_managed_kafka_is_reached_by_name_and_password_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("known\n")
    password.chmod(0o600)
    given = {"REGION": "region-a", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "us"}
    for name, value in {**given, "KAFKA_SASL_PASSWORD_FILE": str(password)}.items():
        monkeypatch.setenv(f"PRODUCER_{name}", value)
    access = dict(ProducerSettings.read().kafka_access)
    tls = access.pop("ssl_context")
    assert isinstance(tls, ssl.SSLContext)
    assert tls.check_hostname
    assert access == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "us",
        "sasl_plain_password": "known",
    }


def test_without_settings_nothing_is_encrypted() -> None:
    settings = ProducerSettings(region="region-a")
    assert (settings.identity, settings.to_fleet, settings.kafka_access) == (None, None, {})


@pytest.mark.parametrize(
    ("names", "service"),
    [
        ([("URI", "spiffe://fleet/gateway")], "gateway"),
        ([("DNS", "gateway")], None),
        ([("URI", "spiffe://other/gateway")], None),
        ([("URI", "spiffe://fleet/gateway"), ("URI", "spiffe://fleet/admin")], None),
        ([("URI", "spiffe://fleet/")], None),
        ([], None),
    ],
)
def test_a_service_is_known_by_the_one_name_in_its_certificate(
    names: list[tuple[str, str]], service: str | None
) -> None:
    assert name_of({"subjectAltName": tuple(names)}) == service
