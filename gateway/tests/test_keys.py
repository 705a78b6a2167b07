"""Keys at the gateway: which requests it lets in, and that nothing of the others goes any further."""

import json
import time

from base64 import b64encode
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import httpx
import pytest

from gateway.access import RULES, needs
from gateway.app import create_app
from gateway.protocols.table import ROUTES
from gateway.tests.fleet import EVENT, FakeProducer, gateway, producers, settings
from gateway.tests.front_door import WAYS, Line, Way
from shared.access.keys import checksum
from shared.access.needs import PUBLIC, WRITE, Rule
from shared.access.scopes import Scope
from shared.process.settings import SettingsError
from testbed.keys import PEPPER, Keys, all_routes, bearer, known_id
from testbed.patience import eventually

NOW: Final = time.time()
JSON: Final = {"Content-Type": "application/json"}
OURS: Final = Way("logs", "/api/logs", JSON, lambda _: json.dumps(EVENT).encode(), [], "application/problem+json", (202, None, b""))  # fmt: skip
BATCH: Final = Way("batch", "/api/logs/batch", JSON, lambda _: json.dumps([EVENT]).encode(), [], "application/problem+json", (202, None, b""))  # fmt: skip


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


def bad_keys(keys: Keys, right: Scope) -> dict[str, tuple[dict[str, str], str, int]]:
    """Return for each of `BAD` headers, a query, and the status that follows."""
    good, unknown = keys.make(right), keys.make(right)
    del keys.stored[known_id(unknown)]
    forged = f"{good[:15]}{'B' * 43}"
    refused = {
        "none": {},
        "garbage": bearer("garbage"),
        "cut": bearer(good[:-1]),
        "longer": bearer(good + "x"),
        "blank": bearer(f"{good[:20]} {good[20:]}"),
        "checksum": bearer(good[:-1] + ("a" if good[-1] != "a" else "b")),
        "unknown": bearer(unknown),
        "secret": bearer(forged + checksum(forged)),
        "early": bearer(keys.make(right, not_before=NOW + 3600)),
        "expired": bearer(keys.make(right, expires=NOW - 1)),
        "revoked": bearer(keys.make(right, revoked=NOW - 1)),
    }
    forbidden = {
        "address": bearer(keys.make(right, networks=(ip_network("192.0.2.0/24"),))),
        "scope": bearer(keys.make(*(set(Scope) - {right}))),
        "tenant": bearer(good) | {"X-Scope-OrgID": "another"},
    }
    return (
        {kind: (headers, "", 401) for kind, headers in refused.items()}
        | {kind: (headers, "", 403) for kind, headers in forbidden.items()}
        | {"url": (bearer(good), f"?token={good}", 400)}
    )


def without_key(way: Way) -> dict[str, str]:
    return {name: value for name, value in way.headers.items() if name.lower() != "authorization"}


@pytest.mark.parametrize("way", [OURS, BATCH, *WAYS], ids=lambda way: f"{way.name}-{way.headers}")
async def test_without_a_good_key_nothing_reaches_a_producer(way: Way, keys: Keys) -> None:
    regions, content = producers(), way.write([Line("m")])
    bad = bad_keys(keys, Scope.WRITE)
    async with gateway(regions, **keys.settings) as client:
        for kind, (headers, query, status) in bad.items():
            sent = without_key(way) | headers
            answer = await client.request(way.method, way.path + query, headers=sent, content=content)

            assert answer.status_code == status, (kind, answer.text)
            assert answer.headers["content-type"].startswith(way.error_type)
            assert ("www-authenticate" in answer.headers) == (status == 401)
            assert "mrl_" not in answer.text
            assert all(known.hash.hex() not in answer.text for known in keys.stored.values())
        metrics = (await client.get("http://internal/metrics")).text

    assert not any(region.requests for region in regions.values())
    for reason in (
        "missing",
        "unknown",
        "wrong",
        "early",
        "expired",
        "revoked",
        "address",
        "scope",
        "tenant",
        "in_url",
    ):
        assert f'gateway_keys_refused_total{{reason="{reason}"}} 1.0' in metrics, reason
    assert 'gateway_keys_refused_total{reason="malformed"} 5.0' in metrics


@pytest.mark.parametrize("way", [OURS, BATCH, *WAYS], ids=lambda way: f"{way.name}-{way.headers}")
async def test_with_a_key_each_protocol_is_taken(way: Way, keys: Keys) -> None:
    regions = producers()
    headers = without_key(way) | bearer(keys.make(Scope.WRITE))
    async with gateway(regions, **keys.settings) as client:
        answer = await client.request(way.method, way.path, headers=headers, content=way.write([Line("m")]))

    assert answer.status_code == way.success[0], answer.text
    assert written(regions) == 1


