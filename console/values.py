"""Which values there are to filter by: services, regions, reasons of being late."""

import time

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from console.filter import EVERYTHING, Filter
from console.ports import Group, Place, Session, Slice, SliceTimedOutError
from console.query import Query, Span
from console.slices import DAY_US
from console.walk import BUDGET_S, Clock, Walk, begin

MAX_VALUES: Final = 1000
REMEMBERED_S: Final = 30.0
# Of what has no index, the last days.
_LOOKED_BACK_US: Final = 7 * DAY_US
_AHEAD_US: Final = 3 * DAY_US
_KNOWN: Final = 600


class Field(StrEnum):
    """What has values."""

    SERVICE = "service"
    REGION = "region"
    LATE_REASON = "lateReason"


@dataclass(frozen=True, slots=True)
class Listed:
    """
    Values that were found.

    Attributes:
        complete: Whether the time sufficed to find all of them.
    """

    values: Sequence[str]
    complete: bool

    def beginning_with(self, prefix: str) -> "Listed":
        """Return those that begin so."""
        return Listed([value for value in self.values if value.startswith(prefix)], self.complete)


_GROUPS: Final = {Field.SERVICE: Group.SERVICE, Field.REGION: Group.REGION, Field.LATE_REASON: Group.LATE_REASON}


class KnownValues:
    """
    Finds values, and remembers them for a while: a form asks with every letter that is typed.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[Field, str | None], tuple[float, Listed]] = {}

    def known(self, field: Field, tenant: str | None) -> Listed | None:
        """Return what was found for a tenant a short time ago."""
        found = self._known.get((field, tenant))
        return found[1] if found is not None and self._clock() - found[0] < REMEMBERED_S else None

    async def find(
        self, field: Field, tenant: str | None, now_us: int, session: Session, budget_s: float = BUDGET_S
    ) -> Listed:
        """
        Find the values.

        Args:
            field: Of what.
            tenant: Whose; the session is the tenant's.
            now_us: Microseconds since 1970.
            session: Where.
            budget_s: How long to look at most.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer.
        """
        if field is Field.SERVICE and session.is_alone:
            listed = await _services(session, budget_s)
        else:
            listed = await self._in_rows(field, now_us, session, budget_s)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[field, tenant] = (self._clock(), listed)
        return listed

    async def _in_rows(self, field: Field, now_us: int, session: Session, budget_s: float) -> Listed:
        span = Span(max(0, now_us - _LOOKED_BACK_US), now_us + _AHEAD_US)
        query = Query(span, Filter(late=True) if field is Field.LATE_REASON else EVERYTHING)
        walk = Walk(query, await begin(query, session))
        found: set[str] = set()

        async def look(wanted: Slice, timeout_s: float) -> Place | None:
            found.update(count.group for count in await session.counts(wanted, _GROUPS[field], span.end, timeout_s))
            return None

        await walk.go(look, budget_s, self._clock)
        return Listed(sorted(found)[:MAX_VALUES], walk.is_over and len(found) <= MAX_VALUES)


async def _services(session: Session, budget_s: float) -> Listed:
    try:
        found = await session.services(MAX_VALUES + 1, budget_s)
    except SliceTimedOutError:
        return Listed((), complete=False)
    return Listed(sorted(found)[:MAX_VALUES], complete=len(found) <= MAX_VALUES)
