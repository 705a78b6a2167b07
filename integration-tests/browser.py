"""A real browser for tests: Chromium, driven by playwright, watched for everything that a page must not do."""

import os

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Request, async_playwright

from testbed.access import browser_options
from testbed.patience import patience

CHROMIUM: Final = "/usr/bin/chromium"
# As root a sandbox cannot be made. The rest keeps the browser itself from asking other hosts.
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PICTURES: Final = Path(".run/pictures")
_CHECK: Final = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
  return found.violations.map(({ id, impact, nodes }) => `${impact} ${id}: ` + nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | "));
}"""


@dataclass
class Watched:
    """A page, and what it did that no page may do."""

    page: Page
    host: str
    offences: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note requests to other hosts, errors of scripts, what the policy forbade, and dialogs."""
        self.page.on("request", self._request)
        self.page.on("pageerror", lambda error: self.offences.append(f"error of a script: {error}"))
        self.page.on("console", self._console)
        self.page.on("dialog", self._dialog)

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self.host:
            self.offences.append(f"asked another host: {request.url[:200]}")

    def _console(self, message: ConsoleMessage) -> None:
        # A refused request is told on the console, too; that is no offence.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.offences.append(message.text)

    async def _dialog(self, dialog: Dialog) -> None:
        self.offences.append(f"a script ran: {dialog.message}")
        await dialog.dismiss()


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Start a browser."""
    async with AsyncExitStack() as stack:
        play = await stack.enter_async_context(async_playwright())
        one = await play.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS), timeout=patience(30) * 1000)
        stack.push_async_callback(one.close)
        yield one


@asynccontextmanager
async def opened(
    chromium: Browser,
    url: str,
    *,
    dark: bool = False,
    size: tuple[int, int] = (1280, 800),
    script: bool = True,
    **options: Any,
) -> AsyncIterator[Page]:
    """Open a page in a profile of its own; fail at the end if it did anything that no page may do."""
    width, height = size
    context = await chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="Europe/Vienna",
        **browser_options(url),
        **options,
    )
    context.set_default_timeout(patience(10) * 1000)
    try:
        page = await context.new_page()
        watched = Watched(page, urlsplit(url).netloc)
        watched.watch()
        await page.goto(url)
        if script:
            await ready(page)
        yield page
    finally:
        await context.close()
    assert watched.offences == []


async def ready(page: Page) -> None:
    """Wait until the page's script has done its part."""
    await page.wait_for_selector("html[data-ready]", state="attached")


async def picture(page: Page, name: str, *, full: bool = False) -> Path:
    """Keep what is seen now, for people: CI has these pictures as artefacts."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.png"
    await page.screenshot(path=path, full_page=full)
    os.utime(path)
    return path


async def accessibility_findings(page: Page) -> list[str]:
    """Return what axe objects to."""
    await page.evaluate(_axe())
    findings: list[str] = await page.evaluate(_CHECK)
    return findings


@cache
def _axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text()
