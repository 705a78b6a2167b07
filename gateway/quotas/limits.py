"""
What each tenant may do: the text of `tenants.toml` as limits, or everything that is wrong with it. Pure.

    [tenant.acme]
    events_per_second = 2000
    bytes_per_second = 2_000_000
    burst_seconds = 10
    requests_in_flight = 32
    bytes_per_day = 50_000_000_000
    max_age = "7d"
    max_future = "10m"
"""

import re
import tomllib

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final

from shared.access.principal import is_tenant

DEFAULT_BURST_S: Final = 10.0
MAX_TENANTS: Final = 10_000
_TOLD: Final = 10
_TIME: Final = re.compile(r"(\d{1,9})(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# Far beyond what a machine does, and far below where floats lose whole numbers.
_MOST: Final = 1e15
_NO_TENANT: Final = "write [tenant.NAME], and below it what that tenant may do"


class TenantsError(ValueError):
    """The file cannot be used. The message has the first things that are wrong, `problems` all."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems[:_TOLD]))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What one tenant may do, at this gateway. None: as much as it likes.

    Attributes:
        events_per_second: On average.
        bytes_per_second: On average, of bodies after decompression.
        burst_s: For so many seconds' worth of both it may be ahead of the average.
        requests_in_flight: At the same time.
        bytes_per_day: From midnight to midnight in UTC.
        max_age_s: How old an event may be.
        max_future_s: How far in the future.
    """

    events_per_second: float | None = None
    bytes_per_second: float | None = None
    burst_s: float = DEFAULT_BURST_S
    requests_in_flight: int | None = None
    bytes_per_day: float | None = None
    max_age_s: float | None = None
    max_future_s: float | None = None


def read_tenants(text: str, gateways: int = 1) -> Mapping[str, Limits]:
    """
    Return the limits of each tenant that the text names.

    Args:
        text: Of the file.
        gateways: How many share the limits; each takes its part.

    Raises:
        TenantsError: It is no TOML, or names what is not known, or a value is none.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise TenantsError([f"it is no TOML: {exc}"]) from None
    problems = [f"{name} is not known; {_NO_TENANT}" for name in found if name != "tenant"]
    tenants = found.get("tenant", {})
    if not isinstance(tenants, dict):
        raise TenantsError([f"tenant has to be a table; {_NO_TENANT}"])
    if len(tenants) > MAX_TENANTS:
        raise TenantsError([f"it names {len(tenants)} tenants, and may name {MAX_TENANTS}"])
    limits: dict[str, Limits] = {}
    for name, table in tenants.items():
        if not is_tenant(name):
            problems.append(
                f"tenant.{name!r}: a name has up to 63 of a to z, 0 to 9, - and _, the first one a letter or digit"
            )
        elif not isinstance(table, dict):
            problems.append(f"tenant.{name}: {_NO_TENANT}")
        else:
            limits[name] = _limits(name, table, gateways, problems)
    if problems:
        raise TenantsError(problems)
    return limits


def _limits(name: str, table: Mapping[str, Any], gateways: int, problems: list[str]) -> Limits:
    values: dict[str, Any] = {}
    for key, written in table.items():
        if (reader := _READERS.get(key)) is None:
            near = get_close_matches(key, _READERS, 1)
            meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(_READERS)}"
            problems.append(f"tenant.{name}.{key} is not known; {meant}")
            continue
        try:
            field, value = reader(written, gateways)
        except ValueError as exc:
            problems.append(f"tenant.{name}.{key} {exc}")
            continue
        values[field] = value
    if "burst_seconds" in table and not {"events_per_second", "bytes_per_second"} & table.keys():
        problems.append(f"tenant.{name}.burst_seconds says nothing without events_per_second or bytes_per_second")
    return Limits(**values)


def _number(written: Any) -> float:
    if (
        isinstance(written, bool)
        or not isinstance(written, int | float)
        or not isfinite(written)
        or not 0 < written <= _MOST
    ):
        raise ValueError(f"has to be a number above 0, not {written!r}")
    return float(written)


def _share(field: str) -> Callable[[Any, int], tuple[str, Any]]:
    return lambda written, gateways: (field, _number(written) / gateways)


def _burst(written: Any, _: int) -> tuple[str, Any]:
    return "burst_s", _number(written)


def _requests(written: Any, gateways: int) -> tuple[str, Any]:
    if _number(written) != int(written):
        raise ValueError(f"has to be a whole number, not {written!r}")
    return "requests_in_flight", max(int(written) // gateways, 1)


def _time(field: str) -> Callable[[Any, int], tuple[str, Any]]:
    def read(written: Any, _: int) -> tuple[str, Any]:
        if isinstance(written, str) and (parts := _TIME.fullmatch(written)) and int(parts[1]):
            return field, float(int(parts[1]) * _SECONDS[parts[2]])
        raise ValueError(f'has to be a time like "90s", "10m", "36h" or "7d", not {written!r}')

    return read


_READERS: Final[Mapping[str, Callable[[Any, int], tuple[str, Any]]]] = {
    "events_per_second": _share("events_per_second"),
    "bytes_per_second": _share("bytes_per_second"),
    "burst_seconds": _burst,
    "requests_in_flight": _requests,
    "bytes_per_day": _share("bytes_per_day"),
    "max_age": _time("max_age_s"),
    "max_future": _time("max_future_s"),
}
