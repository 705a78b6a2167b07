"""The pages in a real browser, over an API that answers from memory, so that every state can be shown."""

import asyncio
import json
import re

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from browser import accessibility_findings, browser, opened, picture, ready
from playwright.async_api import Browser, Page, expect
from served import served

from console.pages.views.visible import visible
from console.tests import samples
from console.tests.fake_api import FakeApi, row
from testbed.patience import eventually, patience, slowest

pytestmark = [pytest.mark.services, pytest.mark.real_time]

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \x1b[31mred \u202egnp.exe\u200b \" ' javascript:alert(3)"
)
EVENT = f"/events/{row(8)['eventId']}?timestamp={row(8)['timestamp']}"
SIZES = {"wide": (1440, 900), "tablet": (820, 1100), "narrow": (320, 700)}


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    expect.set_options(timeout=patience(10) * 1000)
    async with browser() as one:
        yield one


@asynccontextmanager
async def console(events: int) -> AsyncIterator[tuple[FakeApi, str]]:
    api = FakeApi(rows=[row(number) for number in range(events)], replication=samples.replication())
    api.traces[row(8)["eventId"]] = samples.trace(8)
    api.past = samples.past() if events else None
    async with served(api.app()) as url:
        yield api, url


async def live(page: Page) -> None:
    await page.wait_for_selector('[data-state="live"]')


async def count_of_rows(page: Page) -> int:
    return await page.locator("[data-list] > .row").count()


async def feed(api: FakeApi, page: Page, numbers: range) -> None:
    """Send these events, the largest number first, and wait until the last one is shown."""
    await live(page)
    for number in reversed(numbers):
        api.send("log", row(number), f"t1.{number}")
    api.send("at", {"behindMs": 40, "passed": 5210}, "t1.at")
    await page.wait_for_selector(f'[id^="e-{row(numbers[0])["eventId"]}"]')


# ---------------------------------------------------------------- what it looks like


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("events", [0, 10, 10_000])
async def test_every_page_is_accessible_and_has_its_picture(chromium: Browser, events: int, dark: bool) -> None:  # noqa: FBT001 - pytest's
    shade = "dark" if dark else "light"
    paths = {"search": "/", "tail": "/tail", "replication": "/replication"} | ({"event": EVENT} if events else {})
    async with console(events) as (api, url):
        for name, path in paths.items():
            async with opened(chromium, url + path, dark=dark, size=SIZES["wide"]) as page:
                if name == "tail" and events:
                    await feed(api, page, range(min(events, 400)))
                await picture(page, f"{name}-{events}-{shade}", full=name == "event")
                assert await accessibility_findings(page) == [], name


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_a_disturbance_is_seen_at_a_glance(chromium: Browser, dark: bool) -> None:  # noqa: FBT001 - pytest's
    """The picture of the README: errors stand out in the chart, and one click narrows the search to them."""
    async with console(0) as (api, url):
        api.rows = samples.incident()
        async with opened(chromium, url, dark=dark, size=(1200, 720), device_scale_factor=1.5) as page:
            await picture(page, f"console-{'dark' if dark else 'light'}")
            tallest = page.locator("[data-chart] a:has(.l-fatal)").first
            await tallest.click()
            await page.wait_for_url("**from=2026-11-26T14:0*&to=*")
            await expect(page.locator(".shares")).to_contain_text("FATAL")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_trouble_is_accessible_and_has_its_picture(chromium: Browser, dark: bool) -> None:  # noqa: FBT001 - pytest's
    shade = "dark" if dark else "light"
    async with console(20) as (api, url):
        api.replication = samples.split()
        async with opened(chromium, f"{url}/replication", dark=dark) as page:
            await picture(page, f"replication-split-{shade}")
            assert await accessibility_findings(page) == []
            api.replication = None
            await expect(page.get_by_role("alert")).to_contain_text("the gateway at http://gateway does not answer")
            await picture(page, f"replication-unknown-{shade}")
            assert await accessibility_findings(page) == []
        async with opened(chromium, f"{url}/?service=checkout&text=a&text=b&late=true", dark=dark) as page:
            await page.keyboard.press("?")
            await expect(page.locator("#help")).to_be_visible()
            await picture(page, f"keys-{shade}")
            assert await accessibility_findings(page) == []
        api.problems["/api/logs"] = (400, "from: '-99x' is no time; write -15m, -2h, now, or RFC 3339 with a zone")
        async with opened(chromium, f"{url}/?from=-99x", dark=dark) as page:
            await picture(page, f"search-refused-{shade}")
            assert await accessibility_findings(page) == []
        async with opened(chromium, url + EVENT, dark=dark) as page:
            await picture(page, f"no-event-{shade}")
            assert await accessibility_findings(page) == []


