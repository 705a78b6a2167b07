"""Links from alerts and dashboards, followed on a console: a person gets from what fires to the events around it."""

import json
import re

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx
import pytest
import yaml

from test_pages_console import console

from console.row import Row
from console.tests.fakes import a_row
from shared.process.http_client import http_client
from testbed.patience import patience

pytestmark = pytest.mark.services

ROOT: Final = Path(__file__).parents[1]
CONSOLE: Final = "${console:raw}"
IDS: Final = [UUID(int=n) for n in range(1, 5)]
# What a click puts in the place of a value, by the column that it is in.
VALUES: Final = {
    "region": "region-a",
    "source": "region-a",
    "reason": "delayed",
    "correlationId": "one",
    "eventId": str(IDS[0]),
}


def rows(now: datetime) -> list[Row]:
    """One that each link leads to; one of the other region, one that was late, and one of yesterday."""
    at = now - timedelta(minutes=2)
    return [
        a_row(1, at, event_id=IDS[0], origin_region="region-a", correlation_id="one"),
        a_row(2, at, event_id=IDS[1], origin_region="region-b"),
        a_row(3, at, event_id=IDS[2], origin_region="region-a", late=True, late_by_ms=9, late_reason="delayed"),
        a_row(4, at - timedelta(days=1), event_id=IDS[3], origin_region="region-a"),
    ]


def of_alerts() -> set[str]:
    """Return the links as the tests of the rules have them, from the times at which these fire."""
    tests = yaml.safe_load((ROOT / "prometheus/tests/fleet_test.yml").read_text())["tests"]
    alerts = [found for test in tests for asked in test["alert_rule_test"] for found in asked.get("exp_alerts", [])]
    return {alert["exp_annotations"].get("logs_url", "") for alert in alerts} - {""}


def of_dashboards() -> dict[str, set[str]]:
    """Return the links into the console, with the columns whose values they take; those of whole dashboards under no name."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "grafana/dashboards").glob("*.json"):
        board = json.loads(path.read_text())
        for link in board["links"]:
            if link.get("url", "").startswith(CONSOLE):
                found.setdefault("", set()).add(link["url"])
        assert any(link.get("url", "").startswith(CONSOLE) for link in board["links"]), path.name
        for panel in board["panels"]:
            for override in panel.get("fieldConfig", {}).get("overrides", []):
                links = [link for made in override["properties"] if made["id"] == "links" for link in made["value"]]
                into = {link["url"] for link in links if link["url"].startswith(CONSOLE)}
                if into:
                    found.setdefault(override["matcher"]["options"], set()).update(into)
    return found


async def shown(client: httpx.AsyncClient, link: str) -> set[UUID]:
    """Follow a link; return which of the events its page has."""
    page = await client.get(link, headers={"Accept": "text/html"})
    assert page.status_code == httpx.codes.OK, (link, page.text)
    return {one for one in IDS if str(one) in page.text}


async def test_each_link_leads_to_the_events_that_it_promises(postgres: str) -> None:
    now = datetime.now(UTC)
    begin, end = (round((now + timedelta(seconds=s)).timestamp() * 1000) for s in (-900, 300))
    plain, other, late, _ = IDS
    alerts, dashboards = of_alerts(), of_dashboards()
    assert len(alerts) == 3
    assert set(dashboards) == {"", "alertname", "region", "source", "reason", "correlationId", "eventId"}

    async with console(postgres, rows(now)) as url, http_client(patience(10)) as client:
        for link in alerts:
            address, _, query = link.partition("/?")
            assert address == "https://logs.example.org/console"
            here = re.sub(r"from=\d+&to=\d+", f"from={begin}&to={end}", query)
            assert await shown(client, f"{url}/?{here}") == (
                {late} if "late=true" in here else {plain, late} if "region-a" in here else {other}
            )
        for column, links in dashboards.items():
            for link in links:
                here = link.replace(CONSOLE, url).replace("${__from}", str(begin)).replace("${__to}", str(end))
                here = here.replace("${__value.raw:percentencode}", VALUES.get(column, ""))
                assert "${" not in here
                expected = {
                    "region": {plain, late},
                    "source": {plain, late},
                    "reason": {late},
                    "correlationId": {plain},
                    "eventId": {plain},
                }.get(column, {plain, other, late})
                assert (
                    await shown(client, here) >= expected
                    if column == "eventId"
                    else await shown(client, here) == expected
                ), here
