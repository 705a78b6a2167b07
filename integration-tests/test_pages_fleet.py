"""The pages on the running fleet: from a post to the event's page, the map of replication, a tail over a restart."""

import uuid

from collections.abc import AsyncIterator

import pytest

from browser import accessibility_findings, browser, opened, picture, ready
from playwright.async_api import Browser, expect

from testbed.patience import eventually, patience
from testbed.running_fleet import Fleet, an_event

pytestmark = pytest.mark.fleet


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    expect.set_options(timeout=patience(30) * 1000)
    async with browser() as one:
        yield one


@pytest.mark.both_modes
async def test_an_event_that_was_posted_is_found_opened_and_followed(fleet: Fleet, chromium: Browser) -> None:
    correlation_id = f"page-{uuid.uuid4()}"
    answer = (await fleet.post(an_event(correlation_id, message="seen in a browser"))).json()
    await eventually(lambda: fleet.query("SELECT 1 FROM logs WHERE correlation_id = $1", correlation_id), "the row")

    async with opened(chromium, f"{fleet.at.console}/?correlationId={correlation_id}") as page:
        await expect(page.locator("[data-list] > .row")).to_have_count(1)
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/events/{answer['eventId']}**")
        await ready(page)
        await expect(page.locator(".whole-message")).to_contain_text("seen in a browser")
        await expect(page.locator(".life .verdict")).to_contain_text("stored once")
        await expect(page.locator(".step")).not_to_have_count(0)
        await picture(page, "fleet-event", full=True)
        assert await accessibility_findings(page) == []


async def test_the_map_shows_both_directions_of_the_fleet(fleet: Fleet, chromium: Browser) -> None:
    async with opened(chromium, f"{fleet.at.console}/replication") as page:
        await expect(page.get_by_role("region", name="region-a to region-b")).to_contain_text("up")
        await expect(page.get_by_role("region", name="region-b to region-a")).to_contain_text("up")
        await expect(page.get_by_role("heading", name="How it was")).to_be_visible()
        await expect(page.get_by_text("Events accepted a second")).to_be_visible()
        await picture(page, "fleet-replication", full=True)
        assert await accessibility_findings(page) == []


async def test_a_tail_in_the_browser_has_what_the_table_has_over_a_restart_of_the_console(
    fleet: Fleet, chromium: Browser
) -> None:
    correlation_id = f"page-{uuid.uuid4()}"

    async def post(count: int) -> None:
        answer = await fleet.post([an_event(correlation_id) for _ in range(count)], batch=True)
        assert answer.status_code == 202

    async with opened(chromium, f"{fleet.at.console}/tail?correlationId={correlation_id}") as page:
        await page.wait_for_selector('[data-state="live"]')
        # The first position comes with the first event or at once after the beginning.
        await post(50)
        await expect(page.locator("[data-list] > .row")).to_have_count(50)
        await fleet.control("stop", "console")
        try:
            await expect(page.locator("[data-state-words]")).not_to_have_text("live")
            await post(50)
        finally:
            await fleet.control("start", "console")
        await post(50)
        await expect(page.locator("[data-list] > .row")).to_have_count(150)
        shown = await page.locator("[data-list] > .row").evaluate_all("rows => rows.map((row) => row.id.slice(2, 38))")
        rows = await fleet.query("SELECT event_id::text AS id FROM logs WHERE correlation_id = $1", correlation_id)
        assert sorted(shown) == sorted(row["id"] for row in rows)
        await picture(page, "fleet-tail")
