"""
The past of replication, from what Prometheus kept of the gateway's metrics. PURE.

The queries are fixed: what a reader sends chooses the span and nothing else.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

UP: Final = "min by (source, target) (replication_up)"
EXPOSED: Final = "max by (source, target) (replication_lag_records)"
LAG: Final = "max by (source, target) (replication_lag_seconds)"
ACCEPTED: Final = 'sum by (region) (rate(gateway_events_total{outcome="accepted"}[1m]))'
QUERIES: Final = (UP, EXPOSED, LAG, ACCEPTED)
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
            {"source": source, "target": target, **split}
            for source, target in directions
            for split in _splits(up[source, target], dict(exposed.get((source, target), [])), step)
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
