"""
Requests of log shippers, which know neither this project's identities nor its answers.

* A body is read in portions. Each is made durable before the next is read, so that a large body neither holds the loop nor
  has all of its events in memory.
* "Not now" is one answer for the whole request, whatever was accepted of it: a retry has the same identities, and goes on where
  the first try ended.
* Many shippers give up at the first refusal. So a request is held as long as it may be before it is refused, and the answer
  comes before clients stop waiting for it.
"""

import asyncio

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Final

from starlette.types import Receive
from uuid_utils import uuid7

from shared.event.outcome import EventSink
from shared.ingest.account import Account, open_account
from shared.ingest.asgi import REFUSALS
from shared.ingest.body import read_body
from shared.ingest.codings import Decoder
from shared.ingest.head import Head
from shared.ingest.opening import declared, digest, named, undoing
from shared.ingest.passing_on import Ledger, PassingOn, Way
from shared.ingest.places import Gate, Held, Large, clock, left
from shared.ingest.protocol import Reply, Submission
from shared.ingest.quota import Meters
from shared.ingest.receipt import Receipt
from shared.ingest.receipts import Receipts, Slot
from shared.ingest.routes import Route
from shared.ingest.turns import Turns
from shared.wire.problem import PayloadTooLargeError, ProblemError, TooManyRequestsError, UnavailableError

MAX_WIRE_BYTES: Final = 16 * 1024 * 1024
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
# A body may take its size twice for a moment. So of those that are larger, so many are opened and read at a time.
_LANES: Final = ((1024 * 1024, 0), (8 * 1024 * 1024, 4), (MAX_BODY_BYTES, 1))
DEFAULT_PATIENCE_S: Final = 4.0

_OK: Final = range(200, 300)
_LATER: Final = (UnavailableError, TooManyRequestsError)


class Shipping:
    """
    Takes requests that bring events.

    Args:
        gate: Bounds the requests.
        ledger: Counts the records.
        turns: Where bodies are read.
        patience_s: How long a request is held before it is refused.
        spread: Over how many names a source's records are spread.
        now: Clock, aware UTC; the system's by default.
        receipts: What is remembered of requests.
        meters: What tenants may send, where that is limited.
    """

    def __init__(
        self,
        gate: Gate,
        ledger: Ledger,
        *,
        turns: Turns,
        patience_s: float = DEFAULT_PATIENCE_S,
        spread: int = 1,
        now: Callable[[], datetime] | None = None,
        receipts: Receipts | None = None,
        meters: Meters | None = None,
    ) -> None:
        self._gate = gate
        self._ledger = ledger
        self._turns = turns
        self._now = now or partial(datetime.now, UTC)
        self._patience_s = patience_s
        self._passing_on = PassingOn(ledger, turns, patience_s)
        self._spread = spread
        self._receipts = receipts or Receipts()
        self._meters = meters
        self._lanes = [(most, asyncio.Semaphore(places) if places else None) for most, places in _LANES]

    async def take(self, route: Route, head: Head, receive: Receive, sink: EventSink) -> Reply:
        """
        Make all of a request's events durable, and return the answer.

        Raises:
            ProblemError: The request cannot be read, or not all of its events were acknowledged.
            InvalidEventError: It cannot be read.
            ClientDisconnect: The connection ended before the body did.
        """
        until = clock() + self._patience_s
        if self._meters is None or not route.brings_events:
            return await self._take(route, head, receive, sink, until=until, account=None)
        # The other half is left to the regions.
        account = await open_account(self._meters, head, until - self._patience_s / 2)
        if account is None:
            return await self._take(route, head, receive, sink, until=until, account=None)
        try:
            return await self._take(route, head, receive, sink, until=until, account=account)
        except REFUSALS as exc:
            account.failed(exc)
            raise
        finally:
            account.close()

    async def _take(
        self, route: Route, head: Head, receive: Receive, sink: EventSink, *, until: float, account: Account | None
    ) -> Reply:
        region = head.region(sink.regions)
        asked = route.protocol.check(head)
        (tenant, key), owner = named(head), head.owner
        undo = undoing(route, head)  # what has another coding is refused before its body is read
        limit = route.protocol.max_body_bytes
        await self._gate.wait(route.path, declared(head, MAX_WIRE_BYTES), left(until))
        wire = await read_body(head, receive, min(MAX_WIRE_BYTES, limit), None)
        await self._gate.enter_patiently(route.path, len(wire), left(until))
        held = Held(self._gate, route.path, len(wire))
        async with AsyncExitStack() as stack:
            stack.callback(held.leave)
            body = await self._open(wire, undo, limit, held, Large(stack, until))
            del wire
            if account is not None:
                account.arrived(len(body))
            hashed = await self._turns.run(digest(body))
            request = sha256(repr((head.path, owner, tenant, key or hashed)).encode()).digest()
            slot = self._receipts.begin(request, now := self._now())
            receipt = Receipt(
                now,
                uuid7,
                path=head.path,
                tenant=tenant,
                key=key,
                digest=hashed,
                untimed_at=slot.since,
                salt=slot.salt,
                owner=owner,
                spread=self._spread,
            )
            acknowledged, retryable = False, True
            try:
                reading = route.protocol.read(body, receipt, asked)
                del body  # what is needed of it, the reading has
                way = Way(route.name, region, head.traceparent, until, account, slot.resume(hashed))
                submission, outcomes = await self._passing_on.ship(reading, sink, way)
                reply = route.protocol.answer(submission, outcomes)
                acknowledged = reply.status in _OK
                retryable = False
                self._note(route.name, submission, slot, reply)
                if acknowledged and submission.counts is not None and submission.counts.untimed:
                    acknowledged = not await _is_gone(receive)
                    retryable = not acknowledged
            except ProblemError as exc:
                retryable = isinstance(exc, _LATER)
                raise
            finally:
                self._receipts.end(request, slot, acknowledged=acknowledged, retryable=retryable)
        return reply

    async def _open(self, wire: bytes, undo: Decoder | None, limit: int, held: Held, large: Large) -> bytes:
        """Return the body without its coding. The larger bodies are, the fewer are opened and read at a time."""
        on_wire = len(wire)

        def hold(size: int) -> None:
            held.resize(on_wire + size)

        for most, place in self._lanes:
            if most < on_wire and most < limit:
                continue
            if place is not None:
                await large.enter(place)
            if undo is None:
                break
            if most >= limit:
                body = await self._turns.run(undo(wire, limit, hold))
                held.resize(len(body))
                return body
            with suppress(
                PayloadTooLargeError, UnavailableError
            ):  # where larger ones have taken all room, it is waited for
                body = await self._turns.run(undo(wire, most, hold))
                held.resize(len(body))
                return body
            held.resize(on_wire)
        return wire

    def _note(self, protocol: str, submission: Submission, slot: Slot, reply: Reply) -> None:
        if (counts := submission.counts) is None or reply.status not in _OK:
            return
        for what, number in counts.repaired.items():
            self._ledger.repaired(protocol, what, number)
        if counts.untimed:
            self._ledger.untimed(protocol, counts.untimed)
        if slot.is_repeated:
            self._ledger.repeated(protocol)


async def _is_gone(receive: Receive) -> bool:
    """Tell whether the client has gone by now, after its whole body was read."""
    message = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    if message.done():
        return bool(message.result()["type"] == "http.disconnect")
    message.cancel()
    return False
