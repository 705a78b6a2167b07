"""
How tests, the load test and the fault rotation reach the running fleet: in the open, or with certificate and key.

The only module that knows the difference. A client is made here, or gets what `to_kafka` returns; whether it has to show anything follows
from the settings that the fleet was started with. Servers that a test has started itself have other addresses, and get nothing.
"""

import os
import ssl

from collections.abc import Generator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from shared.process.http_client import http_client
from shared.process.kafka_settings import OPEN, Access

ROOT: Final = Path(__file__).resolve().parent.parent
RUN: Final = ROOT / ".run"
HOLDER: Final = "admin"
"""Whose certificate tests show: that of the fleet's owner."""

SERVICES: Final = {
    "gateway": 8080,
    "producer-a": 8081,
    "producer-b": 8083,
    "consumer-a": 8082,
    "consumer-b": 8084,
    "console": 8085,
}
"""With their usual ports."""

_ALSO_LOOPBACK: Final = ("0.0.0.0", "localhost")
_KAFKA: Final = {"KAFKA_A_PORT": 9092, "KAFKA_A_WAN_PORT": 9094, "KAFKA_B_PORT": 9093, "KAFKA_B_WAN_PORT": 9095}
_READ_AT_THE_GATEWAY: Final = ("/api/", "/docs", "/redoc", "/openapi.json")


def setting(name: str, default: object = "") -> str:
    """Return a variable of the running fleet. Without one, return it from the environment, `.env` or the default."""
    started_with = _pairs(RUN / "settings") if (RUN / "mode").exists() else {}
    for source in (started_with, os.environ, _pairs(ROOT / ".env")):
        if source.get(name):
            return source[name]
    return str(default)


def _pairs(path: Path) -> Mapping[str, str]:
    if not path.exists():
        return {}
    pairs = (line.strip().partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name: value.strip("\"'") for name, _, value in pairs}


def address(variable: str, default: int) -> str:
    """Return where a part listens whose port a variable moves."""
    return f"127.0.0.1:{setting(variable, default)}"


def exposed(variable: str, default: int) -> str:
    """Return the same of what `BIND_ADDRESS` opens."""
    bound = setting("BIND_ADDRESS", "127.0.0.1")
    return f"{'127.0.0.1' if bound in _ALSO_LOOPBACK else bound}:{setting(variable, default)}"


def is_keyed() -> bool:
    """Tell whether the fleet asks its clients for keys."""
    return setting("FLEET_SECURITY", "open") == "on"


def is_secured() -> bool:
    """Tell whether its listeners and stores speak TLS; in compose mode they do not."""
    return is_keyed() and (RUN / "mode").exists() and (RUN / "mode").read_text().strip() == "native"


def scheme() -> str:
    """Return how its services are spoken to."""
    return "https" if is_secured() else "http"


def told_at(service: str) -> str:
    """Return where a service tells its state and its metrics: a secured one, on its internal listener alone."""
    inside, moved = ("_INTERNAL", 100) if is_secured() else ("", 0)
    variable, port = f"{service.upper().replace('-', '_')}{inside}_PORT", SERVICES[service] + moved
    return f"{scheme()}://{exposed(variable, port) if service == 'gateway' and not inside else address(variable, port)}"


def files_of(holder: str = HOLDER) -> tuple[str, str, str]:
    """Return the files of a part's certificate, its key, and the fleet's authority."""
    folder = RUN / "tls" / holder
    return str(folder / "cert.pem"), str(folder / "key.pem"), str(RUN / "tls/ca.pem")


def certified(holder: str | None = HOLDER) -> ssl.SSLContext:
    """Return the context of a client that trusts the fleet, and shows the certificate of a part if one is named."""
    cert, key, authority = files_of(holder or HOLDER)
    context = ssl.create_default_context(cafile=authority)
    if holder is not None:
        context.load_cert_chain(cert, key)
    return context


def to_kafka(bootstrap_servers: str) -> Mapping[str, Any]:
    """Return what a client of aiokafka is given to reach a Kafka, the fleet's or another one."""
    return {"bootstrap_servers": bootstrap_servers, **kafka_access(bootstrap_servers)}


