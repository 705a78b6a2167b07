"""
What is remembered of requests, so that a retry is recognised where its bytes alone do not tell: bounded, and for a while.

A record without a time gets that of its receipt, which is half of its identity. A retry has to get the same one. So the time
of a request that was not acknowledged is kept for its retry. Once a 2xx has gone out, the next equal request is a new one: a
heartbeat, say. Pure: time is an argument.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from shared.event.outcome import Accepted

KEPT_FOR: Final = timedelta(minutes=10)
KEPT: Final = 4096


@dataclass(eq=False, slots=True)
class Progress:
    """
    How far the tries of one request have come.

    Attributes:
        body: Digest of its body.
        durable: So many of its events, from the first one on, were acknowledged.
        by: What the last of them was answered with.
    """

    body: bytes
    durable: int = 0
    by: Accepted | None = None


@dataclass(eq=False, slots=True)
class Slot:
    """
    One of the requests with the same bytes that are not acknowledged yet.

    Attributes:
        since: When the first attempt arrived.
        salt: Tells it from the others; empty for the first.
        is_repeated: Whether the same bytes were acknowledged not long ago.
        under_way: Whether an attempt is not answered yet.
        progress: How far it came.
    """

    since: datetime
    salt: bytes
    is_repeated: bool = False
    under_way: bool = True
    progress: Progress | None = None

    def resume(self, body: bytes) -> Progress:
        """Return how far earlier tries came; not at all if they had another body under the same key."""
        if self.progress is None or self.progress.body != body:
            self.progress = Progress(body)
        return self.progress


@dataclass(eq=False, slots=True)
class _Known:
    touched: datetime
    slots: list[Slot] = field(default_factory=list)
    was_acknowledged: bool = False


class Receipts:
    """
    The memory of one gateway.

    Args:
        kept_for: How long a request is remembered.
        kept: How many are at most; those that were touched last stay.
    """

    def __init__(self, kept_for: timedelta = KEPT_FOR, kept: int = KEPT) -> None:
        self._kept_for = kept_for
        self._kept = kept
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    @property
    def remembered(self) -> int:
        """How many different requests are remembered."""
        return len(self._known)

    def begin(self, request: bytes, now: datetime) -> Slot:
        """Note that a request with these bytes arrived, and return the slot of it or of the attempt that it repeats."""
        self._forget(now)
        known = self._known.get(request)
        if known is None:
            known = self._known[request] = _Known(now)
        known.touched = now
        self._known.move_to_end(request)
        slot = next((slot for slot in known.slots if not slot.under_way), None)
        if slot is None:
            taken = {slot.salt for slot in known.slots}
            salt = next(
                salt for number in range(len(taken) + 1) if (salt := b"%d" % number if number else b"") not in taken
            )
            slot = Slot(now, salt)
            known.slots.append(slot)
        slot.under_way = True
        slot.is_repeated = known.was_acknowledged
        return slot

    def end(self, request: bytes, slot: Slot, *, acknowledged: bool, retryable: bool) -> None:
        """
        Note how it ended.

        Args:
            request: As for `begin`.
            slot: What that returned.
            acknowledged: Whether a 2xx was sent.
            retryable: Whether, without one, the same bytes may come again and must be the same events then.
        """
        slot.under_way = False
        if (known := self._known.get(request)) is None or slot not in known.slots:
            return
        if acknowledged:
            known.was_acknowledged = True
        if acknowledged or not retryable:
            known.slots.remove(slot)
        if not known.slots and not known.was_acknowledged:
            del self._known[request]

    def _forget(self, now: datetime) -> None:
        while self._known:
            request = next(iter(self._known))
            known = self._known[request]
            if len(self._known) < self._kept and now - known.touched <= self._kept_for:
                return
            del self._known[request]
