"""One connection of syslog: what arrives is made durable, batch after batch, and nothing more is read meanwhile."""

import asyncio

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from uuid_utils import uuid7

from gateway.listeners.framing import Frame, Framer
from gateway.protocols.syslog import NAME
from gateway.protocols.syslog_events import batch
from shared.event.outcome import Accepted, EventSink, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.asgi import log_refusal
from shared.ingest.passing_on import Ledger
from shared.ingest.protocol import Counts
from shared.ingest.quota import Meters
from shared.ingest.turns import Turns
from shared.process.bounds import Bounds, Cut

log: Final = structlog.stdlib.get_logger(__name__)

READ_BYTES: Final = 64 * 1024
# What is made durable at a time.
AT_ONCE: Final = 1000
# Between two attempts, and while there is no room in the budget.
_PAUSE_S: Final = 0.1
# As for HTTP: less of an unfinished message is not held in the budget.
_UNCOUNTED_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Means:
    """
    What connections need.

    Attributes:
        sink: Makes the events durable.
        ledger: Counts the messages.
        turns: Where they are read.
        bounds: The gateway's budget of bytes.
        hold_s: How long one attempt waits for room, or for a region.
        on_lost: Told how many messages were read, and not acknowledged before the gateway ended.
        meters: What tenants may send, where that is limited.
        spread: Over how many names a source's messages are spread.
    """

    sink: EventSink
    ledger: Ledger
    turns: Turns
    bounds: Bounds
    hold_s: float
    on_lost: Callable[[int], None]
    meters: Meters | None = None
    spread: int = 1


class Connection:
    """
    One connection, and what was read of it; also a `shared.process.bounds.Holder`.

    Args:
        means: What it needs.
        reader: Its bytes.
        transport: Where they come from.
        peer: Address of the sender.

    Attributes:
        waiting: How many messages were tried, and no region has taken yet: the gateway's end would lose them.
    """

    def __init__(self, means: Means, reader: asyncio.StreamReader, transport: asyncio.ReadTransport, peer: str) -> None:
        self._means = means
        self._reader = reader
        self._transport = transport
        self._peer = peer
        self._framer = Framer()
        self._reading: asyncio.Future[bytes] | None = None
        self._stopped = asyncio.Event()
        self._gave_way = False
        self.waiting = 0

    @property
    def is_broken(self) -> bool:
        """Whether its bytes cannot be told apart any more."""
        return self._framer.broken

    async def run(self) -> None:
        """Make durable what arrives, until it ends."""
        while data := await self._read():
            self._framer.feed(data)
            while frames := self._framer.some(AT_ONCE):
                await self._take(frames)
            if self._framer.broken:
                log.warning("a syslog message claims to be longer than any may be", peer=self._peer)
                break
            self._note_unfinished()
        if frames := self._framer.end():
            await self._take(frames)

    def stop(self) -> None:
        """Read no more than has arrived here."""
        self._stopped.set()
        if not self._transport.is_closing():
            self._transport.pause_reading()
        if self._reading is not None:
            self._reading.cancel()

    def give_up(self, why: Cut) -> None:
        """Read no more of it, and keep what there is of its message."""
        self._means.bounds.on_cut(why)
        self._gave_way = True
        self.stop()

    def count_left(self) -> None:
        """Tell of the messages that were read and never tried."""
        left = 0
        while frames := self._framer.some(AT_ONCE):
            left += len(frames)
        left += len(self._framer.end())
        if left:
            self._lose(left)

    async def _read(self) -> bytes:
        """Return what arrived, nothing at the end."""
        try:
            if self._stopped.is_set():
                return await self._what_is_here()
            self._reading = asyncio.ensure_future(self._reader.read(READ_BYTES))
            return await self._reading
        except OSError:  # reset, or no TLS any more: what came before is there
            return b""
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return await self._what_is_here()
        finally:
            self._reading = None

    async def _what_is_here(self) -> bytes:
        """Return what arrived already; nothing of what has to give way."""
        if self._gave_way:
            return b""
        try:
            async with asyncio.timeout(0):
                return await self._reader.read(READ_BYTES)
        except (TimeoutError, OSError):
            return b""

    def _lose(self, number: int) -> None:
        self._means.on_lost(number)
        log.error("syslog messages were read and are not acknowledged", messages=number)

    def _note_unfinished(self) -> None:
        if (size := self._framer.buffered) > _UNCOUNTED_BYTES:
            self._means.bounds.unfinished(self, size)
        else:
            self._means.bounds.finished(self)

    async def _take(self, frames: Sequence[Frame]) -> None:
        here = self._means
        here.bounds.finished(self)
        left: Sequence[SealedEvent] | int = len(frames)
        held = 0
        try:
            now = datetime.now(UTC).astimezone()
            made = batch(frames, now=now, peer=self._peer, key=uuid7().hex, spread=here.spread)
            found = await here.turns.run(made)
            await self._reserve(found.events, sum(frame.length for frame in frames))
            # What gave way to others must not push them out now.
            size = 0 if self._gave_way else sum(len(event.encoded) for event in found.events)
            while not here.bounds.take(size):  # noqa: ASYNC110 - the budget has no event for room
                await asyncio.sleep(_PAUSE_S)
            held = size
            self._count(found.counts)
            left = found.events
            while left := await self._send(left):
                self.waiting = len(left)
                await asyncio.sleep(_PAUSE_S)  # before, it has waited for a region itself
        finally:
            self.waiting = 0
            here.bounds.give_back(held)
            if number := left if isinstance(left, int) else len(left):
                self._lose(number)

    async def _reserve(self, events: Sequence[SealedEvent], size: int) -> None:
        """Wait until the tenant may send so much: nothing more is read meanwhile. What is here when all ends waits no longer."""
        if self._means.meters is None or (meter := self._means.meters.find()) is None:
            return
        if meter.is_aged and (outside := meter.ages().outside(events)):
            meter.note_outside(outside)
        if (wait_s := meter.reserve(len(events), size)) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopped.wait()

    async def _send(self, events: Sequence[SealedEvent]) -> Sequence[SealedEvent]:
        """Return those that were not acknowledged and have to be sent again."""
        ledger = self._means.ledger
        outcomes = await self._means.sink.accept(events, None, hold_s=self._means.hold_s)
        log_refusal(events, outcomes, None)
        accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
        again = [
            event
            for event, outcome in zip(events, outcomes, strict=True)
            if isinstance(outcome, Refused) and outcome.retryable
        ]
        for outcome, number in (("accepted", accepted), ("refused", len(events) - accepted - len(again))):
            if number:
                ledger.records(NAME, outcome, number)
        return again

    def _count(self, counts: Counts) -> None:
        ledger = self._means.ledger
        for what, number in counts.repaired.items():
            ledger.repaired(NAME, what, number)
        if counts.untimed:
            ledger.untimed(NAME, counts.untimed)
