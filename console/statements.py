"""
The statements by which stored events are read: fixed pieces; what a client sent is among their values. PURE.

Each names the tenant whose rows it may find. It reads them from `tenant_logs`, which has no others: one that forgot its condition would
still find none of them.
"""

from datetime import timedelta
from typing import Any, Final

from console.filter import Values
from console.ports import Group, Place, Slice
from console.query import By
from console.row import COLUMNS, MAX_SHOWN_MESSAGE
from shared.event.times import from_epoch_us

_MOST_WITH_ONE_ID: Final = 11
_SHORT: Final = f"left(message, {MAX_SHOWN_MESSAGE})"
_CUT: Final = f"octet_length(message) > {MAX_SHOWN_MESSAGE} AND length(message) > {MAX_SHOWN_MESSAGE}"
_FULL_COLUMNS: Final = ", ".join(COLUMNS) + ", false"
_SHORT_COLUMNS: Final = ", ".join(_SHORT if name == "message" else name for name in COLUMNS) + f", {_CUT}"


BY_ID: Final = (
    f"SELECT {_FULL_COLUMNS} FROM tenant_logs WHERE stored_id = stored_event_id($4, $1) "  # noqa: S608 - all fixed
    "AND event_time >= $2 AND event_time < $3 AND tenant_id = $4 "
    f"ORDER BY event_time DESC LIMIT {_MOST_WITH_ONE_ID}"
)

_GROUPS: Final = {
    Group.LEVEL: "level",
    Group.SERVICE: "service_name",
    Group.REGION: "origin_region",
    Group.LATE_REASON: "late_reason",
    Group.STREAM: "json_build_array(service_name, level, origin_region, late)::text",
    Group.NONE: "'all'",
}
NEWEST: Final = "SELECT seq FROM tenant_logs WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1"
# From one name to the next one by the index of services: as many steps as there are names, however many rows. Among other tenants' rows
# a step would pass over all of theirs.
SERVICES: Final = """
    WITH RECURSIVE names AS (
        (SELECT service_name FROM tenant_logs WHERE tenant_id = $2 ORDER BY service_name LIMIT 1)
        UNION ALL
        SELECT (
            SELECT service_name FROM tenant_logs WHERE tenant_id = $2 AND service_name > names.service_name ORDER BY service_name LIMIT 1
        )
        FROM names WHERE service_name IS NOT NULL
    )
    SELECT service_name FROM names WHERE service_name IS NOT NULL LIMIT $1
"""


def select_rows(wanted: Slice, tenant: int) -> tuple[str, list[Any]]:
    """Return the statement that finds a tenant's rows of a slice, one more than it may have, and its values."""
    values = Values()
    conditions = [_of(tenant, values), *_bounds(wanted, values), *wanted.filter.conditions(values)]
    direction = "DESC" if wanted.down else "ASC"
    order = f"event_time {direction}, seq {direction}" if wanted.by is By.TIME else f"seq {direction}"
    columns = _FULL_COLUMNS if wanted.full else _SHORT_COLUMNS
    limit = values.add(wanted.limit + 1)
    where = " AND ".join(conditions)
    # Of fixed pieces; what a client sent is among the values.
    return f"SELECT {columns} FROM tenant_logs WHERE {where} ORDER BY {order} LIMIT {limit}", values.all  # noqa: S608


def select_counts(
    wanted: Slice, tenant: int, group: Group, interval_us: int, origin_us: int = 0
) -> tuple[str, list[Any]]:
    """Return the statement that counts a tenant's rows of a slice, and its values."""
    values = Values()
    conditions = [_of(tenant, values), *_bounds(wanted, values), *wanted.filter.conditions(values)]
    if group is Group.LATE_REASON:
        conditions.append("late")
    width = values.add(timedelta(microseconds=interval_us))
    bucket = f"date_bin({width}, event_time, {values.add(from_epoch_us(origin_us))})"
    where = " AND ".join(conditions)
    return (
        f"SELECT (extract(epoch FROM {bucket}) * 1000000)::bigint, {_GROUPS[group]}, count(*) "  # noqa: S608 - as above
        f"FROM tenant_logs WHERE {where} GROUP BY 1, 2",
        values.all,
    )


def _of(tenant: int, values: Values) -> str:
    return f"tenant_id = {values.add(tenant)}"


def _bounds(wanted: Slice, values: Values) -> list[str]:
    if wanted.by is By.TIME:
        return bounds_by_time(wanted.down, wanted.at, wanted.stop, values)
    low, high = (wanted.stop, wanted.at[0]) if wanted.down else (wanted.at[0], wanted.stop)
    begin, end = from_epoch_us(wanted.span.begin), from_epoch_us(wanted.span.end)
    return [
        f"seq >= {values.add(low)}",
        f"seq < {values.add(high)}",
        f"event_time >= {values.add(begin)}",
        f"event_time < {values.add(end)}",
    ]


def bounds_by_time(down: bool, at: Place, stop: int, values: Values) -> list[str]:  # noqa: FBT001 - of a slice
    """Return the conditions on event time and number of a slice in the order of time."""
    here, there = values.add(from_epoch_us(at[0])), values.add(from_epoch_us(stop))
    seq = values.add(at[1]) if at[1] else None
    if down:
        first = f"event_time <= {here} AND (event_time < {here} OR seq < {seq})" if seq else f"event_time < {here}"
        return [f"event_time >= {there}", first]
    first = f"event_time >= {here}" + (f" AND (event_time > {here} OR seq > {seq})" if seq else "")
    return [first, f"event_time < {there}"]