def written(regions: dict[str, FakeProducer]) -> int:
    return sum(len(region.written) for region in regions.values())


@pytest.mark.parametrize("carrier", ["Bearer", "bearer", "Splunk", "ApiKey", "ApiKey64", "Basic", "DD-API-KEY"])
async def test_each_way_to_carry_a_key(carrier: str, keys: Keys) -> None:
    regions, key = producers(), keys.make(Scope.WRITE)
    headers = {
        "Basic": {"Authorization": f"Basic {b64encode(f'any:{key}'.encode()).decode()}"},
        "ApiKey64": {"Authorization": f"ApiKey {b64encode(f'id:{key}'.encode()).decode()}"},
        "DD-API-KEY": {"DD-API-KEY": key},
    }.get(carrier, {"Authorization": f"{carrier} {key}"})
    async with gateway(regions, **keys.settings) as client:
        answer = await client.post("/api/logs", json=EVENT, headers=headers)

    assert (answer.status_code, written(regions)) == (202, 1)


@pytest.mark.parametrize("path", ["/api/logs", "/api/logs/x", "/api/replication", "/docs", "/metrics", "/nothing"])
async def test_what_is_read_needs_a_key_as_well(path: str, keys: Keys) -> None:
    bad = bad_keys(keys, Scope.READ)
    if not path.startswith("/api/logs"):
        bad["scope"] = (bearer(keys.make(Scope.ADMIN)), "", 403 if path == "/api/replication" else 0)
    async with gateway(producers(), **keys.settings) as client:
        for kind, (headers, query, status) in bad.items():
            answer = await client.get(path + query, headers=headers)

            # What is not there is not told to be a tenant's.
            wanted = {status, 404} if kind == "tenant" else {status or answer.status_code}
            assert answer.status_code in wanted, (kind, answer.text)
            assert answer.status_code != 200 or (kind, path) == ("scope", "/docs")


async def test_probes_need_no_key_and_tell_nothing(keys: Keys) -> None:
    async with gateway(producers(), **keys.settings) as client:
        health, ready = await client.get("/health"), await client.get("/ready")
        inside = await client.get("http://internal/api/replication")

    assert (health.status_code, ready.status_code, inside.status_code) == (200, 200, 200)
    assert ready.json() == {"status": "ready"}


async def test_a_key_of_one_tenant_may_name_that_one_and_an_admin_each(keys: Keys) -> None:
    regions = producers()
    mine, admin = keys.make(Scope.WRITE, tenant="acme"), keys.make(Scope.WRITE, Scope.ADMIN)
    async with gateway(regions, **keys.settings) as client:
        answers = [
            await client.post("/api/logs", json=EVENT, headers=bearer(key) | named)
            for key, named in (
                (mine, {"X-Tenant": "acme"}),
                (mine, {"X-Tenant": "other"}),
                (mine, {"X-Tenant": "acme", "X-Scope-OrgID": "other"}),
                (admin, {"X-Tenant": "other"}),
                (admin, {"X-Tenant": "No Tenant"}),
            )
        ]

    assert [answer.status_code for answer in answers] == [202, 403, 403, 202, 403]
    assert "is of tenant acme" in answers[1].json()["detail"]
    assert written(regions) == 2


async def test_a_tenants_read_key_is_let_through_and_a_write_key_is_not(keys: Keys) -> None:
    theirs, admin = keys.make(Scope.READ, tenant="acme"), keys.make(Scope.READ, Scope.ADMIN)
    writes = keys.make(Scope.WRITE, tenant="acme")
    async with gateway(producers(), **keys.settings) as client:
        answers = [
            await client.get("/api/logs", headers=headers)
            for headers in (bearer(theirs), bearer(admin) | {"X-Tenant": "acme"}, bearer(writes))
        ]

    # There is no console behind this gateway.
    assert [answer.status_code for answer in answers] == [503, 503, 403]


async def test_keys_are_told_apart_while_all_else_is_away(keys: Keys) -> None:
    regions = producers()

    async def away(_: bytes) -> httpx.Response:
        raise httpx.ConnectError("refused")

    for region in regions.values():
        region.ready, region.behaviour = None, away
    writes, reads = bearer(keys.make(Scope.WRITE)), bearer(keys.make(Scope.READ))
    async with gateway(regions, **keys.settings) as client:
        answers = [
            (await client.post("/api/logs", json=EVENT, headers=headers)).status_code for headers in (writes, reads, {})
        ]
        answers += [(await client.get("/api/logs", headers=headers)).status_code for headers in (reads, writes, {})]

    assert answers == [503, 403, 401] * 2


