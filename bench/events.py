"""
Events as real traffic has them, by the hundred thousand. Pure: event `n` of a stream is always the same.

* Ids are UUIDv7 of the time of receipt: near each other in time, unlike each other otherwise.
* Traces are random hexadecimal numbers, as tracing libraries make them, with four events each.
* Events come with a delay that is short for most and never longer than the reorder window.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final

EVENT_BYTES: Final = 278
PARTITIONS: Final = 6
EVENTS_A_TRACE: Final = 4
# Both below the default reorder window of a second: none of these events is late.
_MEAN_DELAY_US: Final = 40_000
_LONGEST_DELAY_US: Final = 800_000
_SECOND_US: Final = 1_000_000
_SERVICES: Final = ("checkout", "payments", "catalog", "gateway", "shipping", "search", "accounts", "reviews")
_LEVELS: Final = ("INFO", "INFO", "INFO", "INFO", "DEBUG", "DEBUG", "WARN", "ERROR")
_MESSAGE: Final = '"message":"'
# As much of it as makes an event as long as those with which the aims were set.
_TEXT: Final = "order accepted after retry of the payment, parcel handed to carrier, mail sent"
_MASK: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Stream:
    """
    A stream of distinct events.

    Attributes:
        begin: When the first one is received, aware UTC.
        rate: Events a second of event time.
        region: Whose gateway and producer took them.
        first: Number of the first event; streams with other numbers have other events.
    """

    begin: datetime
    rate: float
    region: str = "region-a"
    first: int = 0

    def events(self, count: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield partition, key and canonical JSON of `count` events, in the order of their receipt."""
        delays = Random(self.first)
        prefix = _Seconds(self.begin)
        start_us = prefix.start_us
        for n in range(self.first, self.first + count):
            received_us = start_us + int((n - self.first) * _SECOND_US / self.rate)
            delay_us = min(_LONGEST_DELAY_US, int(delays.expovariate(1 / _MEAN_DELAY_US)))
            yield self._event(n, prefix.format(received_us - delay_us), received_us, prefix.format(received_us))

    def _event(self, n: int, happened: str, received_us: int, received: str) -> tuple[int, bytes, bytes]:
        mixed = mix(n)
        trace = mix(~(n // EVENTS_A_TRACE) & _MASK)
        ms = received_us // 1000
        key = f"{trace >> 16:012x}"
        head = (
            f'{{"eventId":"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{mixed >> 52:03x}-'
            f'{0x8000 | mixed >> 38 & 0x3FFF:04x}-{mixed & 0xFFFFFFFFFFFF:012x}",'
            f'"timestamp":"{happened}","serviceName":"{_SERVICES[mixed >> 61]}","level":"{_LEVELS[mixed >> 58 & 7]}",'
        )
        tail = f'","correlationId":"{key}","attributes":{{"n":{n}}},"receivedAt":"{received}","originRegion":"{self.region}"}}'
        start = mixed & 0x1F
        room = EVENT_BYTES - len(head) - len(_MESSAGE) - len(tail)
        event = f"{head}{_MESSAGE}{_TEXT[start : start + room]}{tail}"
        return trace % PARTITIONS, key.encode(), event.encode()


def mix(n: int) -> int:
    """Return a number of 64 bits that looks random; no two numbers below 2**64 have the same."""
    n = (n ^ n >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    n = (n ^ n >> 27) * 0x94D049BB133111EB & _MASK
    return n ^ n >> 31


class _Seconds:
    """Formats times; what does not change within a second is written once."""

    def __init__(self, begin: datetime) -> None:
        self._begin = begin.replace(microsecond=0)
        self.start_us = int(self._begin.timestamp()) * _SECOND_US
        self._written: dict[int, str] = {}

    def format(self, time_us: int) -> str:
        second, microseconds = divmod(time_us, _SECOND_US)
        try:
            prefix = self._written[second]
        except KeyError:
            time = self._begin + timedelta(seconds=second - self.start_us // _SECOND_US)
            prefix = self._written[second] = time.strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{prefix}{microseconds:06d}Z"
