"""What a key must allow for each path of the gateway, and the form of a refusal."""

from collections.abc import Callable
from typing import Final

from fastapi import FastAPI
from starlette.types import Scope

from gateway.metrics import GatewayMetrics
from gateway.protocols.bulk_answers import PREFIX
from gateway.protocols.hec import EVENT_PATHS
from gateway.protocols.hec_answers import ROOT
from shared.access.keys import KeyRing
from shared.access.needs import ANY_KEY, PUBLIC, READ, READS, SEEN, WRITE, Needs, Rule
from shared.access.watched import Watched
from shared.ingest.head import Head
from shared.ingest.key_door import Form, KeyDoor
from shared.ingest.logs_api import BATCH, ONE, PROTOCOLS
from shared.ingest.protocol import Answering, Reply, problem_reply
from shared.ingest.routes import Routes
from shared.process.audit_acts import Acts
from shared.wire.internal import PREFIX as INTERNAL
from shared.wire.problem import ProblemError

_SHIPPED: Final = (
    *("/v1/logs", "/otlp/v1/logs", "/loki/api/v1/push", "/api/prom/push", "/ingest"),
    *("/_bulk", "/_bulk/", "/{index}/_bulk", "/{index}/_bulk/"),
    *(f"{PREFIX}/_bulk", f"{PREFIX}/_bulk/", f"{PREFIX}/{{index}}/_bulk", f"{PREFIX}/{{index}}/_bulk/"),
    *(f"{ROOT}{rest}" for rest in ("", "/event", "/event/1.0", "/raw", "/raw/1.0", "/ack", "/ack/1.0")),
)
# What a client of Elasticsearch asks before it sends events; below the prefix all of it is that.
_HANDSHAKES: Final = (
    *("/", "/_license", "/_xpack", "/_refresh", "/{index}/_refresh", "/_cat/health", "/_cat/templates/{name}"),
    *("/_nodes", "/_nodes/http", "/_nodes/{node}", "/_nodes/{node}/http"),
    *("/_cluster/health", "/_cluster/health/{index}"),
    *(f"/{kind}/{{name}}" for kind in ("_index_template", "_component_template", "_template")),
    *("/_ilm/policy/{name}", "/_ingest/pipeline/{name}", "/_data_stream/{name}", "/_alias/{name}"),
    "/_data_stream/{name}/_lifecycle",
)

RULES: Final = (
    # An answer says no more than that, and balancers have no keys.
    Rule("/health", PUBLIC, READS),
    Rule("/ready", PUBLIC, READS),
    # Always 404, with the port of the internal listener.
    Rule(f"{INTERNAL}/*", PUBLIC),
    Rule(ONE, READ, READS),
    Rule(ONE, WRITE),
    Rule(BATCH, WRITE),
    Rule(f"{ONE}/*", READ, READS),
    Rule("/api/replication", SEEN, READS),
    *(Rule(path, ANY_KEY, READS) for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect")),
    # Docker's driver asks so whether a collector is there, without its key.
    *(Rule(path, PUBLIC, ("OPTIONS",)) for path in EVENT_PATHS),
    *(Rule(path, WRITE) for path in _SHIPPED),
    *(Rule(f"{ROOT}/health{version}", WRITE, READS) for version in ("", "/1.0")),
    *(Rule(path, WRITE) for path in _HANDSHAKES),
    Rule(PREFIX, WRITE),
    Rule(f"{PREFIX}/*", WRITE),
    # Whether an index is there, and to make one with a date to be worked out, `<beat-{now/d}-1>`.
    Rule("/{index}", WRITE, ("HEAD",)),
    Rule("/{index}/{date}", WRITE, ("HEAD", "PUT")),
)
"""Nothing is allowed that is not here; a contract test compares it with the routes."""


def needs() -> Needs:
    """Return the table."""
    return Needs(RULES)


def refusals(routes: Routes) -> Form:
    """Return what puts a refusal into the words of the protocol that is spoken on a path."""

    def form(scope: Scope, error: ProblemError) -> Reply:
        path: str = scope["path"]
        protocol: Answering | None = PROTOCOLS.get(path) or routes.form(path)
        variable = ""
        if (found := routes.find(path)) is not None:
            protocol, variable = found.route.protocol, found.variable
        if protocol is None:
            return problem_reply(error)
        return protocol.refuse(error, None, Head(scope, variable))

    return form


def ask_for_keys(
    app: FastAPI, keys: Watched[KeyRing], metrics: GatewayMetrics, wall: Callable[[], float], *, form: Form, acts: Acts
) -> None:
    """
    Put a door around all else, so that what has no key takes no place and none of its body is read.

    Args:
        app: The application.
        keys: All keys.
        metrics: Where refusals are counted.
        wall: Seconds since 1970.
        form: Puts refusals into words.
        acts: Where they are noted.
    """
    metrics.keys_current.set_function(lambda: float(keys.problem is None))
    app.add_middleware(
        KeyDoor,
        keys=lambda: keys.value,
        needs=needs(),
        told=acts.counting(metrics.keys_refused),
        now=wall,
        form=form,
    )
