"""One request's account with its tenant: what it took, and what of that came to something."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from shared.event.outcome import Accepted, Outcome
from shared.event.sealed import Intake, SealedEvent
from shared.ingest.head import Head
from shared.ingest.opening import declared
from shared.ingest.quota import LARGE_BYTES, AgedIntake, Ages, Meter, Meters
from shared.wire.problem import TooManyRequestsError, UnavailableError

_NOT_ITS_FAULT: Final = (TooManyRequestsError, UnavailableError)


class Account:
    """
    What one request took of a meter that it entered.

    Args:
        meter: Its tenant's.

    Attributes:
        ages: How old its events may be, if that matters.
    """

    __slots__ = ("_accepted", "_events", "_has_taken", "_meter", "_size", "ages")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._accepted = self._events = self._size = 0
        self._has_taken = False
        self.ages: Ages | None = meter.ages()

    def intake(self, now: Any, new_id: Callable[[], Any]) -> Intake:
        """Return what takes the request's events in."""
        return Intake(now, new_id) if self.ages is None else AgedIntake(now, new_id, self.ages)

    def arrived(self, size: int, *, held: bool = False) -> None:
        """
        Note how many bytes the body has after decompression, before anything is made of them.

        Raises:
            TooManyRequestsError: They are many, and may not be taken now.
        """
        self._size = size
        if size > LARGE_BYTES:
            self._meter.look(size, held=held)

    def take(self, events: int) -> None:
        """
        Take so many events, and the body's bytes.

        Raises:
            TooManyRequestsError: They may not be taken now.
        """
        self._meter.take(events, self._size)
        self._events, self._has_taken = events, True

    async def take_portion(self, events: int, until: float) -> None:
        """
        Take so many events, and with the first ones the body's bytes; what follows these is let through in any case.

        Raises:
            TooManyRequestsError: The first ones may not be taken, also not by `until`.
        """
        if self._has_taken:
            self._meter.charge(events, 0)
        else:
            await self._meter.take_patiently(events, self._size, until)
            self._has_taken = True
        self._events += events

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Note what became of events that were taken."""
        self._accepted += sum(isinstance(outcome, Accepted) for outcome in outcomes)

    def note_ages(self, events: Sequence[SealedEvent]) -> None:
        """Count those events that are too old, or too far in the future, where none is refused for that."""
        if self.ages is not None and (outside := self.ages.outside(events)):
            self._meter.note_outside(outside)

    def failed(self, error: Exception) -> None:
        """Note that the request was refused: what is sent again is not paid for twice, and nonsense is paid for."""
        if not self._has_taken:
            if not isinstance(error, _NOT_ITS_FAULT):
                self._meter.charge(0, self._size)
        elif isinstance(error, UnavailableError):
            self._meter.give_back(self._events - self._accepted, 0 if self._accepted else self._size)

    def close(self) -> None:
        """Note that the request is answered."""
        self._meter.leave()


def open_account(meters: Meters, head: Head, limit: int) -> Account | None:
    """
    Let a request begin; None if its tenant may send what it likes.

    Raises:
        TooManyRequestsError: Its tenant may not send it now.
    """
    if (meter := meters.find()) is None:
        return None
    meter.enter(declared(head, limit))
    return Account(meter)


async def open_account_patiently(meters: Meters, head: Head, limit: int, until: float) -> Account | None:
    """
    Do as `open_account`, at the latest at `until`.

    Raises:
        TooManyRequestsError: Its tenant may not send it, also not then.
    """
    if (meter := meters.find()) is None:
        return None
    await meter.enter_patiently(declared(head, limit), until)
    return Account(meter)
