"""`/loki/api/v1/…`: what Grafana's Explore and `logcli` ask Loki for, answered from the table."""

import re

from collections.abc import Sequence
from typing import Final, TypeVar

from fastapi import APIRouter, Request, Response

from console.filter import EVERYTHING, Filter
from console.loki import answers
from console.loki.counting import Counted, Labels, Steps, count_lines, steps_of
from console.loki.elsewhere import API, BOTH, add_fixed, add_refusals
from console.loki.errors import LokiRoute, TimeOverError
from console.loki.fields import DETECTED_LEVEL, LABELS
from console.loki.lines import Lines, Range, find_lines
from console.loki.logql import parse_query, parse_selector
from console.loki.parameters import LokiParameters
from console.loki.syntax import Constant, Counting, Logs
from console.loki.wanted import filter_of
from console.parameters import split_query
from console.ports import Session
from console.runtime import read, runtime_of, tenant_of
from console.values import Field, Listed
from console.views import answer
from shared.event.levels import LEVELS
from shared.event.times import format_time, from_epoch_us
from shared.wire.problem import BadRequestError

QUERY_RANGE: Final = f"{API}/query_range"
_FLAGS: Final = "X-Loki-Response-Encoding-Flags"
_MAX_FORM_BYTES: Final = 64 * 1024
_SAMPLE: Final = 200
_MAX_VOLUMES: Final = 100
# Grafana asks for these with each letter that is typed, or for an overview.
_SHORT_S: Final = 0.5
_LIST_S: Final = 2.0
_NOTICED: Final = re.compile(r"Grafana/")
"""Clients that show the warnings of an answer; others would take a part of the lines for all of them."""

T = TypeVar("T")


def loki_router() -> APIRouter:
    """Build the routes."""
    # The protocol is Loki's, so its documentation has it.
    router = APIRouter(route_class=LokiRoute, include_in_schema=False)
    _add_queries(router)
    _add_labels(router)
    _add_sizes(router)
    _add_fields(router)
    add_fixed(router)
    add_refusals(router)
    return router


