"""The consumer's HTTP face, without the work behind it."""

from uuid import UUID

import httpx
import pytest

from starlette.types import ASGIApp, Receive, Scope, Send

from consumer.app import create_app, create_internal_app
from consumer.finding import TooManyQuestionsError
from consumer.metrics import ConsumerMetrics
from consumer.ports import SourceUnavailableError
from consumer.settings import ConsumerSettings
from shared.process.metrics import new_registry
from shared.process.probes import Readiness
from shared.wire import finding, replication
from shared.wire.finding import Copy, Found, Question
from shared.wire.replication import RegionReport
from testbed.doors import Doors

REPORT = RegionReport(region="region-a", age_s=0, spans={}, copies={})


class Service:
    """The work; PostgreSQL is away."""

    def readiness(self) -> Readiness:
        return Readiness(reasons=["postgres: refused"])


class Probe:
    """The probe of replication, which has seen what `seen` says."""

    def __init__(self) -> None:
        self.seen: RegionReport | None = REPORT

    def report(self) -> RegionReport | None:
        return self.seen


class Asked:
    """What looks for events; it has trouble, if a test says so."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble

    async def find(self, question: Question) -> Found:
        if self.trouble is not None:
            raise self.trouble
        return Found(region="region-a", copies=(Copy(topic="logs", partition=1, offset=2, at_ms=question.since_ms),))


def a_consumer(probe: Probe | None = None, asked: Asked | None = None, **changes: str) -> httpx.AsyncClient:
    """A client of both listeners; the host `internal` is the internal one's."""
    settings = ConsumerSettings(region="region-a", regions=("region-a", "region-b"), instance="one")
    registry = new_registry()
    ConsumerMetrics(registry, settings.region, settings.regions)
    doors = Doors(create_app(settings.model_copy(update=changes)), create_internal_app())
    app = with_state(
        doors, {"service": Service(), "replication": probe or Probe(), "finder": asked or Asked(), "registry": registry}
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://consumer")


def with_state(app: ASGIApp, state: dict[str, object]) -> ASGIApp:
    async def stateful(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": state}, receive, send)

    return stateful


@pytest.mark.parametrize("place", ["", "http://internal"])
@pytest.mark.parametrize("path", ["/health", "/metrics"])
async def test_what_is_asked_with_get_may_be_asked_with_head(path: str, place: str) -> None:
    async with a_consumer() as client:
        answer = await client.head(place + path)

    assert (answer.status_code, answer.content) == (200, b"")


async def test_replication_is_reported_to_the_fleet_alone() -> None:
    probe = Probe()
    async with a_consumer(probe) as client:
        outside = await client.get(replication.PATH)
        inside = await client.get("http://internal" + replication.PATH)
        probe.seen = None
        early = await client.get("http://internal" + replication.PATH)

    assert (outside.status_code, outside.headers["Internal-Port"]) == (404, "8182")
    assert RegionReport.decode(inside.content) == REPORT
    assert (early.status_code, early.headers["Retry-After"]) == (503, "1")


async def test_the_fleet_alone_asks_where_an_event_is() -> None:
    question = Question(event_id=UUID(int=1), time_us=1, correlation_id="c", since_ms=7)
    async with a_consumer() as client:
        outside = await client.post(finding.PATH, content=question.encode())
        inside = await client.post("http://internal" + finding.PATH, content=question.encode())
        wrong = await client.post("http://internal" + finding.PATH, content=b"{}")
        large = await client.post("http://internal" + finding.PATH, content=b" " * 5000)

    assert outside.status_code == 404
    assert Found.decode(inside.content).copies[0].at_ms == 7
    assert (wrong.status_code, large.status_code) == (400, 413)
    assert "event_id" in wrong.json()["detail"]


@pytest.mark.parametrize("trouble", [SourceUnavailableError("refused"), TooManyQuestionsError("ask again")])
async def test_a_consumer_that_cannot_look_for_an_event_says_why(trouble: Exception) -> None:
    question = Question(event_id=UUID(int=1), time_us=1, since_ms=7)
    async with a_consumer(asked=Asked(trouble)) as client:
        answer = await client.post("http://internal" + finding.PATH, content=question.encode())

    assert (answer.status_code, answer.json()["detail"]) == (503, str(trouble))


@pytest.mark.parametrize("security", ["open", "on"])
async def test_what_a_consumer_tells_of_itself_on_which_listener(security: str) -> None:
    async with a_consumer(security=security) as client:
        outside, inside = [
            {path: await client.get(place + path) for path in ("/ready", "/metrics")}
            for place in ("", "http://internal")
        ]

    assert {path: answer.status_code for path, answer in inside.items()} == {"/ready": 503, "/metrics": 200}
    assert inside["/ready"].json()["reasons"] == ["postgres: refused"]
    assert outside["/ready"].status_code == 503
    assert ("reasons" in outside["/ready"].json()) == (security == "open")
    assert outside["/metrics"].status_code == (200 if security == "open" else 404)
