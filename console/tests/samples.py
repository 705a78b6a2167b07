"""Answers of the API that several tests show."""

from datetime import timedelta
from typing import Any

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
