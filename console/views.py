"""What the API answers, as JSON."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Response

from console.histogram import Histogram
from console.ports import Group
from console.row import Row, encode, shown
from console.search import Page
from shared.event.times import format_time, from_epoch_us

JSON: Final = "application/json"
LOGS: Final = "/api/logs"
_NO_STORE: Final = {"Cache-Control": "no-store"}


def page_view(page: Page, *, full: bool = False) -> dict[str, Any]:
    """Return a page as the API shows it."""
    return {
        "items": [shown(row, full=full) for row in page.items],
        "next": page.next,
        "prev": page.prev,
        "searchedFrom": format_time(from_epoch_us(page.searched.begin)),
        "searchedTo": format_time(from_epoch_us(page.searched.end)),
        "complete": page.complete,
        "tookMs": round(page.took_s * 1000),
    }


def histogram_view(found: Histogram, group: Group) -> dict[str, Any]:
    """Return counts as the API shows them."""
    return {
        "from": format_time(from_epoch_us(found.span.begin)),
        "to": format_time(from_epoch_us(found.span.end)),
        "interval": found.interval.written,
        "intervalMs": found.interval.us // 1000,
        "by": group.value,
        "buckets": [{"at": format_time(from_epoch_us(at)), "counts": counts} for at, counts in found.buckets.items()],
        "next": found.next,
        "searchedFrom": format_time(from_epoch_us(found.searched.begin)),
        "searchedTo": format_time(from_epoch_us(found.searched.end)),
        "complete": found.next is None,
        "tookMs": round(found.took_s * 1000),
    }


def several(found: Sequence[Row]) -> Response:
    """Return the answer for an id that several events have."""
    items = []
    for row in found:
        time = format_time(row.event_time)
        href = f"{LOGS}/{row.event_id}?{urlencode({'timestamp': time})}"
        items.append({"eventId": str(row.event_id), "timestamp": time, "href": href})
    detail = "several events have this id; each is found with its ?timestamp="
    return Response(
        encode({"detail": detail, "items": items}), HTTPStatus.MULTIPLE_CHOICES, dict(_NO_STORE), media_type=JSON
    )


def answer(view: Any) -> Response:
    """Return what was asked for, which no cache may keep."""
    return Response(encode(view), media_type=JSON, headers=dict(_NO_STORE))
