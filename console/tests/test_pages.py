"""The pages over an API that answers from memory: what they ask, what they show, and that no text becomes markup."""

import re

from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from asgi_lifespan import LifespanManager
from hypothesis import given
from hypothesis import strategies as st

from console.pages import render, static
from console.pages.render import Templates
from console.pages.static import StaticFiles
from console.pages.views.rows import lines
from console.pages.views.visible import visible
from console.tests import samples
from console.tests.fake_api import FakeApi, row

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)> javascript:alert(3) \x1b[31m\u202e\u200b\" ' {{ 7*191 }}"
TEMPLATES = Templates(StaticFiles())
FIELDS = ("serviceName", "level", "message", "correlationId", "region", "storedBy", "lateReason", "timestamp")


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(rows=[row(number) for number in range(250)], replication=samples.replication())


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[httpx.AsyncClient]:
    async with LifespanManager(api.app()) as manager:
        transport = httpx.ASGITransport(manager.app, client=("192.0.2.7", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as one:
            yield one


def address(number: int, **more: str) -> httpx.URL:
    return httpx.URL(f"/events/{row(number)['eventId']}", params={"timestamp": row(number)["timestamp"], **more})


class Markup(HTMLParser):
    """Elements with the names of their attributes, and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.links += [
            value or ""
            for name, value in attrs
            if name in ("href", "src", "action", "data-more-like", "data-less-like")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


# ---------------------------------------------------------------- search


async def test_the_search_asks_with_the_parameters_of_its_address(client: httpx.AsyncClient, api: FakeApi) -> None:
    answer = await client.get("/?service=checkout&service=payments&level=WARN&text=a%26b&limit=7")
    assert answer.status_code == 200
    asked = {httpx.URL(url).path: httpx.URL(url).params.multi_items() for url in api.asked}
    filters = [("service", "checkout"), ("service", "payments"), ("level", "WARN"), ("text", "a&b")]
    assert asked["/api/logs"] == [*filters, ("limit", "7")]
    assert asked["/api/logs/histogram"] == [*filters, ("by", "level")]


async def test_rows_are_shown_and_the_next_page_is_one_link_away(client: httpx.AsyncClient) -> None:
    page = (await client.get("/?limit=100")).text
    assert page.count('class="open"') == 100
    [more] = re.findall(r'href="([^"]+)" data-more', page)
    assert (await client.get(more.replace("&amp;", "&"))).text.count('class="open"') == 100


async def test_every_event_is_on_one_page_when_the_links_are_followed(client: httpx.AsyncClient, api: FakeApi) -> None:
    seen: list[str] = []
    api.slices = 60
    at = "/?limit=60"
    while at:
        page = (await client.get(at)).text
        seen += re.findall(r'<li class="row[^"]*" id="e-([0-9a-f-]{36})', page)
        at = next(iter(re.findall(r'href="([^"]+)" data-more', page)), "").replace("&amp;", "&")
    assert seen == [one["eventId"] for one in api.rows]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("text=&service=checkout&level=", "/?service=checkout"),
        ("from=-15m&to=now&text=a", "/?text=a"),
        ("from=-1h&to=now", "/?from=-1h"),
        ("from=-15m&to=-5m&text=", "/?from=-15m&to=-5m"),
    ],
)
async def test_what_says_nothing_is_taken_out_of_the_address(client: httpx.AsyncClient, sent: str, kept: str) -> None:
    answer = await client.get(f"/?{sent}")
    assert (answer.status_code, answer.headers["location"]) == (303, kept)
    assert (await client.get(kept)).status_code == 200


async def test_a_refused_search_says_why_and_keeps_what_was_asked(client: httpx.AsyncClient, api: FakeApi) -> None:
    api.problems["/api/logs"] = (400, "from: 'yesterday' is no time")
    answer = await client.get("/?from=yesterday&text=kept")
    assert answer.status_code == 400
    assert "from: &#39;yesterday&#39; is no time" in answer.text
    assert 'value="kept"' in answer.text


async def test_a_search_whose_counts_fail_still_has_its_rows(client: httpx.AsyncClient, api: FakeApi) -> None:
    api.problems["/api/logs/histogram"] = (429, "three searches at once are enough")
    page = (await client.get("/")).text
    assert 'class="open"' in page
    assert "three searches at once are enough" in page


async def test_a_search_that_has_not_come_to_its_end_is_not_called_empty(
    client: httpx.AsyncClient, api: FakeApi
) -> None:
    api.slices = 0
    page = (await client.get("/")).text
    assert "Nothing found yet" in page
    assert "Go on searching" in page


async def test_who_asks_for_a_page_is_who_asks_for_its_data(client: httpx.AsyncClient, api: FakeApi) -> None:
    seen: list[tuple[Any, str | None]] = []
    original = api._refused

    def noting(request: Any) -> Any:
        seen.append((request.client.host, request.headers.get("authorization")))
        return original(request)

    api._refused = noting  # type: ignore[method-assign]
    await client.get("/", headers={"Authorization": "Bearer key", "X-Else": "no"})
    assert set(seen) == {("192.0.2.7", "Bearer key")}


# ---------------------------------------------------------------- one event


async def test_an_event_has_its_fields_neighbours_and_life(client: httpx.AsyncClient, api: FakeApi) -> None:
    api.traces[row(8)["eventId"]] = samples.trace(8)
    page = (await client.get(address(8, **{"in": "service=payments"}))).text
    for text in (
        "u8",
        "region-a/consumer-a/17",
        "2 copies recognised as duplicates",
        "region-b.logs/3@40118",
        "this one",
    ):
        assert text in page
    assert 'href="/?service=payments" data-back' in page


async def test_without_the_life_of_events_the_page_says_so(client: httpx.AsyncClient) -> None:
    assert "does not follow events through Kafka" in (await client.get(address(8))).text


async def test_an_event_that_is_not_stored_is_still_followed(client: httpx.AsyncClient, api: FakeApi) -> None:
    gone = row(999)["eventId"]
    api.traces[gone] = {"verdict": "waiting, about 12 events before it", "steps": [], "unseen": ["region-b"]}
    answer = await client.get(f"/events/{gone}")
    assert answer.status_code == 404
    assert "waiting, about 12 events before it" in answer.text
    assert "Not seen: region-b. Copies there are unknown, not missing." in answer.text


@pytest.mark.parametrize("name", ["tail", "histogram", "x", "%2e%2e", "019ab0c4-0000-7000-8000-00000000000g"])
async def test_what_is_no_id_is_not_asked_for(client: httpx.AsyncClient, api: FakeApi, name: str) -> None:
    assert (await client.get(f"/events/{name}")).status_code == 404
    assert api.asked == []


async def test_several_events_of_one_id_are_offered(client: httpx.AsyncClient, api: FakeApi) -> None:
    twin = row(1, eventId=row(0)["eventId"])
    api.rows[1] = twin
    api.several = {row(0)["eventId"]: [api.rows[0], twin]}
    page = (await client.get(f"/events/{row(0)['eventId']}")).text
    assert "Several events have this id" in page
    assert page.count('class="open"') == 2


# ---------------------------------------------------------------- replication


async def test_replication_is_passed_on_from_the_gateway(client: httpx.AsyncClient, api: FakeApi) -> None:
    assert (await client.get("/api/replication")).json() == api.replication
    assert "Every direction copies, and nothing is exposed." in (await client.get("/replication")).text


async def test_a_gateway_that_is_away_is_said_to_be(client: httpx.AsyncClient, api: FakeApi) -> None:
    api.replication = None
    answer = await client.get("/replication")
    assert answer.status_code == 503
    assert "the gateway at http://gateway does not answer" in answer.text


async def test_the_past_is_shown_and_the_map_that_is_renewed_does_without(
    client: httpx.AsyncClient, api: FakeApi
) -> None:
    assert "Prometheus does not answer; it alone remembers" in (await client.get("/replication")).text
    api.past = samples.past()
    page = (await client.get("/replication")).text
    assert page.count('class="band"') == 2
    assert "what came late" in page
    assert "what came late" not in (await client.get("/replication?part=map")).text


# ---------------------------------------------------------------- texts of strangers


def hostile_pages(api: FakeApi, text: str) -> list[str]:
    """Set every field of one event to that text; return the pages that show it."""
    number = 8
    api.rows[number] = row(number, **dict.fromkeys(FIELDS, text), late=True, attributes={text: text, "k": text})
    api.traces[row(number)["eventId"]] = {
        "verdict": text, "unseen": [text], "exposed": {text: True},
        "steps": [{"what": text, "by": text, "region": text, "topic": text, "partition": text, "offset": text, "note": text}] * 2,
    }  # fmt: skip
    api.replication = {
        "regions": [{"region": text, "seenSecondsAgo": 1, "trouble": text}],
        "links": [{"source": text, "target": text, "up": False, "detail": text, "splitSince": text, "lagSeconds": 1}],
    }
    query = str(
        httpx.QueryParams([("text", text), ("text", text), ("-text", text), ("service", text), ("attr." + text, text)])
    )
    event = f"/events/{row(number)['eventId']}?" + str(
        httpx.QueryParams({"timestamp": text, "in": query, "same": text})
    )
    return ["/", f"/?{query}", f"/tail?{query}", event, "/replication"]


async def test_no_field_of_an_event_becomes_markup(client: httpx.AsyncClient, api: FakeApi) -> None:
    plain = [Markup((await client.get(page)).text) for page in hostile_pages(api, "plain")]
    hostile = [Markup((await client.get(page)).text) for page in hostile_pages(api, HOSTILE)]
    for harmless, harmful in zip(plain, hostile, strict=True):
        # Signs for hidden characters are elements of ours, so there are more of them.
        signs = ("span", ("class", "title"))
        assert [one for one in harmful.elements if one != signs] == [one for one in harmless.elements if one != signs]
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in harmful.links)
    assert visible(HOSTILE) in hostile[0].text


async def test_refusals_of_hostile_parameters_become_no_markup(client: httpx.AsyncClient, api: FakeApi) -> None:
    api.problems["/api/logs"] = (400, HOSTILE)
    page = Markup((await client.get("/?from=x")).text)
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert "img" not in dict(page.elements)


@given(st.text(min_size=1, max_size=40))
def test_whatever_a_message_is_the_page_has_the_same_elements(text: str) -> None:
    shown = {"page": "event", "query": (), "back": "/", "event_id": "x"}

    def page(message: str) -> Markup:
        items = [row(1, message=message, serviceName=message)]
        return Markup(TEMPLATES.text("several-events.html", lines=lines(items, ()), **shown))

    signs = ("span", ("class", "title"))
    assert [one for one in page(text).elements if one != signs] == page("plain").elements


# ---------------------------------------------------------------- headers and files


@pytest.mark.parametrize("path", ["/", "/tail", "/replication", "/events/x", "/api/logs", "/nothing-here"])
async def test_every_answer_tells_a_browser_to_keep_and_run_nothing_else(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert {"unsafe-inline", "unsafe-eval", "http:", "https:", "*", "data:"}.isdisjoint(
        headers["content-security-policy"].split()
    )
    assert policy.get("script-src", "'none'") in ("'self'", "'none'")


async def test_files_are_kept_for_good_under_the_name_that_their_content_gives(client: httpx.AsyncClient) -> None:
    page = (await client.get("/")).text
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(loaded) == 4
    for path in loaded:
        answer = await client.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.content == (static.FOLDER / Path(path).name).read_bytes()
    older = await client.get("/static/0123456789ab/console.js")
    assert older.headers["cache-control"] == "no-cache"
    assert (await client.get("/static/0123456789ab/../render.py")).status_code == 404


def test_all_files_that_pages_load_are_our_own() -> None:
    """Nothing is vendored, so there is nothing whose origin, licence and advisories have to be followed."""
    names = {path.name for path in static.FOLDER.iterdir()}
    assert {name for name in names if not name.endswith(".js")} == {"console.css", "icon.svg"}
    for path in static.FOLDER.glob("*.js"):
        source = path.read_text()
        assert all(origin.startswith("./") for origin in re.findall(r'from "([^"]+)"', source)), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", source), (
            path.name
        )
        assert not re.search(r"https?://", source), path.name
        assert len(source.splitlines()) < 300, path.name


def test_templates_have_no_script_style_or_handler_in_them_and_escape_all() -> None:
    for path in render.FOLDER.glob("*.html"):
        source = path.read_text()
        assert not re.search(r"\|\s*safe|autoescape|Markup\(|\sstyle=|\son[a-z]+=|javascript:", source), path.name
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style", source), path.name
