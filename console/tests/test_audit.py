"""The console's audit log: who read what, by which filter, and never what is in the messages."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from asgi_lifespan import LifespanManager
from hypothesis import given
from hypothesis import strategies as st

from console.app import create_app, create_internal_app
from console.audited import asked
from console.settings import ConsoleSettings
from console.tests.fake_table import FakeTable
from console.tests.fakes import FakeStore
from console.tests.test_app import NOW, some_rows
from shared.access.scopes import Scope
from shared.event.times import epoch_us
from testbed.audits import acts, block, everything, unblock
from testbed.doors import Doors
from testbed.keys import Keys, bearer, known_id
from testbed.patience import eventually

SECRET = "what-is-searched-for"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


async def ask(keys: Keys, folder: Path, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    """Ask a console, which starts and ends, for all of these."""
    settings = ConsoleSettings(**keys.settings, audit_folder=str(folder))
    app = create_app(settings, store=FakeStore(some_rows(3)), table=FakeTable(), wall_us=lambda: epoch_us(NOW))
    async with LifespanManager(Doors(app, create_internal_app(app))) as manager:
        transport = httpx.ASGITransport(manager.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as client:
            return [await client.request(method, path, **more) for method, path, more in requests]


async def test_each_request_for_events_has_a_line_with_its_reader_and_its_filter(keys: Keys, tmp_path: Path) -> None:
    key, folder = keys.make(Scope.READ), tmp_path / "audit"
    found, missing, page, exported, labels, looked, _ = await ask(
        keys,
        folder,
        ("GET", f"/api/logs?service=shop&text={SECRET}", {"headers": bearer(key)}),
        ("GET", "/api/logs/0197f0ab-0000-7000-8000-000000000000", {"headers": bearer(key)}),
        ("GET", "/?service=cart", {"headers": bearer(key)}),
        ("GET", "/api/logs?service=shop", {"headers": bearer(key) | {"accept": "application/x-ndjson"}}),
        ("GET", "/loki/api/v1/labels", {"headers": bearer(key)}),
        (
            "POST",
            "/loki/api/v1/query_range",
            {"headers": bearer(key), "data": {"query": f'{{service="shop"}} |= "{SECRET}"', "limit": "5"}},
        ),
        ("GET", "/health", {}),
    )
    read = acts(folder, "console", "read", "export")

    assert [answer.status_code for answer in (found, page, exported, labels)] == [200] * 4
    assert looked.status_code in (200, 400), looked.text
    assert missing.status_code == 404
    assert {(act["key"], act["tenant"], act["address"]) for act in read} == {(known_id(key), "default", "127.0.0.1")}
    by_path = {(act["act"], act["path"]): act for act in reversed(read)}
    search = by_path["read", "/api/logs"]
    assert search["filter"] == {"service": ["shop"], "text": [f"({len(SECRET)} characters)"]}
    assert (search["status"], search["bytes"]) == (200, len(found.content))
    assert by_path["read", "/api/logs/0197f0ab-0000-7000-8000-000000000000"]["status"] == 404
    # The page asked the API, as any client does.
    assert {"service": ["cart"]} in [act["filter"] for act in read]
    assert [act["state"] for act in read if act["act"] == "export"] == ["opened", "closed"]
    query = by_path["read", "/loki/api/v1/query_range"]["filter"]
    assert query["query"][0].startswith('{service="shop"} (')
    assert query["limit"] == ["5"]
    text = everything(folder)
    assert SECRET not in text
    assert key not in text
    assert not any(row.message in text for row in some_rows(3))


async def test_while_the_log_cannot_be_written_nothing_is_read(keys: Keys, tmp_path: Path) -> None:
    key, folder = keys.make(Scope.READ), tmp_path / "audit"
    block(folder)
    settings = ConsoleSettings(**keys.settings, audit_folder=str(folder))
    app = create_app(settings, store=FakeStore(some_rows(3)), table=FakeTable(), wall_us=lambda: epoch_us(NOW))
    async with LifespanManager(Doors(app, create_internal_app(app))) as manager:
        transport = httpx.ASGITransport(manager.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as client:

            async def status() -> int:
                return (await client.get("/api/logs", headers=bearer(key))).status_code

            async def is_closed() -> bool:
                return await status() == 503

            await eventually(is_closed, "nothing is read")
            answer = await client.get("/api/logs", headers=bearer(key))
            assert "the audit log cannot be written, so that nothing may be read" in answer.json()["detail"]
            ready = (await client.get("http://internal/ready")).json()
            assert any("audit log" in problem for problem in ready["degraded"])
            assert "console_audit_writable 0.0" in (await client.get("http://internal/metrics")).text
            unblock(folder)

            async def is_open() -> bool:
                return await status() == 200

            await eventually(is_open, "events are read again")
    assert [act["act"] for act in acts(folder, "console")][:2] in (["start", "read"], ["start", "sum"])


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_whatever_is_asked_is_put_into_bounds(query: bytes, body: bytes) -> None:
    facts = asked({"path": "/" * 1000, "query_string": query}, body)

    assert len(facts["path"]) == 200
    assert sum(map(len, facts["filter"].values())) <= 30


@given(st.text(alphabet='ab|"`\\{}=~! ', max_size=40))
def test_of_a_query_only_what_selects_streams_is_told(line: str) -> None:
    quoted = line.replace("\\", "\\\\").replace('"', '\\"')
    query = f'{{service="shop"}} |= "{SECRET}{quoted}"'
    shown = asked({"path": "/loki/api/v1/query", "query_string": b""}, urlencode({"query": query}).encode())

    assert SECRET not in str(shown)
