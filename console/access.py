"""What a key must allow for each path of the console."""

from typing import Final

from console.views import LOGS
from shared.access.needs import ANY_KEY, PUBLIC, READ, READS, SEEN, Needs, Rule
from shared.wire.internal import PREFIX as INTERNAL

RULES: Final = (
    # An answer says no more than that, and balancers have no keys.
    Rule("/health", PUBLIC, READS),
    Rule("/ready", PUBLIC, READS),
    # Always 404, with the port of the internal listener.
    Rule(f"{INTERNAL}/*", PUBLIC),
    # Asks for the key. Its form is sent by the same page alone, and ending a session needs its cookie.
    Rule("/login", PUBLIC, (*READS, "POST")),
    Rule("/logout", PUBLIC, ("POST",)),
    # Style and script of the pages: the same for all, and known from the repository.
    Rule("/static/{version}/{name}", PUBLIC, READS),
    Rule(LOGS, READ, READS),
    Rule(f"{LOGS}/*", READ, READS),
    # Grafana and logcli ask by POST, too.
    Rule("/loki/*", READ),
    Rule("/api/prom/*", READ),
    *(Rule(path, READ, READS) for path in ("/", "/tail", "/events/{event_id}")),
    *(Rule(path, SEEN, READS) for path in ("/replication", "/api/replication", "/api/replication/history")),
    *(Rule(path, ANY_KEY, READS) for path in ("/docs", "/openapi.json")),
)
"""Nothing is allowed that is not here; a contract test compares it with the routes."""


def needs() -> Needs:
    """Return the table."""
    return Needs(RULES)
