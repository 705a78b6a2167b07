"""
The parameters of Loki's API. Pure: now is an argument.

Those that are not known are let pass, as Loki does: each of its clients sends some that are for others.
"""

import re

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from console.loki.lines import Range
from console.loki.tokens import duration_us
from console.query import Order
from shared.event.times import LAST_TIME, epoch_us, parse_time
from shared.wire.problem import BadRequestError

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 5000
_HOUR_NS: Final = 3600 * 10**9
_POINTS: Final = 250
_SECOND_US: Final = 10**6
_LAST_NS: Final = epoch_us(LAST_TIME) * 1000
_SECONDS_DIGITS: Final = 10
_INTEGER: Final = re.compile(r"-?\d{1,19}", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,19}(\.\d{0,9})?([eE]\+?\d{1,2})?", re.ASCII)
_FINER: Final = re.compile(r"[.,]\d{6}(\d{1,3})", re.ASCII)


class LokiParameters:
    """
    The parameters of one request, of its URL or of its form.

    Args:
        pairs: Names and values.
        now_us: Microseconds since 1970.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], now_us: int) -> None:
        self._found: dict[str, list[str]] = {}
        for name, value in pairs:
            self._found.setdefault(name, []).append(value)
        self._now_ns = now_us * 1000

    def many(self, *names: str) -> list[str]:
        """Return all values of parameters."""
        return [value for name in names for value in self._found.get(name, [])]

    def one(self, name: str) -> str | None:
        """Return the value of a parameter; None if it is not there, or empty."""
        return next((value for value in self.many(name) if value), None)

    def needed(self, name: str) -> str:
        """
        Return the value of a parameter.

        Raises:
            BadRequestError: It is not there.
        """
        if (value := self.one(name)) is None:
            raise BadRequestError(f"the parameter {name} is missing")
        return value

    def range(self, default_ns: int = _HOUR_NS) -> Range:
        """
        Read `start`, `end` and `since`.

        Raises:
            BadRequestError: One is no time.
        """
        end = self.time("end", self._now_ns)
        since = self.one("since")
        before = default_ns if since is None else self._duration("since", since) * 1000
        return Range(self.time("start", max(0, end - before)), end)

    def lines_range(self) -> Range:
        """
        Read the same, for lines.

        Raises:
            BadRequestError: One is no time, or there is nothing between them.
        """
        found = self.range()
        if found.begin >= found.end:
            raise BadRequestError("start must be before end")
        return found

    def time(self, name: str, default_ns: int | None = None) -> int:
        """
        Read a time, into nanoseconds since 1970.

        Raises:
            BadRequestError: It is none.
        """
        text = self.one(name)
        if text is None:
            return self._now_ns if default_ns is None else default_ns
        return max(0, min(_time_ns(name, text), _LAST_NS))

    def step_us(self, within: Range) -> int:
        """
        Read `step`; without it, there are 250 steps.

        Raises:
            BadRequestError: It is no duration.
        """
        text = self.one("step")
        if text is None:
            return max(_SECOND_US, -(-(within.end - within.begin) // 1000 // _POINTS // _SECOND_US) * _SECOND_US)
        return self._duration("step", text)

    def limit(self, default: int = DEFAULT_LIMIT, name: str = "limit") -> int:
        """
        Read `limit`.

        Raises:
            BadRequestError: It is none.
        """
        text = self.one(name)
        if text is None:
            return default
        if not _INTEGER.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
            raise BadRequestError(f"{name} must be a number from 1 to {MAX_LIMIT}, and is {text[:64]!r}")
        return int(text)

    def order(self) -> Order:
        """
        Read `direction`.

        Raises:
            BadRequestError: It is none.
        """
        text = (self.one("direction") or "backward").lower()
        if text not in ("forward", "backward"):
            raise BadRequestError(f"direction must be forward or backward, and is {text[:64]!r}")
        return Order.ASC if text == "forward" else Order.DESC

    @staticmethod
    def _duration(name: str, text: str) -> int:
        found = round(Decimal(text) * _SECOND_US) if _NUMBER.fullmatch(text) else duration_us(text)
        if not found or found * 1000 > _LAST_NS:
            raise BadRequestError(f"{name} must be seconds, or a duration like 5m, and is {text[:64]!r}")
        return found


def _time_ns(name: str, text: str) -> int:
    if _INTEGER.fullmatch(text):
        return int(text) * (10**9 if len(text) <= _SECONDS_DIGITS else 1)
    if _NUMBER.fullmatch(text):
        return round(Decimal(text) * 10**9)
    try:
        whole = epoch_us(parse_time(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))) * 1000
    except ValueError as exc:
        forms = "write RFC 3339 with a time zone, or seconds or nanoseconds since 1970"
        raise BadRequestError(f"{name}={text[:64]!r} {exc}; {forms}") from None
    finer = _FINER.search(text)
    return whole + (int(finer[1].ljust(3, "0")) if finer else 0)
