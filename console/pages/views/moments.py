"""Moments and spans of time, in words. PURE."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

_STEPS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Moment(NamedTuple):
    """
    A time, for a machine and for a person.

    Attributes:
        iso: RFC 3339 with microseconds, as the API says it.
        day: Day and month.
        clock: Time of day to the millisecond.
    """

    iso: str
    day: str
    clock: str

    @property
    def whole(self) -> str:
        """Date, time and zone; the script shows the same in the reader's zone."""
        return self.iso.replace("T", " ").replace("Z", " UTC").replace("+00:00", " UTC")


def parse(value: object) -> datetime | None:
    """Read a time as the API writes it; None if it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


def moment(value: object) -> Moment:
    """Make a time readable; what is no time is shown as it is."""
    at = parse(value)
    if at is None:
        return Moment("" if value is None else str(value), "", "" if value is None else str(value))
    return Moment(iso(at), f"{at.day} {_MONTHS[at.month - 1]}", f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}")


def iso(at: datetime) -> str:
    """Write a time as the API does."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def span(milliseconds: float) -> str:
    """Say how long that is, with two or three digits that matter."""
    size = abs(milliseconds)
    for unit, name in _STEPS:
        if size >= unit:
            amount = milliseconds / unit
            return f"{amount:.0f} {name}" if abs(amount) >= 100 or amount == int(amount) else f"{amount:.1f} {name}"  # noqa: PLR2004 - three digits
    return f"{milliseconds:.0f} ms" if size >= 10 or milliseconds == int(milliseconds) else f"{milliseconds:.1f} ms"  # noqa: PLR2004 - two digits


def between(earlier: datetime, later: datetime) -> float:
    """Return milliseconds."""
    return (later - earlier) / timedelta(milliseconds=1)


def count(number: int, one: str, many: str = "") -> str:
    """Say a number of things: `1 event`, `12,034 events`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
