"""
What schemathesis makes of the gateway's OpenAPI document: requests that fit it, and such that almost do. None ends in a 5xx.

Log shippers' routes are not in that document, since their protocols are described elsewhere. `SHIPPERS` has what these say of
their bodies, in the same words. Whatever is valid ends in a sink that acknowledges everything, and readers are passed on to a
console with events in memory: so an error of the service is the gateway's own, or the console's.
"""

import asyncio
import json
import threading

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, Final

import httpx
import pytest
import schemathesis

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from served import both_served

from console.app import create_app as create_console
from console.app import create_internal_app as create_internal_console
from console.settings import ConsoleSettings
from console.tests.fakes import FakeStore
from console.tests.test_app import NOW, some_rows
from gateway.app import create_app, create_internal_app
from gateway.protocols.table import ROUTES
from gateway.settings import GatewaySettings
from shared.event.outcome import Accepted
from shared.event.times import epoch_us
from shared.ingest.head import Head
from shared.tests import profiles
from shared.wire import handoff
from testbed.patience import patience

profiles.load()

JSON, TEXT = "application/json", "text/plain"
REGIONS: Final = ("region-a", "region-b")


class Sink(httpx.AsyncBaseTransport):
    """Producers that acknowledge everything."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a hand-off, or a check."""
        if request.url.path != handoff.PATH:
            return httpx.Response(200)
        body = await request.aread()
        events = body.count(b"\n") + (not body.endswith(b"\n"))
        return httpx.Response(200, content=handoff.encode_outcomes([Accepted(REGIONS[0])] * events))


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": 5}


TEXTS: Final = {"type": "string"}
NUMBERS: Final = {"type": ["integer", "string"]}
ANY_VALUE: Final = {
    "anyOf": [
        {"type": "null"},
        _object(stringValue=TEXTS),
        _object(intValue=NUMBERS),
        _object(boolValue={"type": "boolean"}),
        _object(doubleValue={"type": ["number", "string"]}),
        _object(bytesValue=TEXTS),
        _object(arrayValue=_object(values=_list(_object(stringValue=TEXTS)))),
    ]
}
PAIRS: Final = _list(_object(key=TEXTS, value=ANY_VALUE))
LOG: Final = _object(
    timeUnixNano=NUMBERS,
    severityNumber={"type": ["integer", "string"]},
    severityText=TEXTS,
    body=ANY_VALUE,
    attributes=PAIRS,
    traceId=TEXTS,
    spanId=TEXTS,
    flags={"type": "integer"},
)
OTLP: Final = _object(
    resourceLogs=_list(
        _object(
            resource=_object(attributes=PAIRS),
            scopeLogs=_list(_object(scope=_object(name=TEXTS, attributes=PAIRS), logRecords=_list(LOG))),
        )
    )
)
LABELS: Final = {"type": "object", "additionalProperties": TEXTS, "maxProperties": 4}
ENTRY: Final = {"type": "array", "prefixItems": [NUMBERS, TEXTS, LABELS], "minItems": 2, "maxItems": 3}
LOKI: Final = {
    "type": "object",
    "required": ["streams"],
    **_object(streams=_list(_object(stream=LABELS, values=_list(ENTRY)))),
}
BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "otlp": {JSON: OTLP},
    "loki": {JSON: LOKI},
    "bulk": {TEXT: TEXTS, JSON: {}},
    "hec": {JSON: _object(time=NUMBERS, host=TEXTS, event={}, fields=LABELS), TEXT: TEXTS},
    "ingest": {JSON: {}, TEXT: TEXTS},
}


def shippers() -> dict[str, Any]:
    """Return an OpenAPI document of the routes for log shippers."""
    paths: dict[str, Any] = {}
    seen: set[tuple[str, bool]] = set()
    for route in ROUTES:
        kind_of_path = route.name, "{" in route.path
        if kind_of_path in seen:  # what answers on the others is the same
            continue
        seen.add(kind_of_path)
        content = {kind: {"schema": schema} for kind, schema in BODIES[route.name].items()}
        variables = [part.strip("{}") for part in route.path.split("/") if part.startswith("{")]
        parameters = [{"name": n, "in": "path", "required": True, "schema": TEXTS} for n in variables]
        parameters += [
            {"name": n, "in": "header", "schema": TEXTS} for n in ("X-Region", "X-Scope-OrgID", "Idempotency-Key")
        ]
        if route.name == "ingest":
            names = ("preset", "time", "message", "level", "service", "trace", "id", "host")
            parameters += [{"name": n, "in": "query", "schema": TEXTS} for n in names]
        operation = {
            "parameters": parameters,
            "requestBody": {"required": True, "content": content},
            "responses": {"200": {"description": "All is durable."}},
        }
        paths[route.path] = {method.lower(): operation for method in route.methods}
    return {"openapi": "3.1.0", "info": {"title": "shippers", "version": "1"}, "paths": paths}