async def test_a_sentence_says_what_is_wrong_only_to_who_has_the_secret(keys: Keys) -> None:
    old, gone, reader = keys.make(expires=NOW - 1), keys.make(revoked=NOW), keys.make(Scope.READ)
    unknown = keys.make()
    del keys.stored[known_id(unknown)]
    async with gateway(producers(), **keys.settings) as client:
        said = [
            (await client.post("/api/logs", json=EVENT, headers=headers)).json()["detail"]
            for headers in ({}, bearer("x"), bearer(unknown), bearer(old), bearer(gone), bearer(reader))
        ]

    assert len(set(said[:3])) == 1
    assert "needs a key" in said[0]
    assert "expired on" in said[3]
    assert "is revoked" in said[4]
    assert "has not the scope write" in said[5]


async def test_after_twenty_failures_an_address_is_told_to_wait_and_good_keys_go_on(keys: Keys) -> None:
    regions, key = producers(), keys.make()
    async with gateway(regions, **keys.settings) as client:
        answers = [await client.post("/api/logs", json=EVENT) for _ in range(22)]
        good = await client.post("/api/logs", json=EVENT, headers=bearer(key))

    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert good.status_code == 202


async def test_a_revoked_key_stops_and_a_half_written_file_changes_nothing(keys: Keys) -> None:
    key, other = keys.make(), keys.make(Scope.READ)
    async with gateway(producers(), **keys.settings) as client:

        async def status() -> int:
            return (await client.post("/api/logs", json=EVENT, headers=bearer(key))).status_code

        async def degraded() -> list[str]:
            found: list[str] = (await client.get("http://internal/ready")).json()["degraded"]
            return found

        whole = keys.path.read_bytes()
        keys.path.write_bytes(whole[: len(whole) // 2])
        await eventually(degraded, "the file is told to be wrong")
        assert "stays in force" in (await degraded())[0]
        assert await status() == 202
        assert "gateway_keys_file_current 0.0" in (await client.get("http://internal/metrics")).text

        keys.change(key, revoked=NOW)

        async def is_revoked() -> bool:
            return await status() == 401

        await eventually(is_revoked, "the key is revoked")
        assert await degraded() == []
    assert other


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keys_file": ""}, "keys_file has to name"),
        ({"keys_pepper": "short"}, "keys_pepper has to be"),
        ({"syslog_port": 6514}, "syslog has no place for a key"),
    ],
)
def test_security_without_keys_does_not_start(changes: dict[str, object], sentence: str, keys: Keys) -> None:
    with pytest.raises(ValueError, match=sentence):
        settings(producers(), **keys.settings | changes)


def test_a_key_file_that_is_not_there_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    asked = settings(producers(), security="on", keys_file=str(tmp_path / "none"), keys_pepper=PEPPER)

    with pytest.raises(SettingsError, match=r"GATEWAY_KEYS_FILE: the key file .* cannot be used: No such file"):
        asked.open_keys()


async def test_every_route_of_the_gateway_is_in_the_table() -> None:
    app = create_app(settings(producers()))
    table = needs()
    for route in all_routes(app.routes):
        if route.path == "/metrics":  # with keys it is on the internal listener alone
            assert table.of("GET", route.path) is None
            continue
        for method in route.methods or ():
            assert table.of(method, route.path) is not None, (method, route.path)
    for shipped in ROUTES:
        for method in shipped.methods:
            assert table.of(method, shipped.path) == WRITE, shipped.path
    for path in ("/api/logs", "/api/logs/batch"):
        assert table.of("POST", path) == WRITE


async def test_what_shippers_ask_is_found_whatever_slashes_they_write_and_needs_a_key(keys: Keys) -> None:
    key = keys.make(Scope.WRITE)
    asked = (
        ("POST", "/loki//api/v1/push/", b'{"streams":[]}'),
        ("GET", "/_cat/templates/filebeat", b""),
        ("PUT", "/_data_stream/logs/_lifecycle", b"{}"),
        ("PUT", "/%3Cfilebeat-%7Bnow%2Fd%7D-000001%3E", b"{}"),
    )
    async with gateway(producers(), **keys.settings) as client:
        answers = [
            (await client.request(method, path, content=body, headers=headers)).status_code
            for method, path, body in asked
            for headers in (JSON, JSON | bearer(key))
        ]

    assert answers[::2] == [401] * 4
    assert answers[1::2] == [204, 200, 200, 200]


def test_what_needs_no_key_is_a_short_list() -> None:
    assert [rule for rule in RULES if rule.need == PUBLIC] == [
        Rule("/health", PUBLIC, ("GET", "HEAD")),
        Rule("/ready", PUBLIC, ("GET", "HEAD")),
        Rule("/internal/*", PUBLIC),
        *(Rule(f"/services/collector{rest}", PUBLIC, ("OPTIONS",)) for rest in ("", "/event", "/event/1.0")),
    ]