@pytest.mark.parametrize("size", ["tablet", "narrow"])
async def test_at_any_width_pages_go_down_and_not_sideways(chromium: Browser, size: str) -> None:
    """320 pixels are a window of 1280 at 400 % zoom."""
    long_name = row(
        3, serviceName="a-service-with-a-name-that-does-not-end-soon", message="x" * 3000, correlationId="c" * 200
    )
    async with console(40) as (api, url):
        api.rows[3] = long_name
        api.rows[8] = row(8, attributes={"k" * 120: "v" * 900})
        for name, path in {
            "search": f"/?service=checkout&service=payments&text=a&text={'y' * 90}",
            "rows": "/",
            "event": EVENT,
            "tail": "/tail",
            "replication": "/replication",
        }.items():
            async with opened(chromium, url + path, size=SIZES[size]) as page:
                if name == "tail":
                    await feed(api, page, range(20))
                    api.send("log", long_name)
                    await page.wait_for_selector(f'[id^="e-{long_name["eventId"]}"]')
                await picture(page, f"{name}-{size}", full=True)
                assert await page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), name


# ---------------------------------------------------------------- without a mouse


async def test_search_event_and_back_by_keyboard_alone(chromium: Browser) -> None:
    async with console(300) as (_, url), opened(chromium, url) as page:
        await page.keyboard.press("/")
        await page.keyboard.type("payment of order")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/?text=payment+of+order")
        await ready(page)
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("k")
        second = page.locator("[data-list] > .row").nth(1)
        await expect(second.locator(".open")).to_be_focused()
        anchor = await second.get_attribute("id")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/events/**")
        await ready(page)
        await page.keyboard.press("j")
        await expect(page.locator("[data-value]").first).to_be_focused()
        await page.keyboard.press("Escape")
        await page.wait_for_url("**/?text=payment+of+order#*")
        await ready(page)
        await expect(page.locator(f"[id='{anchor}'] .open")).to_be_focused()


async def test_a_list_is_one_tab_stop(chromium: Browser) -> None:
    async with console(100) as (_, url), opened(chromium, url) as page:
        assert await page.locator('[data-list] a:not([tabindex="-1"])').count() == 1
        await page.locator("[data-list] .open").first.focus()
        await page.keyboard.press("End")
        await expect(page.locator("[data-list] .open").last).to_be_focused()
        await page.keyboard.press("Tab")
        assert await page.evaluate("() => !document.activeElement.closest('[data-list]')")
        await page.keyboard.press("Shift+Tab")
        await expect(page.locator("[data-list] .open").last).to_be_focused()
        await page.keyboard.press("g")
        await page.keyboard.press("g")
        await expect(page.locator("[data-list] .open").first).to_be_focused()


async def test_the_focused_value_becomes_a_filter_or_is_left_out(chromium: Browser) -> None:
    async with console(60) as (_, url), opened(chromium, url) as page:
        await page.keyboard.press("j")
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("f")
        await page.wait_for_url("**/?region=region-b")
        await ready(page)
        await page.keyboard.press("j")
        await page.keyboard.press("f")
        await page.wait_for_url("**/?region=region-b&service=*")
        await ready(page)
        await page.keyboard.press("j")
        await page.keyboard.press("x")
        await page.wait_for_url("**&-text=*")


async def test_single_keys_can_be_switched_off_and_are_off_in_fields(chromium: Browser) -> None:
    async with console(10) as (_, url), opened(chromium, url) as page:
        await page.keyboard.press("?")
        await page.locator("#keys-on").uncheck()
        await page.get_by_role("button", name="Close").click()
        await page.keyboard.press("t")
        await page.keyboard.press("j")
        assert await page.evaluate(
            "() => document.activeElement === document.body || document.activeElement.matches('button')"
        )
        await page.reload()
        await ready(page)
        await page.keyboard.press("t")
        await page.get_by_role("button", name="Keys").click()
        await page.locator("#keys-on").check()
        await page.keyboard.press("Escape")
        await page.keyboard.press("/")
        await page.keyboard.type("jt?")
        await expect(page.locator("#find")).to_have_value("jt?")
        assert page.url == f"{url}/"


# ---------------------------------------------------------------- search


