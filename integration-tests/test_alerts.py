"""
Alerts on the running fleet: a fault is done to it, the alert fires, its run-book section exists, its link leads to the events
around it, and it ends with the fault.

What takes longer than a minute or two to fire is in prometheus/tests alone.
"""

import re

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pytest

from testbed.patience import eventually
from testbed.running_fleet import ROOT, Fleet, steady_writers

pytestmark = pytest.mark.fleet

# A rule's `for`, and what it takes until the parts and then Prometheus notice.
FIRES_WITHIN_S: Final = 120
ENDS_WITHIN_S: Final = 120


@dataclass(frozen=True)
class Fault:
    """What is done with `./setup.sh`, how it is undone, and the alerts that have to fire, each with some of its labels."""

    do: Sequence[str]
    undo: Sequence[str]
    alerts: Sequence[tuple[str, dict[str, str]]]


# Faults that are done together do not hide each other's alerts.
FAULTS: Final = {
    "redis and a producer are gone, a link is cut": (
        Fault(("stop", "redis"), ("start", "redis"), [("DedupDegraded", {"region": "region-a"})]),
        Fault(
            ("stop", "producer-b"),
            ("start", "producer-b"),
            [("RegionDown", {"region": "region-b"}), ("TargetDown", {"job": "producer"})],
        ),
        Fault(
            ("cut", "a-to-b"),
            ("heal", "a-to-b"),
            [("ReplicationDown", {"source": "region-a", "target": "region-b"})],
        ),
    ),
    "postgres says nothing": (
        Fault(("suspend", "postgres"), ("resume", "postgres"), [("ConsumerNotReady", {"region": "region-b"})]),
    ),
}


async def firing(fleet: Fleet, name: str, labels: dict[str, str]) -> list[dict[str, Any]]:
    alerts = (await fleet.http.get(f"{fleet.at.prometheus}/api/v1/alerts")).json()["data"]["alerts"]
    return [
        alert
        for alert in alerts
        if alert["state"] == "firing" and {"alertname": name, **labels}.items() <= alert["labels"].items()
    ]


async def fires(fleet: Fleet, name: str, labels: dict[str, str]) -> bool:
    found = await firing(fleet, name, labels)
    for alert in found:
        path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^## (.+)$", (ROOT / path).read_text(), re.MULTILINE)
        assert anchor in {heading.lower() for heading in headings}
    return bool(found)


async def quiet(fleet: Fleet, name: str, labels: dict[str, str]) -> bool:
    return not await fires(fleet, name, labels)


async def shows_events(fleet: Fleet, link: str, region: str) -> bool:
    """Follow the link of an alert as a person does; tell whether the page has events, all of the region that it is about."""
    assert link.startswith(f"{fleet.at.console}/?"), link
    page = await fleet.http.get(link, headers={"Accept": "text/html"})
    found = await fleet.http.get(link.replace("/?", "/api/logs?"))
    if not (page.is_success and found.is_success):
        return False  # PostgreSQL is just coming back
    rows = found.json()["items"]
    return bool(rows) and {row["region"] for row in rows} == {region} and "/events/" in page.text


@pytest.mark.parametrize("together", FAULTS)
async def test_a_fault_fires_its_alert_and_its_end_ends_it(fleet: Fleet, together: str) -> None:
    faults = FAULTS[together]
    alerts = [alert for fault in faults for alert in fault.alerts]
    await all_of(fleet, quiet, alerts, "is quiet before", ENDS_WITHIN_S)

    async with steady_writers(fleet):
        async with AsyncExitStack() as taken_back:
            for fault in faults:
                taken_back.push_async_callback(fleet.control, *fault.undo)
                await fleet.control(*fault.do)
            await all_of(fleet, fires, alerts, "fires", FIRES_WITHIN_S)
            links = {
                alert["annotations"]["logs_url"]: alert["labels"].get("region") or alert["labels"]["source"]
                for name, labels in alerts
                for alert in await firing(fleet, name, labels)
                if "logs_url" in alert["annotations"]
            }
            assert links
        for link, region in links.items():
            await eventually(partial(shows_events, fleet, link, region), f"events at {link}")
        await all_of(fleet, quiet, alerts, "has ended", ENDS_WITHIN_S)
    await fleet.all_ready()


async def all_of(
    fleet: Fleet,
    state: Callable[[Fleet, str, dict[str, str]], Awaitable[bool]],
    alerts: Sequence[tuple[str, dict[str, str]]],
    what: str,
    within_s: float,
) -> None:
    """Wait until all the alerts are in that state."""
    for name, labels in alerts:
        await eventually(partial(state, fleet, name, labels), f"{name} {what}", within_s=within_s, every_s=0.5)
