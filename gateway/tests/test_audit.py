"""The gateway's audit log: each refusal and change has its line, without a key or a message, and no request waits for it."""

import time

from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.tests.fleet import EVENT, gateway, metric, producers
from gateway.tests.test_keys import OURS, bad_keys, without_key
from shared.access.scopes import Scope
from shared.process import tls
from testbed.audits import acts, block, everything, is_away, unblock
from testbed.keys import Keys, bearer, known_id
from testbed.patience import eventually

LINES = "gateway_audit_lines_total"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


async def told(client: httpx.AsyncClient, sample: str) -> float:
    text = (await client.get("http://internal/metrics")).text
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{sample} "))


async def test_each_refused_key_has_a_line_and_no_line_has_a_key(keys: Keys, folder: Path) -> None:
    bad = bad_keys(keys, Scope.WRITE)
    good = keys.make(Scope.WRITE)
    async with gateway(producers(), **keys.settings, audit_folder=str(folder)) as client:
        for headers, query, _ in bad.values():
            await client.post(OURS.path + query, headers=without_key(OURS) | headers, json=EVENT)
        in_path = await client.get(f"/api/logs/{good}", headers=bearer(good))
        nowhere = await client.get("/nowhere", headers=bearer(good))

    assert (in_path.status_code, nowhere.status_code) == (400, 404)
    refused = acts(folder, "gateway", "key refused")
    reasons = sorted(act["reason"] for act in refused)
    of_malformed = ["malformed"] * sum(kind in ("garbage", "cut", "longer", "blank", "checksum") for kind in bad)
    assert reasons == sorted(
        [
            "missing",
            *of_malformed,
            "unknown",
            "wrong",
            "early",
            "expired",
            "revoked",
            "address",
            "scope",
            "tenant",
            "no_route",
            *("in_url",) * 2,
        ]
    )
    assert {act["key"] for act in refused if act["reason"] in ("expired", "revoked")} <= {*keys.stored}
    assert all(act["path"] == "" for act in refused if act["reason"] == "in_url")
    assert all(act["address"] == "127.0.0.1" for act in refused)
    text = everything(folder)
    assert "mrl_" not in text
    assert "garbage" not in text
    assert EVENT["message"] not in text
    assert [act["act"] for act in acts(folder, "gateway", "start", "stop")] == ["start", "stop"]


async def test_an_event_that_is_taken_has_no_line(keys: Keys, folder: Path) -> None:
    key = keys.make(Scope.WRITE)
    async with gateway(producers(), **keys.settings, audit_folder=str(folder)) as client:
        assert (await client.post("/api/logs", json=EVENT, headers=bearer(key))).status_code == 202

    assert [act["act"] for act in acts(folder, "gateway")] == ["start", "stop"]


async def test_changes_of_the_files_have_lines_and_half_of_one_too(keys: Keys, folder: Path, tmp_path: Path) -> None:
    key, tenants = keys.make(Scope.WRITE), tmp_path / "tenants.toml"
    tenants.write_text("[tenant.default]\nrequests_in_flight = 9\n")
    changes: dict[str, Any] = {"audit_folder": str(folder), "tenants_file": str(tenants)}
    async with gateway(producers(), **keys.settings, **changes) as client:

        async def has(sample: str, value: float) -> None:
            async def is_so() -> bool:
                return await told(client, sample) == value

            await eventually(is_so, f"{sample} is {value}")

        whole = keys.path.read_bytes()
        keys.path.write_bytes(whole[: len(whole) // 2])
        await has("gateway_keys_file_current", 0)
        new = keys.make(Scope.WRITE)
        keys.change(key, revoked=time.time())
        await has("gateway_keys_file_current", 1)
        tenants.write_text("[tenant.default]\nrequests_in_fl")
        await has("gateway_tenants_file_in_force", 0)
        tls.renewals[0]("cert.pem", None)
        tls.renewals[0]("cert.pem", "the files do not fit")

    assert tls.renewals == []
    told_acts = acts(folder, "gateway", "key file refused", "key file read")
    assert [act["act"] for act in told_acts] == ["key file refused", "key file read"]
    assert "cannot be used" in told_acts[0]["problem"]
    assert (told_acts[1]["made"], told_acts[1]["revoked"]) == ([known_id(new)], [known_id(key)])
    of_tenants = acts(folder, "gateway", "tenants file read", "tenants file refused")
    assert [act["act"] for act in of_tenants] == ["tenants file read", "tenants file refused"]
    of_certificates = acts(folder, "gateway", "certificate renewed", "certificate refused")
    assert [act["act"] for act in of_certificates] == ["certificate renewed", "certificate refused"]


async def test_who_sends_more_than_its_quota_has_a_few_lines_and_a_sum(
    keys: Keys, folder: Path, tmp_path: Path
) -> None:
    key, tenants = keys.make(Scope.WRITE, tenant="acme"), tmp_path / "tenants.toml"
    tenants.write_text("[tenant.acme]\nevents_per_second = 1\nburst_seconds = 1\n")
    changes: dict[str, Any] = {"audit_folder": str(folder), "tenants_file": str(tenants)}
    async with gateway(producers(), **keys.settings, **changes) as client:
        answers = [(await client.post("/api/logs", json=EVENT, headers=bearer(key))).status_code for _ in range(40)]

    refused, [summed] = acts(folder, "gateway", "quota refused"), acts(folder, "gateway", "sum")
    assert len(refused) == 5
    assert (refused[0]["tenant"], refused[0]["quota"], refused[0]["key"]) == ("acme", "events", known_id(key))
    assert (summed["of"], summed["subject"]) == ("quota refused", "acme")
    assert len(refused) + summed["acts"] == answers.count(429)


async def test_a_log_that_cannot_be_written_costs_no_event(keys: Keys, folder: Path) -> None:
    key = keys.make(Scope.WRITE)
    block(folder)
    async with gateway(producers(), **keys.settings, audit_folder=str(folder)) as client:

        async def degraded() -> list[str]:
            found: list[str] = (await client.get("http://internal/ready")).json()["degraded"]
            return found

        await eventually(degraded, "it is told")
        assert "the audit log cannot be written" in (await degraded())[0]
        assert await told(client, "gateway_audit_writable") == 0
        assert (await client.post("/api/logs", json=EVENT, headers=bearer(key))).status_code == 202
        unblock(folder)

        async def is_well() -> bool:
            return not await degraded()

        await eventually(is_well, "it can be written again")
    assert [act["act"] for act in acts(folder, "gateway")] == ["start", "stop"]


async def test_without_keys_there_is_no_log(folder: Path) -> None:
    async with gateway(producers(), audit_folder=str(folder)) as client:
        await client.post("/api/logs", json=EVENT)
        assert await metric(client, LINES) == 0

    assert is_away(folder)
