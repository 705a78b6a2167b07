"""Routes of Loki's API that need no table: what is the same for all, and what is refused."""

from typing import Final

from fastapi import APIRouter, Response

from console.loki import answers
from console.loki.errors import NotHereError
from console.views import answer
from shared.wire.problem import NotFoundError

API: Final = "/loki/api/v1"
BOTH: Final = ["GET", "POST"]
_EVERY: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def add_fixed(router: APIRouter) -> None:
    """Add the routes whose answers are always the same."""

    @router.api_route(f"{API}/patterns", methods=BOTH)
    async def patterns() -> Response:
        """List no patterns: none are looked for."""
        return answer(answers.success([]))

    @router.get(f"{API}/drilldown-limits")
    async def limits() -> Response:
        """Tell what Grafana's Logs Drilldown may ask for."""
        known = {"discover_log_levels": True, "log_level_fields": ["level"], "max_entries_limit_per_query": 5000}
        known |= {"volume_enabled": True, "allow_structured_metadata": True, "metric_aggregation_enabled": False}
        return answer({"limits": known, "pattern_ingester_enabled": False, "version": answers.VERSION})

    @router.get(f"{API}/status/buildinfo")
    async def buildinfo() -> Response:
        """Tell which version of Loki this is like."""
        names = ("revision", "branch", "buildUser", "buildDate", "goVersion")
        return answer({"version": answers.VERSION} | dict.fromkeys(names, ""))


def add_refusals(router: APIRouter) -> None:
    """Add the routes that are refused with a sentence, the last of all."""

    @router.get(f"{API}/tail")
    async def tail() -> Response:
        """Refuse."""
        raise NotHereError("lines are followed by GET /api/logs/tail or ./setup.sh tail, not by Loki's tail")

    @router.api_route(f"{API}/push", methods=_EVERY)
    async def push() -> Response:
        """Refuse."""
        raise NotHereError("the console only reads; the gateway takes what is sent to /loki/api/v1/push")

    @router.api_route("/loki/{path:path}", methods=_EVERY)
    @router.api_route("/api/prom/{path:path}", methods=_EVERY)
    async def others(path: str) -> Response:
        """Refuse."""
        if path.partition("/")[2].startswith(("v1/delete", "v1/rules")) or path.startswith("rules"):
            raise NotHereError("lines are not deleted by request, and alerts are Prometheus' here; there are no rules")
        raise NotFoundError(f"{path[:64]!r} is not supported here; {API} has query, query_range, labels and series")