def kafka_access(bootstrap_servers: str) -> Access:
    """Return the part of it that says how a client is let in."""
    if is_secured() and bootstrap_servers in {address(*port) for port in _KAFKA.items()}:
        return {"security_protocol": "SSL", "ssl_context": certified()}
    return OPEN


def kafka_settings(prefix: str, holder: str) -> dict[str, str]:
    """Return the variables by which a service that a test starts is let in to the fleet's Kafka, as a part that is there already."""
    if not is_secured():
        return {}
    names = ("CERT_FILE", "KEY_FILE", "CA_FILE")
    files = {f"{prefix}_KAFKA_{name}": file for name, file in zip(names, files_of(holder), strict=True)}
    return {f"{prefix}_KAFKA_SECURITY_PROTOCOL": "SSL"} | files


def postgres_url() -> str:
    """Return the DSN of the fleet's PostgreSQL, for user `logs`."""
    cert, key, authority = files_of()
    shown = {"sslmode": "verify-full", "sslrootcert": authority, "sslcert": cert, "sslkey": key}
    query = f"?{urlencode(shown)}" if is_secured() else ""
    return f"postgresql://logs:{setting('POSTGRES_PASSWORD', 'logs')}@{address('POSTGRES_PORT', 5432)}/logs{query}"


def redis_url() -> str:
    """Return the URL of the fleet's Redis, without a user."""
    cert, key, authority = files_of()
    if not is_secured():
        return f"redis://{address('REDIS_PORT', 6379)}/0"
    shown = {"ssl_ca_certs": authority, "ssl_certfile": cert, "ssl_keyfile": key}
    return f"rediss://{address('REDIS_PORT', 6379)}/0?{urlencode(shown)}"


def fleet_client(timeout_s: float, connections: int | None = None) -> httpx.AsyncClient:
    """
    Make a client for the fleet's services. Where they ask for it, it shows certificate and key by itself.

    Args:
        timeout_s: Of each step.
        connections: Most at the same time; None: no limit.
    """
    client = http_client(timeout_s, connections, tls=tls())
    if is_keyed():
        client.auth = _Keys()
    return client


def tls() -> ssl.SSLContext | None:
    """Return the context for connections to the fleet's services, None where they have no TLS."""
    return certified() if is_secured() else None


def key_headers(method: str, url: str) -> dict[str, str]:
    """Return the header with the key that a request of the fleet needs; none in an open fleet, and for other addresses."""
    scope = _scope(method, httpx.URL(url)) if is_keyed() else None
    return {} if scope is None else {"Authorization": f"Bearer {first_key(scope)}"}


def curl_options(method: str, url: str) -> list[str]:
    """Return what a `curl` needs besides, as the last words of `./setup.sh` have it."""
    trust = ["--cacert", files_of()[2]] if is_secured() else []
    return trust + [word for name, value in key_headers(method, url).items() for word in ("-H", f"{name}: {value}")]


def browser_options(url: str) -> dict[str, Any]:
    """Return what a context of playwright needs besides. A browser of people would have the authority imported."""
    options: dict[str, Any] = {"ignore_https_errors": True} if is_secured() and url.startswith("https:") else {}
    if headers := key_headers("GET", url):
        options["extra_http_headers"] = headers
    return options


@cache
def first_key(scope: str) -> str:
    """Return one of the keys that the first start makes."""
    return (RUN / "secrets" / f"key-{scope}").read_text().strip()


class _Keys(httpx.Auth):
    """Shows a key to the gateway and the console, unless the request has one."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if "authorization" not in request.headers:
            request.headers.update(key_headers(request.method, str(request.url)))
        yield request


def _scope(method: str, url: httpx.URL) -> str | None:
    """Return what a key for this request has to allow; None where none is asked for."""
    port = str(url.port)
    if port == setting("CONSOLE_PORT", 8085):
        return "read"
    if port != setting("GATEWAY_PORT", 8080):
        return None
    return "read" if method in {"GET", "HEAD"} and url.path.startswith(_READ_AT_THE_GATEWAY) else "write"
