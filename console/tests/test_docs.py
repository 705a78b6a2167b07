"""The document at `/openapi.json` says what the routes take."""

from fastapi.routing import APIRoute

from console.api import logs_router
from console.query import FILTERS, SEARCH
from console.tests.fakes import FakeStore
from console.tests.test_app import console
from console.trace_api import trace_router


async def test_each_route_is_described_with_its_parameters() -> None:
    async with console(FakeStore()) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        page = (await client.get("/docs")).text

    served = {
        route.path.replace("event_id", "eventId")
        for router in (logs_router(), trace_router())
        for route in router.routes
        if isinstance(route, APIRoute)
    }
    assert served <= set(paths)
    search = {parameter["name"] for parameter in paths["/api/logs"]["get"]["parameters"]}
    assert search == {*SEARCH, "attr.NAME"}
    assert {*FILTERS} <= {parameter["name"] for parameter in paths["/api/logs/histogram"]["get"]["parameters"]}
    assert "in the order in which rows were written" in page
