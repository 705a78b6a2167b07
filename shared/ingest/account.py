"""What a request took of its tenant's quotas, and what of that came to something."""

from collections.abc import Sequence
from typing import Final

from shared.event.outcome import Accepted, Outcome
from shared.event.sealed import SealedEvent
from shared.ingest.head import Head
from shared.ingest.quota import LARGE_BYTES, Ages, Meter, Meters
from shared.wire.problem import TooManyRequestsError, UnavailableError

_NOT_ITS_FAULT: Final = (TooManyRequestsError, UnavailableError)


def settle(meter: Meter, error: Exception, taken: int | None, size: int, accepted: int) -> None:
    """
    Note that a request was refused: what is sent again is not paid for twice, and nonsense is paid for.

    Args:
        meter: Its tenant's.
        error: Why.
        taken: How many events were taken; None before any was.
        size: Bytes of its body, as far as they are known.
        accepted: How many events are durable.
    """
    if taken is None:
        if not isinstance(error, _NOT_ITS_FAULT):
            meter.charge(0, size)
    elif isinstance(error, UnavailableError):
        meter.give_back(taken - accepted, 0 if accepted else size)


def count_accepted(outcomes: Sequence[Outcome]) -> int:
    """Return how many events are durable."""
    return sum(isinstance(outcome, Accepted) for outcome in outcomes)


class Account:
    """
    What one request of a shipper took of a meter that it entered, portion by portion.

    Args:
        meter: Its tenant's.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._ages: Ages | None = meter.ages() if meter.is_aged else None
        self._size = self._accepted = 0
        self._taken: int | None = None

    def arrived(self, size: int) -> None:
        """
        Note how many bytes the body has after decompression, before anything is made of them.

        Raises:
            TooManyRequestsError: They are many, and may not be taken now.
        """
        self._size = size
        if size > LARGE_BYTES:
            self._meter.look(size, held=True)

    async def take_portion(self, events: Sequence[SealedEvent], until: float) -> None:
        """
        Take events, and with the first ones the body's bytes; what follows these is let through in any case.

        Raises:
            TooManyRequestsError: The first ones may not be taken, also not by `until`.
        """
        if self._taken is None:
            await self._meter.take_patiently(len(events), self._size, until)
            self._taken = 0
        else:
            self._meter.charge(len(events), 0)
        self._taken += len(events)
        if self._ages is not None and (outside := self._ages.outside(events)):
            self._meter.note_outside(outside)

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Note what became of events that were taken."""
        self._accepted += count_accepted(outcomes)

    def failed(self, error: Exception) -> None:
        """Note that the request was refused."""
        settle(self._meter, error, self._taken, self._size, self._accepted)

    def close(self) -> None:
        """Note that the request is answered."""
        self._meter.leave()


async def open_account(meters: Meters, head: Head, until: float) -> Account | None:
    """
    Let a request begin, at the latest at `until`; None if its tenant may send what it likes.

    Raises:
        TooManyRequestsError: Its tenant may not send it, also not then.
    """
    if (meter := meters.find()) is None:
        return None
    await meter.enter_patiently(head, until)
    return Account(meter)