async def test_more_events_come_below_and_the_address_keeps_them(chromium: Browser) -> None:
    async with console(250) as (_, url), opened(chromium, url) as page:
        await page.get_by_role("link", name="Load more").click()
        await expect(page.locator("[data-list] > .row")).to_have_count(200)
        await expect(page.locator("[data-list] .open").nth(100)).to_be_focused()
        await page.get_by_role("link", name="Load more").click()
        await expect(page.locator("[data-list] > .row")).to_have_count(250)
        await expect(page.get_by_text("That is all of this span.")).to_be_visible()
        ids = await page.locator("[data-list] > .row").evaluate_all("rows => rows.map((row) => row.id)")
        assert len(set(ids)) == 250
        await page.reload()
        await ready(page)
        await expect(page.locator("[data-list] > .row")).to_have_count(250)


async def test_a_search_goes_on_until_something_is_found(chromium: Browser) -> None:
    """The API looks two seconds far; a click follows it over any number of answers."""
    async with console(30) as (api, url):
        rows, api.rows, api.slices = api.rows, [row(n) for n in range(3)], 0
        async with opened(chromium, url) as page:
            await expect(page.get_by_role("heading", name="Nothing found yet")).to_be_visible()
            await page.get_by_role("link", name="Go on searching").click()
            await eventually(lambda: len([one for one in api.asked if "cursor" in one]) > 3, "the search goes on")
            api.rows, api.slices = rows, 1000
            await page.wait_for_url("**cursor=*")
            await expect(page.locator("[data-list] > .row").first).to_be_visible()


async def test_a_span_is_chosen_by_drawing_over_the_chart(chromium: Browser) -> None:
    async with console(1000) as (_, url), opened(chromium, url) as page:
        box = await page.locator("[data-chart]").bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        await page.mouse.move(box["x"] + box["width"] * 0.2, middle)
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=5)
        await page.mouse.up()
        await page.wait_for_url("**from=2026-11-26T14%3A03*&to=2026-11-26T14%3A0*")


async def test_a_bar_is_a_link_to_its_span(chromium: Browser) -> None:
    async with console(1000) as (_, url), opened(chromium, url) as page:
        await page.locator("[data-chart] svg a").last.click()
        await page.wait_for_url("**from=2026-11-26T14:14:50*&to=2026-11-26T14:15:00*")
        await ready(page)
        await page.get_by_text("The same as a table").click()
        assert await page.locator(".as-table tbody tr").count() > 0


async def test_times_are_in_utc_or_in_the_readers_zone_and_say_so(chromium: Browser) -> None:
    async with console(20) as (_, url), opened(chromium, url + EVENT) as page:
        await expect(page.locator(".event-head time")).to_have_text("2026-11-26 14:14:54.151864 UTC")
        await page.keyboard.press("u")
        await expect(page.locator(".event-head time")).to_have_text("2026-11-26 15:14:54.151864 +01:00")
        await page.goto(url)
        await ready(page)
        await expect(page.locator("[data-list] time").first).to_have_text("26 Nov 15:15:00.000")
        await expect(page.locator(".tools [data-zone]")).to_have_text("+01:00")


# ---------------------------------------------------------------- the tail


async def test_what_is_looked_at_stands_still_while_events_come(chromium: Browser) -> None:
    async with console(0) as (api, url), opened(chromium, f"{url}/tail") as page:
        await feed(api, page, range(1100, 1160))
        await page.keyboard.press("j")
        await page.keyboard.press("k")
        focused = page.locator("[data-list] > .row:focus-within")
        anchor = await focused.get_attribute("id")
        before = await focused.bounding_box()
        for number in range(1000):
            api.send("log", row(number), f"t1.{number}")
        await expect(page.locator("[data-new]")).to_have_text("1,000 new, 100 errors")
        assert await focused.get_attribute("id") == anchor
        assert await focused.bounding_box() == before
        button = page.get_by_role("button", name="1,000 new")
        covered = await button.bounding_box()
        assert before is not None
        assert covered is not None
        assert covered["y"] >= before["y"] + before["height"], "the button covers the event that has the focus"
        await button.click()
        await page.wait_for_selector(f'[id^="e-{row(999)["eventId"]}"]')
        assert await count_of_rows(page) == 500
        await expect(page.locator("[data-trimmed]")).to_be_visible()
        await expect(button).to_be_hidden()


async def test_a_pause_stops_scrolling_and_not_receiving(chromium: Browser) -> None:
    async with console(0) as (api, url), opened(chromium, f"{url}/tail") as page:
        await feed(api, page, range(100, 110))
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="Go on")).to_be_visible()
        for number in range(7):
            api.send("log", row(number), f"t1.{number}")
        await expect(page.locator("[data-new]")).to_have_text("7 new")
        assert await count_of_rows(page) == 10
        await page.keyboard.press("Space")
        await expect(page.locator("[data-list] > .row")).to_have_count(17)


