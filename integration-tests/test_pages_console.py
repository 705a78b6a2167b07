"""The pages in a real browser, over a real console on a real PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from browser import accessibility_findings, browser, opened, picture, ready
from playwright.async_api import Browser, Page, expect
from served import bound, served
from surroundings import as_consumer, as_role, make_tables
from test_reading_store import insert
from test_tail_marks import Writer

from console.app import create_app
from console.pages.views.visible import visible
from console.row import Row
from console.settings import ConsoleSettings
from console.tests.fakes import a_row
from consumer.adapters.postgres_rows import STAGE
from shared.access.scopes import Scope
from shared.process.listeners import open_sockets
from testbed.keys import Keys, known_id
from testbed.patience import eventually, patience
from testbed.server import Server

pytestmark = [pytest.mark.services, pytest.mark.real_time]

HOSTILE = "<script>alert(1)</script> \x1b[31m\u202e\u200b 100% _ \" '"


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    expect.set_options(timeout=patience(10) * 1000)
    async with browser() as one:
        yield one


def stored(count: int) -> list[Row]:
    """Rows of the last minutes; ten share each microsecond."""
    now = datetime.now(UTC) - timedelta(seconds=2)
    return [
        a_row(
            seq,
            now - timedelta(milliseconds=200 * (seq // 10)),
            event_id=UUID(int=seq),
            level="ERROR" if seq % 50 == 0 else "INFO",
            message=f"payment {seq} failed" if seq % 50 == 0 else f"line {seq}",
            service_name=["checkout", "payments"][seq % 2],
            correlation_id=f"trace-{seq // 5}",
        )
        for seq in range(1, count + 1)
    ]


@asynccontextmanager
async def console(dsn: str, rows: Sequence[Row], **changes: Any) -> AsyncIterator[str]:
    await make_tables(dsn)
    await insert(dsn, rows)
    # Nothing listens on the port of discards, so there is no gateway.
    settings = ConsoleSettings(
        postgres_dsn=as_role("logs_api", dsn), gateway="http://127.0.0.1:9", query_seconds_a_minute=0, **changes
    )
    async with served(create_app(settings)) as url:
        yield url


async def test_from_an_error_to_the_lines_around_it_by_keyboard_alone(chromium: Browser, postgres: str) -> None:
    async with console(postgres, stored(400)) as url, opened(chromium, url) as page:
        await page.keyboard.press("/")
        await page.keyboard.type("failed")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/?text=failed")
        await ready(page)
        await expect(page.locator("[data-list] > .row")).to_have_count(8)
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await expect(page.locator("[data-list] .open").nth(1)).to_be_focused()
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/events/**")
        await ready(page)
        await expect(page.locator(".row.here")).to_contain_text("failed")
        await page.get_by_role("link", name="all events").focus()
        await page.keyboard.press("Enter")
        await page.wait_for_url("**same=all**")
        await ready(page)
        await expect(page.locator("[data-list] > .row")).to_have_count(31)
        await page.keyboard.press("Escape")
        await page.wait_for_url("**/?text=failed**")


async def test_pages_of_one_list_hold_each_row_once(chromium: Browser, postgres: str) -> None:
    rows = stored(270)
    async with console(postgres, rows) as url, opened(chromium, url) as page:
        for _ in range(2):
            await page.get_by_role("link", name="Load more").click()
            await expect(
                page.get_by_role("link", name="Load more").or_(page.get_by_text("That is all"))
            ).to_be_visible()
            await expect(page.locator("[aria-busy]")).to_have_count(0)
        await expect(page.get_by_text("That is all of this span.")).to_be_visible()
        shown = await page.locator("[data-list] > .row").evaluate_all("rows => rows.map((row) => row.id.slice(2, 38))")
        assert sorted(shown) == sorted(str(row.event_id) for row in rows)


async def test_a_large_event_is_cut_in_the_list_and_whole_on_its_page(chromium: Browser, postgres: str) -> None:
    large = "begin " + "x" * (256 * 1024 - 12) + " end"
    rows = [*stored(5), a_row(9, datetime.now(UTC), event_id=UUID(int=9), message=large)]
    async with console(postgres, rows) as url, opened(chromium, f"{url}/?text=begin") as page:
        await expect(page.locator(".cut")).to_have_text("… cut")
        assert len(await page.locator(".message").inner_text()) <= 2048
        await page.locator("[data-list] .open").click()
        await page.wait_for_url("**/events/**")
        assert (await page.locator(".whole-message").inner_text()).strip() == large


async def test_a_strangers_text_is_found_shown_and_never_run(chromium: Browser, postgres: str) -> None:
    rows = [
        *stored(3),
        a_row(
            9, datetime.now(UTC), event_id=UUID(int=9), message=HOSTILE, service_name=HOSTILE, correlation_id=HOSTILE
        ),
    ]
    async with console(postgres, rows) as url, opened(chromium, f"{url}/?text=100%25+_") as page:
        await expect(page.locator(".message")).to_have_text(visible(HOSTILE))
        await page.locator("a.service").click()
        await ready(page)
        await expect(page.locator("[data-list] > .row")).to_have_count(1)
        await expect(page.locator(".chip b")).to_have_text(visible(HOSTILE))


async def test_without_a_database_the_page_says_so_and_works_again_with_it(
    chromium: Browser, own_postgres: Server
) -> None:
    async with console(own_postgres.address, stored(5)) as url:
        own_postgres.stop()
        async with opened(chromium, url) as page:
            await expect(page.get_by_role("alert")).to_contain_text("PostgreSQL")
            own_postgres.start()
            for _ in range(50):
                await page.reload()
                await ready(page)
                if await page.locator("[data-list] > .row").count():
                    break
            await expect(page.locator("[data-list] > .row")).to_have_count(5)


async def test_without_a_gateway_the_map_says_so(chromium: Browser, postgres: str) -> None:
    async with console(postgres, []) as url, opened(chromium, f"{url}/replication") as page:
        await expect(page.get_by_role("alert")).to_contain_text("the gateway at http://127.0.0.1:9/ does not answer")


async def test_a_tail_over_a_restart_of_the_console_has_what_the_table_has(chromium: Browser, postgres: str) -> None:
    """Two consumers write; one of their transactions is open while the console is away."""
    await make_tables(postgres)
    settings = ConsoleSettings(postgres_dsn=as_role("logs_api", postgres))
    at = bound()
    port = at.getsockname()[1]
    connections = [await asyncpg.connect(as_consumer(postgres)) for _ in range(2)]
    for connection in connections:
        await connection.execute(STAGE)
    first, second = Writer("region-a", connections[0]), Writer("region-b", connections[1])
    try:
        async with opened_later(chromium, f"http://127.0.0.1:{port}/tail") as begin:
            async with served(create_app(settings), at):
                page = await begin()
                await page.wait_for_selector('[data-state="live"]')
                await expect(page.locator("[data-passed]")).not_to_be_empty()
                await first.begin(30)
                await second.begin(20)
                await second.commit()
                await expect(page.locator("[data-list] > .row")).to_have_count(20)
            await expect(page.locator("[data-state-words]")).not_to_have_text("live")
            await first.commit()
            await second.begin(40)
            await second.abort()
            await second.begin(10)
            await second.commit()
            [again] = open_sockets("127.0.0.1", port, "no setting")
            async with served(create_app(settings), again):
                await expect(page.locator("[data-list] > .row")).to_have_count(60)
                await first.begin(5)
                await first.commit()
                await expect(page.locator("[data-list] > .row")).to_have_count(65)
                shown = await page.locator("[data-list] > .row").evaluate_all(
                    "rows => rows.map((row) => row.id.slice(2, 38))"
                )
                rows = await connections[0].fetch("SELECT event_id::text AS id FROM logs")
                assert sorted(shown) == sorted(row["id"] for row in rows)
                await page.goto("about:blank")
    finally:
        for connection in connections:
            await connection.close()


@asynccontextmanager
async def opened_later(chromium: Browser, url: str) -> AsyncIterator[Callable[[], Awaitable[Page]]]:
    """Open a page when it is asked for, and close it after the console has gone."""
    async with AsyncExitStack() as stack:

        async def begin() -> Page:
            return await stack.enter_async_context(opened(chromium, url))

        yield begin


async def test_a_key_logs_a_browser_in_without_a_script_until_it_is_revoked(
    chromium: Browser, postgres: str, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys.json")
    key, writer = keys.make(Scope.READ), keys.make(Scope.WRITE)
    async with console(postgres, stored(20), **keys.settings) as url:
        for dark in (False, True):
            async with opened(chromium, f"{url}/?service=checkout", dark=dark) as page:
                assert urlsplit(page.url).path == "/login"
                await page.get_by_label("A key with the scope read").fill(writer)
                await page.keyboard.press("Enter")
                await expect(page.get_by_role("alert")).to_contain_text("needs the scope read")
                await ready(page)
                assert await accessibility_findings(page) == []
                await picture(page, f"login-{'dark' if dark else 'light'}")
        async with opened(chromium, f"{url}/?service=checkout", script=False) as page:
            await page.get_by_label("A key with the scope read").fill(key)
            await page.get_by_role("button", name="Log in").click()
            await expect(page.locator("[data-list] > .row")).to_have_count(10)
            assert page.url == f"{url}/?service=checkout"
            [cookie] = await page.context.cookies()
            assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
            assert key not in str(cookie)
            await page.get_by_role("link", name="Access key").click()
            await expect(page.locator("main")).to_contain_text(known_id(key))
            await page.get_by_role("button", name="Log out").click()
            assert await page.context.cookies() == []
        async with opened(chromium, f"{url}/tail") as page:
            await page.get_by_label("A key with the scope read").fill(key)
            await page.get_by_role("button", name="Log in").click()
            await page.wait_for_url("**/tail")
            await ready(page)
            keys.change(key, revoked=0.0)

            async def is_sent_away() -> bool:
                await page.goto(f"{url}/")
                return urlsplit(page.url).path == "/login"

            await eventually(is_sent_away, "the session is over")
