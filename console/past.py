"""
The past of replication, from what Prometheus kept of the gateway's metrics. PURE.

The queries are fixed: what a reader sends chooses the span and nothing else.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from console.growth import growth

UP: Final = "min by (source, target) (replication_up)"
EXPOSED: Final = "max by (source, target) (replication_lag_records)"
LAG: Final = "max by (source, target) (replication_lag_seconds)"
ACCEPTED: Final = 'sum by (region) (rate(gateway_events_total{outcome="accepted"}[1m]))'
# The counters themselves: what they grew by in a split is counted here.
LATE: Final = "sum by (region, instance) (reorder_late_arrivals_total)"
DUPLICATES: Final = "sum by (region, instance) (dedup_hits_total)"
QUERIES: Final = (UP, EXPOSED, LAG, ACCEPTED, LATE, DUPLICATES)
# What a split held back is stored late after it. It is over when the target is as near as the fleet promises, and a moment later,
# which consumers need to store what came last.
_CONVERGED_S: Final = 10.0
_SETTLED_MS: Final = 60_000
# As many moments as a picture can show.
_MOMENTS: Final = 288
# Prometheus asks the parts this often; between two answers there is nothing to see.
_FINEST_S: Final = 5

Points = list[tuple[int, float]]
Direction = tuple[str, str]


class UnreadableError(Exception):
    """Prometheus' answer is not what its API promises."""


def step_s(begin_us: int, end_us: int) -> int:
    """Return the seconds between two moments of a picture of that span."""
    return max(_FINEST_S, -(-(end_us - begin_us) // (_MOMENTS * 1_000_000)))


def history(answers: Mapping[str, Any], step: int) -> dict[str, Any]:
    """
    Return what the API answers: of each direction its moments and its splits, of each region its rate.

    Args:
        answers: Prometheus' answer to each of `QUERIES`.
        step: Seconds between two moments.

    Raises:
        UnreadableError: One is something else.
    """
    up, exposed, lag = (_series(answers[query], ("source", "target")) for query in (UP, EXPOSED, LAG))
    accepted = _series(answers[ACCEPTED], ("region",))
    counted = {
        "lateRows": _series(answers[LATE], ("region", "instance")),
        "duplicates": _series(answers[DUPLICATES], ("region", "instance")),
    }
    directions = sorted(up)
    return {
        "stepSeconds": step,
        "directions": [
            {
                "source": source,
                "target": target,
                "points": _joined(up[source, target], exposed.get((source, target), []), lag.get((source, target), [])),
            }
            for source, target in directions
        ],
        "accepted": [{"region": region, "points": points} for (region,), points in sorted(accepted.items())],
        "splits": [
            {"source": source, "target": target, **split, **_aftermath(split, up[of], lag.get(of, []), counted, step)}
            for of in directions
            for source, target in [of]
            for split in _splits(up[of], dict(exposed.get(of, [])), step)
        ],
    }


def _joined(up: Points, exposed: Points, lag: Points) -> list[list[float | None]]:
    of_exposed, of_lag = dict(exposed), dict(lag)
    return [[at, of_exposed.get(at), of_lag.get(at), is_up] for at, is_up in up]


def _splits(up: Points, exposed: Mapping[int, float], step: int) -> Iterable[dict[str, Any]]:
    """Return spans without copying; the last one has no end while it goes on. Where nothing was seen, one ends, too."""
    begin, before, most = None, 0, 0.0
    for at, is_up in up:
        gap = begin is not None and at - before > 3 * step * 1000
        if begin is not None and (is_up or gap):
            yield {"begin": begin, "end": before if gap else at, "mostExposed": most}
            begin = None
        if not is_up:
            begin, most = (at, 0.0) if begin is None else (begin, most)
            most = max(most, exposed.get(at, 0.0))
        before = at
    if begin is not None:
        yield {"begin": begin, "end": None, "mostExposed": most}


def _aftermath(
    split: Mapping[str, Any], up: Points, lag: Points, counted: Mapping[str, Mapping[Direction, Points]], step: int
) -> dict[str, Any]:
    """Return when the target had caught up, and by region what was late and what was recognised as a duplicate until then."""
    end = split["end"]
    caught_up = None if end is None else next((at for at, s in lag if at >= end and s < _CONVERGED_S), None)
    until = up[-1][0] if caught_up is None else caught_up + _SETTLED_MS
    told: dict[str, Any] = {"convergedAt": caught_up}
    for name, series in counted.items():
        by_region: dict[str, int] = {}
        for (region, _), points in sorted(series.items()):
            grown = growth(points, split["begin"], until, first=up[0][0], step=step * 1000)
            by_region[region] = by_region.get(region, 0) + round(grown)
        told[name] = by_region
    return told


def _series(answer: Any, names: tuple[str, ...]) -> dict[Any, Points]:
    try:
        if answer["status"] != "success":
            raise UnreadableError(str(answer.get("error", answer["status"])))
        return {
            tuple(one["metric"].get(name, "") for name in names): [
                (round(float(at) * 1000), float(value))
                for at, value in one["values"]
                if value not in ("NaN", "+Inf", "-Inf")
            ]
            for one in answer["data"]["result"]
        }
    except (KeyError, TypeError, ValueError) as exc:
        raise UnreadableError(f"{type(exc).__name__}: {exc}") from exc
