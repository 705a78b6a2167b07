"""
Alerts on the running fleet: a fault is done to it, the alert fires, its run-book section exists, and it ends with the fault.

What takes longer than a minute or two to fire is in prometheus/tests alone.
"""

import re

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from fleet import ROOT, Fleet, steady_writers
from waiting import eventually

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


FAULTS: Final = {
    "redis is gone": Fault(("stop", "redis"), ("start", "redis"), [("DedupDegraded", {"region": "region-a"})]),
    "a link is cut": Fault(
        ("cut", "a-to-b"),
        ("heal", "a-to-b"),
        [("ReplicationDown", {"source": "region-a", "target": "region-b"})],
    ),
    "a producer is gone": Fault(
        ("stop", "producer-b"),
        ("start", "producer-b"),
        [("RegionDown", {"region": "region-b"}), ("TargetDown", {"job": "producer"})],
    ),
    "postgres says nothing": Fault(
        ("suspend", "postgres"), ("resume", "postgres"), [("ConsumerNotReady", {"region": "region-b"})]
    ),
}


async def fires(fleet: Fleet, name: str, labels: dict[str, str]) -> bool:
    alerts = (await fleet.http.get(f"{fleet.at.prometheus}/api/v1/alerts")).json()["data"]["alerts"]
    found = [
        alert
        for alert in alerts
        if alert["state"] == "firing" and {"alertname": name, **labels}.items() <= alert["labels"].items()
    ]
    for alert in found:
        path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^## (.+)$", (ROOT / path).read_text(), re.MULTILINE)
        assert anchor in {heading.lower() for heading in headings}
    return bool(found)


async def quiet(fleet: Fleet, name: str, labels: dict[str, str]) -> bool:
    return not await fires(fleet, name, labels)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_fires_its_alert_and_its_end_ends_it(fleet: Fleet, fault: str) -> None:
    what = FAULTS[fault]
    for name, labels in what.alerts:
        await eventually(
            partial(quiet, fleet, name, labels), f"{name} is quiet before", within_s=ENDS_WITHIN_S, every_s=1
        )

    async with steady_writers(fleet):
        await fleet.control(*what.do)
        try:
            for name, labels in what.alerts:
                await eventually(
                    partial(fires, fleet, name, labels), f"{name} fires", within_s=FIRES_WITHIN_S, every_s=1
                )
        finally:
            await fleet.control(*what.undo)
        for name, labels in what.alerts:
            await eventually(
                partial(quiet, fleet, name, labels), f"{name} has ended", within_s=ENDS_WITHIN_S, every_s=1
            )
    await fleet.all_ready()