def _add_queries(router: APIRouter) -> None:
    @router.api_route(QUERY_RANGE, methods=BOTH)
    async def query_range(request: Request) -> Response:
        """Return lines, or counts of lines at each step."""
        given = await _parameters(request)
        asked = parse_query(given.needed("query"))
        if isinstance(asked, Logs):
            return await _lines(request, given, asked)
        within = given.range()
        if within.begin > within.end:
            raise BadRequestError("start must not be after end")
        step = given.step_us(within)
        window = asked.window_us if isinstance(asked, Counting) else step
        steps = steps_of(within.begin // 1000, within.end // 1000, step, window)
        if isinstance(asked, Constant):
            return answer(answers.success(answers.constant_steps(asked, steps)))
        counted = await read(request, lambda session: count_lines(session, filter_of(asked.logs), steps, asked.by))
        warnings = _missing(request, counted.reached_us, "counted")
        divisor = window / 10**6 if asked.a_second else 1.0
        return answer(answers.success(answers.matrix(counted, steps, divisor), warnings=warnings))

    @router.api_route(f"{API}/query", methods=BOTH)
    async def query(request: Request) -> Response:
        """Return counts of lines at one time, or a number."""
        given = await _parameters(request)
        asked = parse_query(given.needed("query"))
        at_us = given.time("time") // 1000
        if isinstance(asked, Constant):
            return answer(answers.success(answers.constant(asked, at_us)))
        if isinstance(asked, Logs):
            raise BadRequestError("lines have a range of time; ask query_range for them")
        steps = Steps(at_us, 1, 1, asked.window_us)
        counted = await read(request, lambda session: count_lines(session, filter_of(asked.logs), steps, asked.by))
        if counted.reached_us is not None:
            raise _too_much(counted.reached_us, "counted")
        divisor = asked.window_us / 10**6 if asked.a_second else 1.0
        found = {labels: values[0] / divisor for labels, values in sorted(counted.series.items()) if values}
        return answer(answers.success(answers.vector(found, at_us)))

    @router.api_route(f"{API}/format_query", methods=BOTH)
    async def format_query(request: Request) -> Response:
        """Return the query as it is, if it can be read."""
        query = (await _parameters(request)).needed("query")
        parse_query(query)
        return answer(answers.success(query))


async def _lines(request: Request, given: LokiParameters, logs: Logs) -> Response:
    if given.one("interval") not in (None, "0", "0s"):
        raise BadRequestError("interval is not supported here; leave it out, and ask for a narrower range")
    wanted, within, order, limit = filter_of(logs), given.lines_range(), given.order(), given.limit()
    found = await read(request, lambda session: find_lines(session, wanted, within, order, limit))
    runtime_of(request).metrics.rows.labels(QUERY_RANGE).inc(len(found.entries))
    warnings = _missing(request, found.reached_us, "looked at")
    categorized = answers.CATEGORIZE in request.headers.get(_FLAGS, "").split(",")
    return answer(answers.success(answers.streams(found.entries, categorized=categorized), warnings=warnings))


def _add_labels(router: APIRouter) -> None:
    @router.api_route(f"{API}/labels", methods=BOTH)
    @router.api_route(f"{API}/label", methods=BOTH)
    async def labels() -> Response:
        """List the labels."""
        return answer(answers.success(sorted(LABELS)))

    @router.get(f"{API}/label/{{name}}/values")
    async def values(request: Request, name: str) -> Response:
        """List the values of a label."""
        return answer(answers.success(await _values(request, name)))

    @router.api_route(f"{API}/series", methods=BOTH)
    async def series(request: Request) -> Response:
        """List the sets of labels."""
        given = await _parameters(request)
        filters: list[Filter] = [
            filter_of(parse_selector(text)) for text in given.many("match[]", "match", "query") if text
        ]
        found: dict[Labels, None] = {}
        warnings: list[str] = []
        for wanted in filters or [EVERYTHING]:
            counted, missing = await _counted(request, wanted, given.range(), None, _LIST_S)
            found |= dict.fromkeys(counted)
            warnings += missing
        return answer(answers.success([dict(labels) for labels in sorted(found)], warnings=warnings))


def _add_sizes(router: APIRouter) -> None:
    @router.api_route(f"{API}/index/stats", methods=BOTH)
    async def stats(request: Request) -> Response:
        """Tell how many streams and lines there are, as far as they can be counted in a moment; bytes are not known."""
        given = await _parameters(request)
        wanted = filter_of(parse_selector(given.one("query") or "{}"))
        counted, _ = await _counted(request, wanted, given.range(), None, _SHORT_S)
        return answer({"streams": len(counted), "chunks": len(counted), "entries": sum(counted.values()), "bytes": 0})

    @router.api_route(f"{API}/index/volume", methods=BOTH)
    async def volume(request: Request) -> Response:
        """Tell how many lines there are, by labels."""
        given = await _parameters(request)
        logs, within = parse_selector(given.one("query") or "{}"), given.range()
        counted, warnings = await _counted(request, filter_of(logs), within, _volume_labels(given, logs), _LIST_S)
        largest = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[: given.limit(_MAX_VOLUMES)]
        return answer(answers.success(answers.vector(dict(largest), within.end // 1000), warnings=warnings))

    @router.api_route(f"{API}/index/volume_range", methods=BOTH)
    async def volume_range(request: Request) -> Response:
        """Tell the same for each step."""
        given = await _parameters(request)
        logs, within = parse_selector(given.one("query") or "{}"), given.range()
        step = given.step_us(within)
        steps = steps_of(within.begin // 1000, within.end // 1000, step, step)
        by = _volume_labels(given, logs)
        counted = await read(request, lambda session: count_lines(session, filter_of(logs), steps, by))
        warnings = _missing(request, counted.reached_us, "counted")
        return answer(answers.success(answers.matrix(counted, steps), warnings=warnings))


def _add_fields(router: APIRouter) -> None:
    @router.api_route(f"{API}/detected_labels", methods=BOTH)
    async def detected_labels(request: Request) -> Response:
        """List the labels, and how many values each has."""
        found = [{"label": name, "cardinality": len(await _values(request, name))} for name in sorted(LABELS)]
        return answer({"detectedLabels": found})

    @router.api_route(f"{API}/detected_fields", methods=BOTH)
    async def detected_fields(request: Request) -> Response:
        """List what the newest lines have besides their labels."""
        sample = await _sample(request)
        return answer({"fields": answers.detected_fields(sample.entries), "limit": _SAMPLE})

    @router.api_route(f"{API}/detected_field/{{name}}/values", methods=BOTH)
    async def detected_values(request: Request, name: str) -> Response:
        """List the values of one of them."""
        sample = await _sample(request)
        return answer({"values": answers.field_values(sample.entries, name), "limit": _SAMPLE})


async def _parameters(request: Request) -> LokiParameters:
    pairs = split_query(request.scope["query_string"])
    if request.method == "POST":
        body = await request.body()
        if len(body) > _MAX_FORM_BYTES:
            raise BadRequestError(f"a form may have {_MAX_FORM_BYTES >> 10} KiB")
        pairs += split_query(body)
    return LokiParameters(pairs, runtime_of(request).wall_us())


async def _values(request: Request, name: str) -> Sequence[str]:
    if name in ("level", DETECTED_LEVEL):
        return LEVELS if name == "level" else [level.lower() for level in LEVELS]
    if name == "late":
        return ["false", "true"]
    if name not in ("service_name", "region"):
        return []
    runtime, field = runtime_of(request), Field.SERVICE if name == "service_name" else Field.REGION

    async def find(session: Session) -> Listed:
        return await runtime.values.find(field, tenant_of(request), runtime.wall_us(), session)

    known = runtime.values.known(field, tenant_of(request))
    return (known if known is not None else await read(request, find)).values


async def _counted(
    request: Request, wanted: Filter, within: Range, by: Sequence[str] | None, budget_s: float
) -> tuple[dict[Labels, int], list[str]]:
    """Count the lines of a range, as far as there is time; and tell what is missing."""
    begin, end = within.span.begin, max(within.span.end, within.span.begin + 1)
    steps = Steps(end - 1, 1, 1, end - begin)

    async def count(session: Session) -> Counted:
        return await count_lines(session, wanted, steps, by, budget_s=budget_s, in_part=True)

    counted = await read(request, count)
    missing = [] if counted.reached_us is None else [_too_much(counted.reached_us, "counted").detail]
    return {labels: values[0] for labels, values in counted.series.items() if values}, missing


async def _sample(request: Request) -> Lines:
    given = await _parameters(request)
    wanted, within, order = filter_of(parse_selector(given.one("query") or "{}")), given.lines_range(), given.order()
    return await read(request, lambda session: find_lines(session, wanted, within, order, _SAMPLE, budget_s=_LIST_S))


def _volume_labels(given: LokiParameters, logs: Logs) -> tuple[str, ...]:
    """Return by which labels volumes are told apart: by those that are named, else by those of the query."""
    named = [label for text in given.many("targetLabels") for label in text.split(",") if label]
    return tuple(dict.fromkeys(named or [matcher.label for matcher in logs.matchers] or ["service_name"]))


def _missing(request: Request, reached_us: int | None, what: str) -> list[str]:
    if reached_us is None:
        return []
    error = _too_much(reached_us, what)
    if _NOTICED.match(request.headers.get("user-agent", "")):
        return [error.detail]
    raise error


def _too_much(reached_us: int, what: str) -> TimeOverError:
    reached = format_time(from_epoch_us(reached_us))
    return TimeOverError(
        f"the range was {what} up to {reached} only, then its time was over; ask for less of it at once, or by service_name"
    )
