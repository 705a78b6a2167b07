"""The port of what a tenant may send: asked before a body is read, and before anything of a request is sent on."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from shared.event.fields import FieldProblem, InvalidEventError
from shared.event.sealed import Intake, SealedEvent
from shared.ingest.head import Head

LARGE_BYTES: Final = 64 * 1024
"""From here on a body's size is looked at before it is read, and not only when its events are known."""


class Ages:
    """
    How old events may be, and how far in the future, as they are written. Times have one form, so texts compare as they do.

    Args:
        oldest: The oldest time that is taken.
        newest: The newest one.
        told: What a client is told of one that is not.
    """

    __slots__ = ("newest", "oldest", "told")

    def __init__(self, oldest: str, newest: str, told: str) -> None:
        self.oldest, self.newest, self.told = oldest, newest, told

    def outside(self, events: Sequence[SealedEvent]) -> int:
        """Return how many events are too old, or too far in the future."""
        oldest, newest = self.oldest, self.newest
        return sum(not oldest <= event.timestamp <= newest for event in events)


class AgedIntake(Intake):
    """
    An `Intake` that refuses events that are too old, or too far in the future.

    Args:
        now: See there.
        new_id: See there.
        ages: What is taken.
        owner: See there.
    """

    def __init__(self, now: Any, new_id: Callable[[], Any], ages: Ages, *, owner: str | None = None) -> None:
        super().__init__(now, new_id, owner=owner)
        self._ages = ages

    def _seal(self, read: Callable[[Any], Any], written: object) -> SealedEvent | InvalidEventError:
        event = super()._seal(read, written)
        ages = self._ages
        if isinstance(event, InvalidEventError) or ages.oldest <= event.timestamp <= ages.newest:
            return event
        return InvalidEventError([FieldProblem("timestamp", ages.told)])


class Meter(Protocol):
    """
    What one tenant took, and may take. A request that enters also leaves.

    Methods that wait are for clients that give up at the first refusal: these are held for a while before they are refused.

    Attributes:
        is_aged: Whether it matters how old events are.
    """

    is_aged: bool

    def enter(self, head: Head) -> None:
        """
        Let a request begin, by its head.

        Raises:
            TooManyRequestsError: There are too many, or nothing may be taken now.
        """
        ...

    async def enter_patiently(self, head: Head, until: float) -> None:
        """
        As `enter`, at the latest at `until` by the event loop's clock.

        Raises:
            TooManyRequestsError: As for `enter`, even then.
        """
        ...

    def leave(self) -> None:
        """Note that a request is answered."""
        ...

    def look(self, size: int, *, held: bool = False) -> None:
        """
        Look whether a body of so many bytes may be taken, before anything is made of it.

        Args:
            size: After decompression.
            held: Whether its client is one that was held.

        Raises:
            TooManyRequestsError: It may not.
        """
        ...

    def take(self, events: int, size: int) -> None:
        """
        Take a request's events and bytes, before any of them is sent on.

        Raises:
            TooManyRequestsError: They may not be taken now, and none was.
        """
        ...

    async def take_patiently(self, events: int, size: int, until: float) -> None:
        """
        As `take`, at the latest at `until`, if so much may be held for so long.

        Raises:
            TooManyRequestsError: As for `take`, even then.
        """
        ...

    def reserve(self, events: int, size: int) -> float:
        """Take so much for whenever it may be taken, and return in how many seconds that is."""
        ...

    def charge(self, events: int, size: int) -> None:
        """Take what belongs to a request of which something was sent on already, or that cost work for nothing."""
        ...

    def give_back(self, events: int, size: int) -> None:
        """Undo that much of what was taken: no region acknowledged it, and it will be sent again."""
        ...

    def ages(self) -> Ages:
        """Return how old events may be now."""
        ...

    def note_outside(self, number: int) -> None:
        """Count events that are too old, or too far in the future, and were taken nevertheless."""
        ...


class Meters(Protocol):
    """All tenants'."""

    def find(self) -> Meter | None:
        """Return that of the tenant whose request is being served; None if it may send what it likes."""
        ...
