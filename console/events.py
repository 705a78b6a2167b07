"""One event by its id, and the events around it."""

import time

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from console.cursor import Cursor
from console.filter import EVERYTHING, Filter
from console.ports import Session, SliceTimedOutError, StoreUnavailableError
from console.query import Order, Query, Span
from console.row import Row
from console.slices import DAY_US
from console.walk import BUDGET_S, Clock, Collecting, Walk
from shared.event.times import LAST_TIME, epoch_us
from shared.wire.problem import BadRequestError, NotFoundError

ALWAYS: Final = Span(0, epoch_us(LAST_TIME) + 1)
_TIMED_VERSION: Final = 7
_UUID_CHARS: Final = 36


class Same(StrEnum):
    """What the events around one have in common with it."""

    CORRELATION = "correlation"
    SERVICE = "service"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Context:
    """
    An event, and those around it, the oldest first.

    Attributes:
        complete: Whether the time sufficed to find all of these that there are.
    """

    before: Sequence[Row]
    event: Row
    after: Sequence[Row]
    complete: bool


def parse_event_id(text: str) -> UUID:
    """
    Read an event's id.

    Raises:
        BadRequestError: It is none.
    """
    try:
        if len(text) == _UUID_CHARS:
            return UUID(text)
    except ValueError:
        pass
    raise BadRequestError(f"{text[:_UUID_CHARS]!r} is no event id, which is a UUID of {_UUID_CHARS} characters")


async def find_events(
    event_id: UUID, time_us: int | None, session: Session, clock: Clock = time.monotonic, budget_s: float = BUDGET_S
) -> Sequence[Row]:
    """
    Return the events with this id, the newest first: several timestamps under one id are several events.

    Args:
        event_id: What is looked for.
        time_us: Its timestamp, in microseconds since 1970; None: it is not known. Then an id that contains a time is looked for around
            that time first, and further away only if it is not there.
        session: Where.
        clock: Monotonic seconds.
        budget_s: How long to look at most.

    Raises:
        NotFoundError: There is none.
        StoreUnavailableError: It takes too long to find out.
    """
    until = clock() + budget_s
    spans = [ALWAYS] if time_us is None else [Span(time_us, time_us + 1)]
    if time_us is None and event_id.version == _TIMED_VERSION:
        said_us = (event_id.int >> 80) * 1000
        spans.insert(0, Span(max(0, said_us - DAY_US), min(ALWAYS.end, said_us + DAY_US)))
    try:
        for span in spans:
            if span.begin < span.end and (found := await session.event(event_id, span, max(0.1, until - clock()))):
                return found
    except SliceTimedOutError:
        raise StoreUnavailableError(
            "it takes too long to find an id without its time; give ?timestamp=, which the answer to its post has"
        ) from None
    detail = "no event with this id is stored" if time_us is None else "no event with this id and timestamp is stored"
    raise NotFoundError(f"{detail}; it may be on its way, or was never acknowledged, or is older than what is kept")


async def find_context(
    row: Row,
    same: Same,
    session: Session,
    *,
    before: int,
    after: int,
    clock: Clock = time.monotonic,
    budget_s: float = BUDGET_S,
) -> Context:
    """
    Return the events around one, in the order of event time.

    Args:
        row: The one.
        same: What they must have in common.
        session: Where.
        before: So many older ones at most.
        after: So many younger ones at most.
        clock: Monotonic seconds.
        budget_s: How long to look at most.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
    """
    match same:
        case Same.CORRELATION:
            wanted = Filter(correlation_id=row.correlation_id)
        case Same.SERVICE:
            wanted = Filter(services=(row.service_name,))
        case Same.ALL:
            wanted = EVERYTHING
    sides = []
    for order, limit in ((Order.DESC, before), (Order.ASC, after)):
        query = Query(ALWAYS, wanted, order)
        # Neighbours are mostly near, and an index leads to those of one trace.
        cursor = Cursor(session.store, b"", ALWAYS.begin, ALWAYS.end, ALWAYS.begin, ALWAYS.end, row.place, False, 0)  # noqa: FBT003
        walk = Walk(query, cursor)
        collecting = Collecting(walk, session, limit, peek=False)
        is_complete = True
        if limit:
            await walk.go(collecting, budget_s / 2, clock)
            is_complete = walk.is_over or len(collecting.rows) >= limit
        sides.append((collecting.rows, is_complete))
    (older, older_complete), (younger, younger_complete) = sides
    return Context(older[::-1], row, younger, older_complete and younger_complete)
