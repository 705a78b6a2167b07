"""*Logs*: what is in the table. Search, the trace of one correlationId, what came late, what came twice."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.models import dashboard as models

from boards.board import ALL, EVENTS, EVENTS_TITLE, add_row, board, choice, choice_from_table, words
from boards.panels import GRID_WIDTH, RATE, REGION, Column, Drawn, Panel, Prom, Sql

LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_LEVELS: Final = ", ".join(f"'{level}'" for level in LEVELS)

# All regions, for Prometheus as well.
ANY: Final = ".*"
# The rows of the time range that the variables select. Each may hold what a client wrote, or what a link to this page says.
# Text is searched literally, and without regard to case in all alphabets: the database's own locale, C, knows only English.
FOUND: Final = f"""\
WHERE $__timeFilter(event_time)
  AND ('$region' = '.*' OR origin_region = '$region')
  AND ('$service' = '*' OR service_name = '$service')
  AND array_position(ARRAY[{_LEVELS}], level) >= array_position(ARRAY[{_LEVELS}], '$level')
  AND ('$correlationId' = '' OR correlation_id = '$correlationId')
  AND ('$text' = '' OR position(lower('$text' COLLATE "und-x-icu") IN lower(message COLLATE "und-x-icu")) > 0)
  AND ('$late' = 'all' OR late)"""

# The correlation id that was typed in. Else that of the newest event, so that the panel shows an example.
TRACE: Final = """\
WITH chosen AS (
    SELECT coalesce(
        nullif('$correlationId', ''),
        (SELECT correlation_id FROM logs WHERE $__timeFilter(event_time) ORDER BY event_time DESC LIMIT 1)
    ) AS id
)
SELECT event_time AS "time", level, service_name AS "service", message, origin_region AS "region",
       1000 * extract(epoch FROM received_at - event_time)::float8 AS "to receipt",
       1000 * extract(epoch FROM stored_at - received_at)::float8 AS "to storage",
       coalesce(late_reason, 'in order') AS "order", stored_by AS "stored by", event_id::text AS "eventId",
       correlation_id AS "correlationId", attributes::text AS "attributes"
