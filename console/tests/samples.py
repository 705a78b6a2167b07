"""Answers of the API that several tests show."""

import math
import random

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from console.past import ACCEPTED, DUPLICATES, EXPOSED, LAG, LATE, UP, history
from console.tests.fake_api import NOW, iso, row


def replication(**changes: Any) -> dict[str, Any]:
    """Return both directions up."""

    def link(source: str, target: str, **more: Any) -> dict[str, Any]:
        return {
            "source": source,
            "target": target,
            "up": True,
            "lagSeconds": 0.9,
            "lagRecords": 0,
            "splitSince": None,
            "stoppedAt": {},
            "exposedRecords": 0,
            "exposedAsOf": iso(NOW),
            "heartbeatAgeSeconds": 0.8,
            "detail": "0.9 s and 0 events behind",
        } | more

    return {
        "regions": [
            {"region": "region-a", "seenSecondsAgo": 0.4, "trouble": None},
            {"region": "region-b", "seenSecondsAgo": 0.5, "trouble": None},
        ],
        "links": [link("region-a", "region-b"), link("region-b", "region-a")],
    } | changes


def split() -> dict[str, Any]:
    """Return region b away for 41 seconds."""
    answer = replication()
    answer["regions"][1] = {"region": "region-b", "seenSecondsAgo": 41.3, "trouble": "consumer-b: connection refused"}
    for at, exposed in enumerate((1204, 77)):
        answer["links"][at] |= {
            "up": False,
            "lagSeconds": 41.2,
            "lagRecords": exposed,
            "exposedRecords": exposed,
            "splitSince": iso(NOW - timedelta(seconds=41)),
            "exposedAsOf": iso(NOW - timedelta(seconds=41 * at)),
            "detail": f"41.2 s and {exposed} events behind; nothing gets through: the link is cut, or MirrorMaker is away",
        }
    return answer


def past() -> dict[str, Any]:
    """Return a day with a split of half an hour in both directions, as the API draws it together."""
    begin, step = NOW - timedelta(days=1), 300
    times = [begin + timedelta(seconds=step * at) for at in range(289)]

    def points(query: str, value: Callable[[int], float]) -> dict[str, Any]:
        names = [{"region": "region-a"}, {"region": "region-b"}]
        if query in (LATE, DUPLICATES):
            names = [one | {"instance": f"consumer-{one['region'][-1]}:8082"} for one in names]
        elif query != ACCEPTED:
            names = [
                {"source": one, "target": two} for one, two in (("region-a", "region-b"), ("region-b", "region-a"))
            ]
        values = [[one.timestamp(), str(value(at))] for at, one in enumerate(times)]
        result = [{"metric": metric, "values": values} for metric in names]
        return {"status": "success", "data": {"resultType": "matrix", "result": result}}

    in_split = range(150, 156)
    answers = {
        UP: points(UP, lambda at: 0 if at in in_split else 1),
        EXPOSED: points(EXPOSED, lambda at: 400 * (at - 149) if at in in_split else 3 * (at % 5)),
        LAG: points(LAG, lambda at: 300 * (at - 149) if at in in_split else 1),
        ACCEPTED: points(ACCEPTED, lambda at: 40 + 25 * math.sin(at / 40) + at % 7),
        LATE: points(LATE, lambda at: 0 if at < 156 else 1204),
        DUPLICATES: points(DUPLICATES, lambda at: 1000 * at),
    }
    return {"from": iso(begin), "to": iso(NOW)} | history(answers, step)


