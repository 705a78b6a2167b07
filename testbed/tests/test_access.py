"""What a client shows to the running fleet: nothing in an open one, and never anything to another address."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import access
from testbed.authority import Authority


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as a secured native fleet has it, with a gateway whose port was moved."""
    (tmp_path / "settings").write_text(
        "FLEET_SECURITY=on\nGATEWAY_PORT=9180\nKAFKA_A_PORT=9392\nBIND_ADDRESS=0.0.0.0\n"
    )
    (tmp_path / "mode").write_text("native\n")
    (tmp_path / "secrets").mkdir()
    for scope in ("read", "write"):
        (tmp_path / "secrets" / f"key-{scope}").write_text(f"of {scope}\n")
    admin = tmp_path / "tls/admin"
    made = Authority(tmp_path / "tls").issue(access.HOLDER)
    admin.mkdir()
    made.cert.rename(admin / "cert.pem")
    made.key.rename(admin / "key.pem")
    monkeypatch.setattr(access, "RUN", tmp_path)
    access.first_key.cache_clear()
    yield tmp_path
    access.first_key.cache_clear()


@pytest.mark.parametrize(
    ("method", "url", "scope"),
    [
        ("POST", "https://127.0.0.1:9180/api/logs", "write"),
        ("POST", "https://127.0.0.1:9180/loki/api/v1/push", "write"),
        ("GET", "https://127.0.0.1:9180/api/logs/x/trace", "read"),
        ("GET", "https://127.0.0.1:9180/api/replication", "read"),
        ("GET", "https://127.0.0.1:9180/_license", "write"),
        ("POST", "https://127.0.0.1:8085/loki/api/v1/query_range", "read"),
        ("GET", "https://127.0.0.1:8181/metrics", None),
        ("GET", "http://127.0.0.1:9090/api/v1/query", None),
        ("POST", "http://127.0.0.1:8080/api/logs", None),
    ],
)
def test_each_request_of_a_secured_fleet_has_the_key_that_it_needs(
    run: Path, method: str, url: str, scope: str | None
) -> None:
    assert run.exists()
    assert access.key_headers(method, url) == ({} if scope is None else {"Authorization": f"Bearer of {scope}"})


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("native", ("https://127.0.0.1:8180", "https://127.0.0.1:8184")),
        ("compose", ("https://127.0.0.1:9180", "https://127.0.0.1:8084")),
    ],
)
def test_a_secured_fleet_is_reached_by_certificate_and_a_server_of_a_tests_own_by_nothing(
    run: Path, mode: str, told: tuple[str, str]
) -> None:
    (run / "mode").write_text(f"{mode}\n")
    assert access.to_kafka("127.0.0.1:9392")["security_protocol"] == "SSL"
    assert access.to_kafka("127.0.0.1:9392").keys() == {"bootstrap_servers", "security_protocol", "ssl_context"}
    assert access.to_kafka("127.0.0.1:40001") == {"bootstrap_servers": "127.0.0.1:40001"}
    assert (access.told_at("gateway"), access.told_at("consumer-b")) == told
    assert "sslmode=verify-full" in access.postgres_url()
    assert access.redis_url().startswith("rediss://")
    assert access.kafka_settings("CONSUMER", "consumer-a")["CONSUMER_KAFKA_CERT_FILE"] == str(
        run / "tls/consumer-a/cert.pem"
    )


@pytest.mark.parametrize("settings", ["GATEWAY_PORT=9180\n", "FLEET_SECURITY=open\nGATEWAY_PORT=9180\n"])
def test_an_open_fleet_is_shown_nothing(run: Path, settings: str) -> None:
    (run / "settings").write_text(settings)

    assert access.key_headers("POST", "http://127.0.0.1:9180/api/logs") == {}
    assert access.to_kafka("127.0.0.1:9092") == {"bootstrap_servers": "127.0.0.1:9092"}
    assert (access.tls(), access.scheme(), access.told_at("gateway")) == (None, "http", "http://127.0.0.1:9180")
    assert access.curl_options("POST", "http://127.0.0.1:9180/api/logs") == []
    assert access.kafka_settings("CONSUMER", "consumer-a") == {}