FROM logs JOIN chosen ON correlation_id = chosen.id
WHERE $__timeFilter(event_time)
ORDER BY event_time, seq LIMIT 1000"""

HERE: Final = "/d/logs?${__url_time_range}"
TO_TRACE: Final = Column(
    "correlationId",
    link=f"{HERE}&var-correlationId=${{__value.raw:percentencode}}",
    link_title="Trace of this correlationId",
    also={EVENTS_TITLE: f"{EVENTS}&correlationId=${{__value.raw:percentencode}}"},
)
TO_LATE: Final = Column(
    "reason",
    link=f"{HERE}&var-late=late",
    link_title="Show what came late",
    also={EVENTS_TITLE: f"{EVENTS}&late=true&lateReason=${{__value.raw:percentencode}}"},
)
TO_LIFE: Final = Column(
    "eventId",
    link="${console:raw}/events/${__value.raw:percentencode}",
    link_title="Its life, and the events around it",
)
TO_SERVICE: Final = Column(
    "service", link=f"{HERE}&var-service=${{__value.raw:percentencode}}", link_title="Logs of this service"
)


def build() -> dashboards.Dashboard:
    """Build the dashboard."""
    built = board(
        "Logs",
        "logs",
        "What was logged; the way of one correlationId through all services and both regions.",
        refresh="30s",
    )
    built.with_variable(words("correlationId", "correlationId"))
    built.with_variable(choice_from_table("service", "Service", _found("service_name")))
    built.with_variable(choice("level", "At least", [(level, level) for level in LEVELS]))
    built.with_variable(words("text", "Text"))
    built.with_variable(choice_from_table("region", "Region", _found("origin_region", ANY), everything=ANY))
    built.with_variable(choice("late", "Order", [("all", "all events"), ("late", "late ones only")]))
    built.link(
        dashboards.DashboardLink("Clear the search").type(models.DashboardLinkType.LINK).url("/d/logs").keep_time(True)  # noqa: FBT003 - the SDK's signature
    )
    add_row(built, "Search", _search())
    add_row(built, "The trace of one correlationId", [_trace()])
    add_row(built, "Late", _late())
    add_row(built, "Twice", _twice())
    return built


def _found(column: str, everything: str = ALL) -> str:
    """Return the statement of a variable that offers all values together, or one that a column has in the time range."""
    return (
        f"SELECT 'all' AS __text, '{everything}' AS __value UNION ALL "  # noqa: S608 - the parts are our own
        f"(SELECT DISTINCT {column}, {column} FROM logs WHERE $__timeFilter(event_time) ORDER BY 1 LIMIT 1000)"
    )


def _search() -> list[Drawn]:
    return [
        Panel(
            title="Events found",
            description="By level, over event time: what the fields above leave of the time range.",
            unit="short",
            queries=[
                Sql(
                    'SELECT $__timeGroupAlias(event_time, $__interval), level AS metric, count(*) AS "events" '  # noqa: S608 - the parts are our own
                    f"FROM logs\n{FOUND}\nGROUP BY 1, 2 ORDER BY 1",
                    over_time=True,
                )
            ],
        ).areas(width=GRID_WIDTH),
        Panel(
            title="Events",
            description="The newest 500 that were found. A click on a correlationId shows its trace below.",
            unit="none",
            queries=[
                Sql(
                    'SELECT event_time AS "time", level, service_name AS "service", message, correlation_id AS "correlationId", '
                    'origin_region AS "region", coalesce(late_reason, \'in order\') AS "order", event_id::text AS "eventId", '
                    'attributes::text AS "attributes"\n'
                    f"FROM logs\n{FOUND}\nORDER BY event_time DESC LIMIT 500"
                )
            ],
        ).rows([TO_TRACE, TO_SERVICE, TO_LIFE, Column("time", width=190), Column("level", width=80)], height=14),
    ]


def _trace() -> Drawn:
    return Panel(
        title="Trace",
        description="All events of the correlationId above, in order, from all services. While the field is empty, those of the newest event's correlationId.",
        unit="none",
        queries=[Sql(TRACE)],
    ).rows(
        [
            TO_TRACE,
            TO_SERVICE,
            TO_LIFE,
            Column("time", width=190),
            Column("level", width=80),
            Column("to receipt", unit="ms", width=110),
            Column("to storage", unit="ms", width=110),
        ],
        height=12,
    )


def _late() -> list[Drawn]:
    return [
        Panel(
            title="Late by reason",
            description="Delayed at the client, come late through the mirror, held up here, from the future, or overtaken by what was. A click shows them above.",
            unit="short",
            queries=[
                Sql(
                    'SELECT r.reason, count(l.event_id) AS "events", percentile_disc(0.5) WITHIN GROUP (ORDER BY l.late_by_ms) '
                    'AS "half by at most", max(l.late_by_ms) AS "at most"\n'
                    "FROM unnest(ARRAY['delayed', 'replication_backlog', 'pipeline', 'clock_skew', 'overtaken']) AS r (reason)\n"
                    "LEFT JOIN logs l ON l.late_reason = r.reason AND $__timeFilter(l.event_time)\n"
                    "GROUP BY 1 ORDER BY 2 DESC, 1"
                )
            ],
        ).rows([TO_LATE, Column("half by at most", unit="ms"), Column("at most", unit="ms")], width=GRID_WIDTH // 3),
        Panel(
            title="Late over time",
            description="By event time: all that was stored, and what of it came late.",
            unit="short",
            queries=[
                Sql(
                    'SELECT $__timeGroupAlias(event_time, $__interval), count(*) AS "all", count(*) FILTER (WHERE late) AS "late" '
                    "FROM logs WHERE $__timeFilter(event_time) GROUP BY 1 ORDER BY 1",
                    over_time=True,
                )
            ],
        ).graph(),
        Panel(
            title="Late by service",
            description="Whose events come late, and by how much at most. One service alone: its clock, or it sends late.",
            unit="short",
            queries=[
                Sql(
                    'SELECT service_name AS "service", count(*) FILTER (WHERE late) AS "late", count(*) AS "all", '
                    'coalesce(max(late_by_ms), 0) AS "at most"\n'
                    "FROM logs WHERE $__timeFilter(event_time) GROUP BY 1 ORDER BY 2 DESC, 3 DESC LIMIT 100"
                )
            ],
        ).rows([TO_SERVICE, Column("at most", unit="ms")], width=GRID_WIDTH // 3),
    ]


def _twice() -> list[Drawn]:
    return [
        Panel(
            title="Duplicates recognised",
            description="By the layer that knew them. They are not in the table: copies of the other region, and retries with the same identity.",
            unit="cps",
            queries=[
                Prom(f"sum by (region, layer) (rate(dedup_hits_total{{{REGION}}}{RATE}))", "{{region}} {{layer}}")
            ],
        ).areas(),
        Panel(
            title="Alike, under several ids",
            description="Same time, correlationId, level and message and yet other eventIds. Many: a client retries without an identity of its own.",
            unit="short",
            queries=[
                Sql(
                    'SELECT service_name AS "service", count(*) AS "events", '
                    'count(*) - count(DISTINCT (event_time, correlation_id, level, message)) AS "alike"\n'
                    "FROM logs WHERE $__timeFilter(event_time) GROUP BY 1 ORDER BY 3 DESC, 2 DESC LIMIT 100"
                )
            ],
        ).rows([TO_SERVICE], width=GRID_WIDTH * 2 // 3),
    ]
