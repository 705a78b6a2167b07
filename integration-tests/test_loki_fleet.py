"""Loki's query API on the running fleet, as Grafana asks it; and Grafana itself, where there is one."""

import json
import os

from functools import partial
from typing import Any, Final

import httpx
import pytest

from testbed.access import scheme
from testbed.patience import eventually
from testbed.running_fleet import Fleet, an_event

pytestmark = [pytest.mark.fleet, pytest.mark.both_modes]

CATEGORIZED: Final = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
# A Grafana that cannot do this answers so; then its data source is asked as Grafana would ask it.
CANNOT: Final = (404, 501)


async def ask(fleet: Fleet, path: str, **params: Any) -> Any:
    answer = await fleet.http.get(f"{fleet.at.console}/loki/api/v1/{path}", params=params, headers=CATEGORIZED)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_event_is_found_by_its_labels_and_by_what_is_known_of_it(fleet: Fleet) -> None:
    event = an_event(
        "a 'trace'", message="100% of it", level="ERROR", serviceName="o'brien", attributes={"http.status": 503}
    )
    answer = await fleet.post([event], batch=True)
    assert answer.status_code == 202
    await fleet.rows([event["eventId"]])
    query = '{service_name="o\'brien", level="error"} |~ "(?i)100% OF" | correlation_id="a \'trace\'" | http_status=503'

    found = await ask(fleet, "query_range", query=query, since="1h", limit=5000)
    counted = await ask(fleet, "query", query=f"sum by (level) (count_over_time({query}[1h]))")

    lines = [
        (line, known["structuredMetadata"]) for stream in found["data"]["result"] for _, line, known in stream["values"]
    ]
    assert ("100% of it", event["eventId"]) in [(line, known["event_id"]) for line, known in lines]
    assert all(known["http_status"] == "503" for _, known in lines)
    [one] = counted["data"]["result"]
    assert one["metric"] == {"level": "ERROR"}
    assert int(one["value"][1]) >= len(lines) > 0
    # The list is remembered for half a minute.
    await eventually(partial(is_listed, fleet, "o'brien"), "the service is listed", within_s=60, every_s=1)


async def is_listed(fleet: Fleet, service: str) -> bool:
    return service in (await ask(fleet, "label/service_name/values"))["data"]


async def test_the_data_source_is_healthy_and_has_frames(fleet: Fleet) -> None:
    event = an_event("of Grafana", message="for Grafana")
    assert (await fleet.post([event], batch=True)).status_code == 202
    await fleet.rows([event["eventId"]])
    login = httpx.BasicAuth("logs", os.environ.get("GRAFANA_PASSWORD", "logs"))
    try:
        listed = await fleet.http.get(f"{fleet.at.grafana}/api/datasources", auth=login)
    except httpx.ConnectError:
        # Native mode without the program.
        assert (await fleet.try_control("status"))[1].count("grafana            --  not installed") == 1
        await looks_healthy(fleet)
        return
    [source] = [one for one in listed.json() if one["uid"] == "fleet-logs"]
    assert (source["name"], source["type"]) == ("Logs", "loki")
    # Each variable of the environment was put in, and nothing that only looks like one was.
    assert source["url"].startswith(f"{scheme()}://")
    assert "FLEET_" not in json.dumps(source)

    health = await fleet.http.get(f"{fleet.at.grafana}/api/datasources/uid/fleet-logs/health", auth=login)
    if health.status_code in CANNOT:
        await looks_healthy(fleet)
        return
    assert health.json()["status"] == "OK", health.text
    query = {
        "refId": "A",
        "datasource": {"uid": "fleet-logs", "type": "loki"},
        "expr": f'{{service_name=~".+"}} | event_id="{event["eventId"]}"',
        "queryType": "range",
        "maxLines": 10,
    }
    answer = await fleet.http.post(
        f"{fleet.at.grafana}/api/ds/query", auth=login, json={"queries": [query], "from": "now-1h", "to": "now"}
    )
    [frame] = answer.json()["results"]["A"]["frames"]
    assert ["for Grafana"] in frame["data"]["values"]


async def looks_healthy(fleet: Fleet) -> None:
    """What Grafana asks to see whether a data source is well."""
    found = await ask(fleet, "query", query="vector(1)+vector(1)")
    [one] = found["data"]["result"]
    assert one["value"][1] == "2"
