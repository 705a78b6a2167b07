"""The page that asks for a key: what begins a session, what does not, what ends it, and what a cookie is good for."""

import time

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from asgi_lifespan import LifespanManager
from hypothesis import given
from hypothesis import strategies as st

from console.app import create_app
from console.login import next_of
from console.settings import ConsoleSettings
from console.tests.fake_table import FakeTable
from console.tests.fakes import FakeStore
from console.tests.test_app import some_rows
from shared.access.scopes import Scope
from shared.access.sessions import LASTS_S
from testbed.audits import acts, everything
from testbed.keys import Keys, bearer, known_id
from testbed.patience import eventually

HTML: Final = {"accept": "text/html,application/xhtml+xml"}
OURS: Final = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


class Clock:
    def __init__(self) -> None:
        self.ahead_s = 0

    def now_us(self) -> int:
        return time.time_ns() // 1000 + self.ahead_s * 1_000_000


@asynccontextmanager
async def console(
    keys: Keys, *, scheme: str = "http", clock: Clock | None = None, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(
        ConsoleSettings(**keys.settings, **changes),
        store=FakeStore(some_rows(3)),
        table=FakeTable(),
        wall_us=(clock or Clock()).now_us,
    )
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://console.test") as client:
            yield client


async def log_in(client: httpx.AsyncClient, key: str, target: str = "/", **headers: str) -> httpx.Response:
    return await client.post("/login", data={"key": key, "next": target}, headers=headers or OURS)


@pytest.mark.parametrize(
    ("scheme", "name", "secure"), [("http", "session", ""), ("https", "__Host-session", "; Secure")]
)
async def test_a_key_begins_a_session_that_reads_and_a_logout_ends_it_for_every_copy(
    keys: Keys, scheme: str, name: str, secure: str
) -> None:
    key = keys.make(Scope.READ)
    async with console(keys, scheme=scheme) as client:
        sent_away = await client.get("/?service=shop&text=a%26b", headers=HTML)
        form = await client.get(sent_away.headers["location"])
        begun = await log_in(client, f" {key}\n", "/?service=shop&text=a%26b")
        page = await client.get(begun.headers["location"], headers=HTML)
        found = await client.get("/api/logs")
        shown = await client.get("/login")
        cookie = client.cookies[name]
        ended = await client.post("/logout")
        client.cookies.set(name, cookie)
        copied = await client.get("/api/logs")

    assert (sent_away.status_code, form.status_code) == (303, 200)
    assert sent_away.headers["location"] == "/login?next=/%3Fservice%3Dshop%26text%3Da%2526b"
    assert 'value="/?service=shop&amp;text=a%26b"' in form.text
    assert (begun.status_code, begun.headers["location"]) == (303, "/?service=shop&text=a%26b")
    attributes = f"; Path=/; Max-Age={LASTS_S}; HttpOnly; SameSite=Strict{secure}"
    assert begun.headers["set-cookie"] == f"{name}={cookie}{attributes}"
    assert key not in str(begun.headers) + begun.text + page.text
    assert (page.status_code, found.status_code) == (200, 200)
    assert known_id(key) in shown.text
    assert ended.status_code == 303
    assert "Max-Age=0" in ended.headers["set-cookie"]
    assert copied.status_code == 401


async def test_what_is_no_key_for_pages_begins_none_and_is_counted_and_noted(keys: Keys, tmp_path: Path) -> None:
    good, folder = keys.make(Scope.READ), tmp_path / "audit"
    refused = {
        "": "malformed",
        good[:-1]: "malformed",
        good + "x": "malformed",
        f"{good[:20]} {good[20:]}": "malformed",
        keys.make(Scope.WRITE): "scope",
        keys.make(Scope.READ, revoked=1.0): "revoked",
        keys.make(Scope.READ, expires=1.0): "expired",
    }
    unknown = keys.make(Scope.READ)
    del keys.stored[known_id(unknown)]
    refused[unknown] = "unknown"
    async with console(keys, audit_folder=str(folder)) as client:
        answers = [await log_in(client, key) for key in refused]
        in_url = await client.get("/login", params={"key": good})

    assert [answer.status_code for answer in answers] == [401] * len(refused)
    assert all("set-cookie" not in answer.headers for answer in [*answers, in_url])
    assert all('role="alert"' in answer.text and "mrl_" not in answer.text for answer in answers)
    assert in_url.status_code == 400
    noted = acts(folder, "console", "key refused")
    assert sorted(act["reason"] for act in noted) == sorted([*refused.values(), "in_url"])
    assert "mrl_" not in everything(folder)


async def test_after_twenty_tries_an_address_has_to_wait_and_sessions_go_on(keys: Keys) -> None:
    key = keys.make(Scope.READ)
    async with console(keys) as client:
        await log_in(client, key)
        answers = [await log_in(client, "x") for _ in range(22)]
        found = await client.get("/api/logs")

    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert found.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://elsewhere.test"},
        {"origin": "null"},
        {"x": "y"},
    ],
)
async def test_a_form_of_another_page_logs_no_browser_in(keys: Keys, headers: dict[str, str]) -> None:
    key = keys.make(Scope.READ)
    async with console(keys) as client:
        answer = await log_in(client, key, **headers)

        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert (await log_in(client, key, origin="http://console.test")).status_code == 303