async def test_a_cut_connection_goes_on_where_it_ended(chromium: Browser) -> None:
    async with console(0) as (api, url), opened(chromium, f"{url}/tail?service=checkout&level=WARN") as page:
        await feed(api, page, range(10, 15))
        api.send("log", row(9), "t1.nine")
        await page.wait_for_selector(f'[id^="e-{row(9)["eventId"]}"]')
        api.cut()
        await eventually(lambda: len(api.positions) == 2, "the tail asks again")
        assert api.positions == [None, "t1.nine"]
        await expect(page.locator("[data-passed]")).to_have_text("5,210 events passed, 6 matched")
        await feed(api, page, range(5, 9))
        await expect(page.locator("[data-list] > .row")).to_have_count(10)
        await expect(page.locator("[data-passed]")).to_have_text("10,420 events passed, 10 matched")
        assert all("service=checkout&level=WARN" in asked for asked in api.asked if "/tail" in asked)


async def test_the_state_of_the_connection_is_said_in_words(chromium: Browser) -> None:
    words = "[data-state-words]"
    async with console(0) as (api, url), opened(chromium, f"{url}/tail") as page:
        await live(page)
        api.send("behind", {"rows": 120_000, "ms": 9000})
        await expect(page.locator(words)).to_have_text("behind by 120,000 events, 9.0 s; all of them will come")
        api.send("at", {"behindMs": 20, "passed": 3}, "t1.x")
        await expect(page.locator(words)).to_have_text("live")
        why = "a day was dropped before this tail had read all of its events"
        api.send("reset", {"why": why, "from": "2026-11-17T00:00:00Z", "to": "2026-11-18T00:00:00Z"}, "t1.x")
        await expect(page.locator(".mark")).to_have_text(f"Not all came: {why}.")
        api.send("reset", {"why": "the database was set back"})
        await expect(page.locator(".mark").last).to_contain_text("Begun anew: the database was set back.")
        api.problems["/api/logs/tail"] = (503, "PostgreSQL does not answer")
        api.cut()
        await expect(page.locator(words)).to_contain_text("the connection is lost; the next try is in")
        await eventually(lambda: len(api.asked) > 3, "the tail asks again")
        api.problems["/api/logs/tail"] = (400, "level: 'LOUD' is no level")
        await expect(page.locator(words)).to_have_text("refused: level: 'LOUD' is no level")
        # After a reset no position is told: there is none any more.
        assert api.positions == [None]


async def test_a_flood_leaves_the_page_usable(
    chromium: Browser, record_property: Callable[[str, object], None]
) -> None:
    """5,000 events a second for some seconds; a row of 256 KiB among them."""
    async with console(0) as (api, url), opened(chromium, f"{url}/tail") as page:
        await live(page)
        await page.evaluate(
            """() => {
              window.most = 0;
              new MutationObserver((list) => { window.most = Math.max(window.most, list.reduce((sum, one) => sum + one.addedNodes.length, 0)); })
                .observe(document.querySelector("[data-list]"), { childList: true });
              window.longest = 0;
              new PerformanceObserver((list) => { for (const one of list.getEntries()) window.longest = Math.max(window.longest, one.duration); })
                .observe({ entryTypes: ["longtask"] });
            }"""
        )
        api.send("log", row(50_000, message="m" * 256 * 1024))
        events = [json.dumps(row(number)) for number in range(500)]
        for second in range(4):
            for tenth in range(10):
                burst = "".join(f"id: t1.{second}.{tenth}.{n}\nevent: log\ndata: {events[n]}\n\n" for n in range(500))
                api.stream.put_nowait(burst)
                await asyncio.sleep(0.1)
        api.send("log", row(60_000), "t1.end")
        await page.wait_for_selector(f'[id^="e-{row(60_000)["eventId"]}"]')
        assert await count_of_rows(page) <= 500
        # A flood costs a reader's machine few rows at a time; how long they take depends on that machine, and is in the report.
        assert await page.evaluate("() => window.most") <= 500
        record_property("longest_task_ms", await page.evaluate("() => window.longest"))
        record_property("machine_slower_than_normal", slowest())
        session = await page.context.new_cdp_session(page)
        await session.send("HeapProfiler.collectGarbage")
        heap = await page.evaluate("() => performance.memory.usedJSHeapSize")
        assert heap < 100 * 1024 * 1024
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="Go on")).to_be_visible()