def gateway_document() -> dict[str, Any]:
    """Return the gateway's own."""
    app = create_app(GatewaySettings(regions=dict.fromkeys(REGIONS, "http://region.invalid")))
    return json.loads(json.dumps(app.openapi()))  # type: ignore[no-any-return]


DOCUMENTS: Final = {"gateway": gateway_document(), "shippers": shippers()}
# Its answer has no end.
TAIL: Final = "/api/logs/tail"
OPERATIONS: Final = [
    (name, method, path)
    for name, document in DOCUMENTS.items()
    for path, item in document["paths"].items()
    for method in item
    if path != TAIL
]


class Gateway:
    """A gateway on a socket, in a thread of its own, so that tests may be ordinary functions."""

    def __init__(self) -> None:
        self._address: Future[str] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        console = create_console(ConsoleSettings(), store=FakeStore(some_rows(20)), wall_us=lambda: epoch_us(NOW))
        try:
            async with both_served(console, create_internal_console(console)) as (_, reading):
                settings = GatewaySettings(
                    regions=dict.fromkeys(REGIONS, "http://region.invalid"), linger_ms=1, console=reading
                )
                app = create_app(settings, transports={region: Sink() for region in REGIONS})
                async with both_served(app, create_internal_app()) as (public, _):
                    self._address.set_result(public)
                    await self._done.wait()
        except BaseException as exc:
            if not self._address.done():
                self._address.set_exception(exc)
            raise

    def __enter__(self) -> str:
        """Start, and return the address."""
        self._thread.start()
        return self._address.result(patience(30))

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with Gateway() as found:
        yield found


def requests_of(name: str, method: str, path: str) -> st.SearchStrategy[schemathesis.Case[Any]]:
    """Return requests that fit the document, and such that almost do."""
    operation = schemathesis.openapi.from_dict(DOCUMENTS[name])[path][method.upper()]
    fitting = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    try:
        almost = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        return fitting | almost
    except schemathesis.errors.InvalidSchema:  # nothing of it can be wrong
        return fitting


def answer(client: httpx.Client, case: schemathesis.Case[Any]) -> httpx.Response:
    """Make a request as schemathesis drew it."""
    sent = case.as_transport_kwargs()
    return client.request(
        sent["method"],
        sent["url"],
        params=sent.get("params"),
        headers=[(str(name), str(value)) for name, value in (sent.get("headers") or {}).items()],
        content=json.dumps(sent["json"]) if sent.get("json") is not None else sent.get("data") or b"",
    )


def look(name: str, method: str, path: str, address: str, phases: Sequence[Phase] = tuple(Phase)) -> list[int]:
    """Make requests until one ends in an error of the service, and return the statuses of all."""
    drawn: list[int] = []

    @settings(
        max_examples=max(10, settings().max_examples // 4),
        suppress_health_check=list(HealthCheck),
        deadline=None,
        database=None,
        phases=phases,
    )
    @given(requests_of(name, method, path))
    def no_error(case: schemathesis.Case[Any]) -> None:
        found = answer(client, case)
        drawn.append(found.status_code)
        assert found.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, found.text

    # After an error the server ends the connection, and the next request must not meet that.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=address, timeout=patience(10), trust_env=False, limits=limits) as client:
        no_error()
    return drawn


@pytest.mark.real_time
@pytest.mark.parametrize(("name", "method", "path"), OPERATIONS)
def test_no_request_ends_in_an_error_of_the_service(name: str, method: str, path: str, address: str) -> None:
    statuses = look(name, method, path, address)

    assert set(statuses) & {200, 202, 204, 207, 400}, statuses


@pytest.mark.real_time
@pytest.mark.parametrize(("name", "path"), [("gateway", "/api/logs/batch"), ("shippers", "/v1/logs")])
def test_an_error_that_is_planted_is_found(name: str, path: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    regular = Head.region

    def region(head: Head, known: Sequence[str]) -> str | None:
        if head.first(b"x-region"):
            raise KeyError("a region that is not looked for with care")
        return regular(head, known)

    monkeypatch.setattr(Head, "region", region)

    with pytest.raises(AssertionError):
        look(name, "post", path, address, [Phase.generate])