async def test_a_cookie_is_good_for_reading_alone_and_a_key_goes_first(keys: Keys) -> None:
    key = keys.make(Scope.READ)
    async with console(keys) as client:
        await log_in(client, key)
        posted = await client.post("/loki/api/v1/query_range", data={"query": "{}"})
        bad_key = await client.get("/api/logs", headers=bearer("x"))
        as_password = await client.get("/", auth=("any", key))
        client.cookies.clear()
        made_up = await client.get("/api/logs", headers={"cookie": "session=0123"})
        odd = await client.get("/api/logs", headers={"cookie": 'session="\\777; =;;'})
        of_script = await client.get("/api/logs", headers=OURS)
        of_tool = await client.get("/", headers={"accept": "*/*"})

    assert (posted.status_code, bad_key.status_code, as_password.status_code) == (401, 401, 200)
    assert (made_up.status_code, odd.status_code) == (401, 401)
    # A browser would ask for a name and a password above the page.
    assert of_script.headers["www-authenticate"] == 'Bearer realm="logs"'
    assert (of_tool.status_code, "Basic" in of_tool.headers["www-authenticate"]) == (401, True)


async def test_a_revoked_key_ends_its_sessions(keys: Keys) -> None:
    key = keys.make(Scope.READ)
    async with console(keys) as client:
        await log_in(client, key)
        assert (await client.get("/api/logs")).status_code == 200
        keys.change(key, revoked=time.time())

        async def is_over() -> bool:
            return (await client.get("/api/logs")).status_code == 401

        await eventually(is_over, "the session is over")
        assert (await client.get("/", headers=HTML)).headers["location"] == "/login?next=/"
        assert known_id(key) not in (await client.get("/login")).text


async def test_a_session_ends_after_its_time_and_with_the_console(keys: Keys) -> None:
    key, clock = keys.make(Scope.READ), Clock()
    async with console(keys, clock=clock) as client:
        await log_in(client, key)
        cookie = client.cookies["session"]
        clock.ahead_s = LASTS_S + 1
        client.cookies.set("session", cookie)
        late = await client.get("/api/logs")
    async with console(keys) as client:
        again = await client.get("/api/logs", headers={"cookie": f"session={cookie}"})

    assert (late.status_code, again.status_code) == (401, 401)


async def test_without_keys_there_is_no_such_page() -> None:
    app = create_app(ConsoleSettings(), store=FakeStore(some_rows(3)), table=FakeTable())
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as client:
            assert (await client.get("/login")).status_code == 404
            assert "/login" not in (await client.get("/")).text


async def test_a_body_without_end_is_not_read_to_its_end(keys: Keys) -> None:
    async with console(keys) as client:
        answer = await client.post("/login", content=b"key=" + b"x" * 100_000, headers=OURS)

    assert answer.status_code == 413


@pytest.mark.parametrize(
    "target",
    ["//elsewhere.test/", "/\\elsewhere.test", "https://elsewhere.test/", "javascript:alert(1)", "/login", "/docs", "", "/\r\nx: y", "/events", f"/?k=mrl_{'a' * 10}_{'b' * 43}cccccc", "/?" + "a" * 5000],
)  # fmt: skip
def test_a_login_leads_to_a_page_of_the_console_alone(target: str) -> None:
    assert next_of(target) == "/"


@given(st.text(max_size=30))
def test_wherever_a_link_leads_it_is_here(target: str) -> None:
    assert next_of(target) in ("/", target)
    assert next_of(target)[1:2] not in ("/", "\\")