async def test_the_sixth_tail_of_a_browser_says_that_it_would_block_the_others(chromium: Browser) -> None:
    async with console(0) as (_, url), opened(chromium, f"{url}/tail") as page:
        await live(page)
        tabs = [await page.context.new_page() for _ in range(5)]
        for tab in tabs:
            await tab.goto(f"{url}/tail")
            await tab.wait_for_selector('[data-state="live"], [data-state="refused"]')
        await expect(tabs[-1].locator("[data-state-words]")).to_contain_text("5 tails are open in this browser")
        await tabs[-1].goto(url)
        await expect(tabs[-1].get_by_role("heading", name="Nothing found")).to_be_visible()


# ---------------------------------------------------------------- replication


async def test_the_replication_page_follows_the_gateway(chromium: Browser) -> None:
    async with console(0) as (api, url), opened(chromium, f"{url}/replication") as page:
        await expect(page.get_by_text("Every direction copies, and nothing is exposed.")).to_be_visible()
        link = page.get_by_role("link", name="its events").first
        await link.focus()
        api.replication = samples.split()
        await expect(page.get_by_text("1,204", exact=True)).to_be_visible()
        await expect(page.get_by_role("region", name="region-a to region-b")).to_contain_text("DOWN for")
        await expect(link).to_be_focused()
        await page.get_by_role("link", name="What came late since then").first.click()
        await page.wait_for_url("**late=true")


async def test_a_split_of_the_past_is_one_click_away_from_what_came_late(chromium: Browser) -> None:
    async with console(10) as (_, url), opened(chromium, f"{url}/replication") as page:
        await picture(page, "replication-past", full=True)
        await page.locator("svg a:has(.band)").first.click()
        await page.wait_for_url("**/replication?from=2026-11-26T02:43:00*&to=2026-11-26T03:17:00*")
        await ready(page)
        await page.get_by_role("link", name="what came late").first.click()
        await page.wait_for_url("**late=true")


# ---------------------------------------------------------------- strangers' texts


async def test_nothing_in_an_event_runs_and_all_of_it_is_visible(chromium: Browser) -> None:
    fields = ("serviceName", "level", "message", "correlationId", "region", "storedBy", "lateReason")
    item: dict[str, Any] = row(8, **dict.fromkeys(fields, HOSTILE), attributes={HOSTILE: HOSTILE}, late=True)
    async with console(20) as (api, url):
        api.rows[8] = item
        texts = []
        async with opened(chromium, url) as page:
            here = page.locator(f'[id^="e-{item["eventId"]}"]')
            texts.append(await here.locator(".message").inner_text())
        async with opened(chromium, f"{url}/tail") as page:
            await live(page)
            api.send("log", item)
            here = page.locator(f'[id^="e-{item["eventId"]}"]')
            await expect(here).to_be_visible()
            texts.append(await here.locator(".message").inner_text())
            assert await here.locator(".service").inner_text() == visible(HOSTILE)
        assert texts == [visible(HOSTILE)] * 2
        async with opened(chromium, url + EVENT) as page:
            await page.get_by_text("The event as JSON").click()
            for place in (".whole-message", ".raw pre"):
                assert "⟨U+202E⟩gnp.exe⟨U+200B⟩" in await page.locator(place).inner_text()
            await picture(page, "event-hostile", full=True)
            assert await page.locator("main script, main img, main iframe").count() == 0


# ---------------------------------------------------------------- without script


async def test_search_and_event_work_without_script(chromium: Browser) -> None:
    async with console(150) as (_, url), opened(chromium, url, script=False) as page:
        await page.get_by_label("Text in the message").fill("payment of order")
        await page.get_by_role("button", name="Search").click()
        await page.wait_for_url("**/?text=payment%20of%20order")
        assert await count_of_rows(page) == 15
        await page.get_by_role("link", name=re.compile("payment of order 81008 failed")).click()
        await page.wait_for_url("**/events/**")
        await expect(page.get_by_text("2 copies recognised as duplicates")).to_be_visible()
        await page.get_by_role("link", name="Back to the search").click()
        await page.wait_for_url("**/?text=payment%20of%20order")
        await page.goto(url)
        await page.get_by_role("link", name="Load more").click()
        assert await count_of_rows(page) == 50
        await page.goto(f"{url}/tail")
        await expect(page.get_by_text("A tail needs script.")).to_be_visible()
        await page.goto(f"{url}/replication")
        await expect(page.get_by_text("Every direction copies")).to_be_visible()