def trace(number: int) -> dict[str, Any]:
    """Return the life of an event that failed over and was recognised twice."""
    one = row(number)
    at = NOW - timedelta(milliseconds=731 * number, microseconds=17 * number)

    def later(milliseconds: float) -> str:
        return iso(at + timedelta(milliseconds=milliseconds))

    copy = "region-b logs/3@91822"
    return {
        "eventId": one["eventId"],
        "timestamp": one["timestamp"],
        "correlationId": one["correlationId"],
        "verdict": "stored once; 2 copies recognised as duplicates",
        "steps": [
            {"what": "happened", "at": later(0), "by": "client clock"},
            {
                "what": "received",
                "at": later(2.2),
                "by": "gateway",
                "afterMs": 2.2,
                "servedBy": "region-b",
                "wanted": "region-a",
            },
            {
                "what": "kafka",
                "region": "region-b",
                "topic": "logs",
                "partition": 3,
                "offset": 91822,
                "at": later(9),
                "copyOf": None,
            },
            {
                "what": "kafka",
                "region": "region-a",
                "topic": "region-b.logs",
                "partition": 3,
                "offset": 40118,
                "copyOf": copy,
                "stillThere": True,
            },
            {
                "what": "kafka",
                "region": "region-a",
                "topic": "logs",
                "partition": 3,
                "offset": 77120,
                "note": "a client's retry to the other region",
            },
            {
                "what": "stored",
                "at": later(1185),
                "by": "region-b/consumer-b/12",
                "seq": 48211,
                "order": "in order",
                "fromReceiptMs": 1185,
            },
            {"what": "duplicate", "of": copy, "region": "region-a", "why": "same identity, already stored"},
        ],
        "exposed": {"region-a": False, "region-b": False},
        "unseen": [],
    }


def incident() -> list[dict[str, Any]]:
    """Return a quarter of an hour with a disturbance: payments fail for two minutes, and some of it comes late."""
    drawn = random.Random(11)
    rows = []
    at, number = NOW, 0
    while at > NOW - timedelta(minutes=15):
        minute = (NOW - at) / timedelta(minutes=1)
        busy = 1 + 0.5 * math.sin(minute * 0.9) + 0.2 * math.sin(minute * 4.1)
        disturbed = 5.2 < minute < 7.4
        at -= timedelta(milliseconds=drawn.expovariate(1) * 260 / busy)
        number += 1
        failed = disturbed and drawn.random() < 0.34
        kind = (
            drawn.choices(list(_TRAFFIC), weights=[line[0] for line in _TRAFFIC])[0]
            if not failed
            else drawn.choice(_FAILURES)
        )
        late = disturbed and drawn.random() < 0.05
        rows.append(
            row(
                number,
                eventId=f"019ab0c4-5f10-7{drawn.randrange(4096):03x}-9c4e-{number:012x}",
                timestamp=iso(at),
                serviceName=kind[1],
                level=kind[2],
                message=kind[3].format(n=81000 + number, ms=drawn.randrange(4, 240)),
                correlationId=f"order-{81000 + number // 3}",
                late=late,
                region=drawn.choice(["region-a", "region-b"]),
            )
        )
    return rows


_TRAFFIC: Final = (
    (6, "checkout", "INFO", "order {n} accepted, 3 items, total 41.20 EUR"),
    (6, "payments", "INFO", "payment of order {n} authorised by bank-2 after {ms} ms"),
    (7, "storefront", "INFO", "GET /api/products/{n} 200 in {ms} ms"),
    (4, "inventory", "DEBUG", "cache miss for article {n}, asked the store"),
    (3, "shipping", "INFO", "parcel of order {n} handed to the carrier"),
    (1, "inventory", "WARN", "stock of article {n} is low: 3 left"),
    (1, "storefront", "TRACE", "span of order {n} closed after {ms} ms"),
)
_FAILURES: Final = (
    (0, "payments", "ERROR", "payment of order {n} failed: timeout after 3000 ms while waiting for bank-2"),
    (0, "payments", "ERROR", "payment of order {n} failed: connection reset by bank-2"),
    (0, "checkout", "WARN", "order {n} waits for its payment, attempt 2 of 5"),
    (0, "checkout", "FATAL", "circuit to payments is open: 20 failures in a row"),
)
