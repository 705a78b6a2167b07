"""An API of the console that answers from memory, for pages in states that a real one is hard to bring into."""

import asyncio
import json

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from console.pages.pages import add_pages
from console.pages.views.moments import parse
from shared.process import problems
from shared.process.head import HeadAsGet

NOW = datetime(2026, 11, 26, 14, 15, tzinfo=UTC)
_LEVELS = ["INFO", "DEBUG", "INFO", "INFO", "WARN", "INFO", "TRACE", "INFO", "ERROR", "INFO"]
_SERVICES = ["checkout", "payments", "inventory", "gateway-eu", "search"]
_MESSAGES = [
    "order 8{n} accepted, 3 items, total 41.20 EUR",
    "cache miss for cart:{n}, asked the store",
    "GET /api/products/{n} 200 in 14 ms",
    "payment authorised by bank-2 after 212 ms",
    "retry 2 of 5: connection to inventory reset by peer",
    "shipment 77{n} handed to the carrier",
    "span 4f{n} closed",
    "session of user {n} renewed",
    "payment of order 8{n} failed: timeout after 3000 ms while waiting for bank-2 (PaymentTimeoutException)",
    "queue length 12, oldest 0.4 s",
]


def iso(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def row(number: int, **changes: Any) -> dict[str, Any]:
    """Return an event; the larger its number, the earlier it happened."""
    at = NOW - timedelta(milliseconds=731 * number, microseconds=17 * number)
    return {
        "eventId": f"019ab0c4-0000-7000-8000-{number:012d}",
        "timestamp": iso(at),
        "serviceName": _SERVICES[number * 7 % 5],
        "level": _LEVELS[number % 10],
        "message": _MESSAGES[number % 10].format(n=1000 + number),
        "correlationId": f"trace-{number // 4}",
        "attributes": {"http.status": 200 + number % 3, "user": f"u{number}", "retry": number % 2 == 0, "note": None},
        "region": "region-b" if number % 3 == 0 else "region-a",
        "receivedAt": iso(at + timedelta(milliseconds=2.2)),
        "storedAt": iso(at + timedelta(milliseconds=1185)),
        "storedBy": "region-a/consumer-a/17",
        "seq": 48211 - number,
        "late": number % 41 == 40,
        **({"lateReason": "watermark"} if number % 41 == 40 else {}),
    } | changes


@dataclass
class FakeApi:
    """
    What the API would say.

    Attributes:
        rows: Events, newest first.
        problems: Paths that are refused, with status and reason.
        traces: Answers of `/trace`, by event id.
        replication: What the gateway says; None while it does not answer.
        slices: Rows that one request finds at most, whatever was asked for.
        asked: What was asked for.
        stream: What the tail's newest connection sends next: texts of server-sent events; None ends it.
        positions: The position that each request for the tail began at.
        several: Events that share an id.
        past: How replication was; None while Prometheus does not answer.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: dict[str, tuple[int, str]] = field(default_factory=dict)
    traces: dict[str, dict[str, Any]] = field(default_factory=dict)
    replication: dict[str, Any] | None = None
    slices: int = 1000
    asked: list[str] = field(default_factory=list)
    stream: "asyncio.Queue[str | None]" = field(default_factory=asyncio.Queue)
    positions: list[str | None] = field(default_factory=list)
    several: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    past: dict[str, Any] | None = None

    def app(self) -> FastAPI:
        """Build an application with this API and the pages."""
        app = FastAPI(title="fake", openapi_url=None, redirect_slashes=False)
        problems.install(app)
        app.get("/api/logs")(self.search)
        app.get("/api/logs/histogram")(self.histogram)
        app.get("/api/logs/values/service")(self.values)
        app.get("/api/logs/tail")(self.tail)
        app.get("/api/logs/{event_id}")(self.event)
        app.get("/api/logs/{event_id}/context")(self.context)
        app.get("/api/logs/{event_id}/trace")(self.trace)
        app.get("/api/replication/history")(self.history)
        add_pages(app, gateway_url="http://gateway", gateway=httpx.MockTransport(self._gateway))
        app.add_middleware(HeadAsGet)
        return app

    def _refused(self, request: Request) -> JSONResponse | None:
        self.asked.append(str(request.url))
        for path, (status, detail) in self.problems.items():
            if request.url.path.startswith(path):
                return JSONResponse({"status": status, "detail": detail}, status, media_type="application/problem+json")
        return None

    def _found(self, request: Request) -> list[dict[str, Any]]:
        asked = request.query_params
        exact = [("service", "serviceName"), ("region", "region"), ("correlationId", "correlationId")]
        found = self.rows
        for name, of_row in exact:
            if wanted := asked.getlist(name):
                found = [one for one in found if one[of_row] in wanted]
        for text in asked.getlist("text"):
            found = [one for one in found if text.lower() in one["message"].lower()]
        if levels := asked.get("levels"):
            found = [one for one in found if one["level"] in levels.split(",")]
        return found

    async def search(self, request: Request) -> Any:
        if refused := self._refused(request):
            return refused
        found = self._found(request)
        if request.query_params.get("order") == "asc":
            found = found[::-1]
        begin = int(request.query_params.get("cursor", "c1.0").removeprefix("c1."))
        end = begin + min(int(request.query_params.get("limit", 100)), self.slices)
        rest = end < len(found)
        return {
            "items": found[begin:end],
            "next": f"c1.{end}" if rest else None,
            "prev": None,
            "searchedFrom": found[min(end, len(found)) - 1]["timestamp"] if found else iso(NOW),
            "searchedTo": iso(NOW),
            "complete": not rest,
            "tookMs": 38,
        }

    async def histogram(self, request: Request) -> Any:
        if refused := self._refused(request):
            return refused
        begin = NOW - timedelta(minutes=15)
        buckets: dict[datetime, dict[str, int]] = {}
        for one in self._found(request):
            at = parse(one["timestamp"])
            if at is None or not begin <= at < NOW:
                continue
            at -= timedelta(seconds=at.second % 10, microseconds=at.microsecond)
            counts = buckets.setdefault(at, {})
            counts[one["level"]] = counts.get(one["level"], 0) + 1
        return {
            "from": iso(begin),
            "to": iso(NOW),
            "interval": "10s",
            "intervalMs": 10000,
            "by": "level",
            "buckets": [{"at": iso(at), "counts": counts} for at, counts in sorted(buckets.items())],
            "complete": True,
            "searchedFrom": iso(begin),
            "searchedTo": iso(NOW),
            "tookMs": 3,
        }

    async def values(self) -> Any:
        return {"values": sorted({one["serviceName"] for one in self.rows}), "complete": True}

    def _one(self, event_id: str) -> int | None:
        return next((at for at, one in enumerate(self.rows) if one["eventId"] == event_id), None)

    async def event(self, request: Request, event_id: str) -> Any:
        if refused := self._refused(request):
            return refused
        if event_id in self.several:
            return JSONResponse({"items": self.several[event_id]}, 300)
        at = self._one(event_id)
        if at is None:
            return JSONResponse({"status": 404, "detail": "no event with this id is in the store"}, 404)
        return self.rows[at]

    async def context(self, event_id: str, before: int = 20, after: int = 20) -> Any:
        at = self._one(event_id)
        if at is None:
            return JSONResponse({"status": 404, "detail": "no event with this id is in the store"}, 404)
        return {
            "before": self.rows[at + 1 : at + 1 + before][::-1],
            "event": self.rows[at],
            "after": self.rows[max(0, at - after) : at][::-1],
        }

    async def trace(self, event_id: str) -> Any:
        if event_id in self.traces:
            return self.traces[event_id]
        return JSONResponse({"status": 501, "detail": "not built"}, 501)

    async def history(self) -> Any:
        return self.past or JSONResponse(
            {"status": 503, "detail": "Prometheus does not answer; it alone remembers"}, 503
        )

    def _gateway(self, _: httpx.Request) -> httpx.Response:
        if self.replication is None:
            raise httpx.ConnectError("connection refused")
        return httpx.Response(200, json=self.replication)

    async def tail(self, request: Request) -> Any:
        if refused := self._refused(request):
            return refused
        self.positions.append(request.headers.get("last-event-id"))
        # A connection that its client has left may still wait for its queue.
        mine = self.stream = self.stream if len(self.positions) == 1 else asyncio.Queue()

        async def body() -> AsyncIterator[str]:
            yield "retry: 50\n\n"
            while (text := await mine.get()) is not None:
                yield text

        return StreamingResponse(body(), media_type="text/event-stream")

    def send(self, event: str, data: Any, position: str | None = None) -> None:
        """Let the tail send an event."""
        head = f"id: {position}\n" if position else ""
        self.stream.put_nowait(f"{head}event: {event}\ndata: {json.dumps(data)}\n\n")

    def cut(self) -> None:
        """Let the tail's connection end."""
        self.stream.put_nowait(None)
