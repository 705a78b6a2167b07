"""
A shipper's request, passed on portion after portion.

A portion is durable before the next one is read. Where one is refused for now, the request ends there. Its retry begins with
the same portions, and those that are durable are not sent again.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from shared.event.outcome import Accepted, EventSink, Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.account import Account
from shared.ingest.asgi import log_refusal
from shared.ingest.opening import next_portion
from shared.ingest.places import clock, left
from shared.ingest.protocol import Reading, Submission
from shared.ingest.receipts import Progress
from shared.ingest.turns import Turns
from shared.wire.problem import UnavailableError

# Most portions have nothing else, and are not looked at one by one.
_ALL_ACCEPTED: Final = {Accepted}


class Ledger(Protocol):
    """Counts what shippers bring."""

    def records(self, protocol: str, outcome: str, number: int) -> None:
        """Count records by what became of them: accepted, refused, unavailable."""
        ...

    def repaired(self, protocol: str, what: str, number: int) -> None:
        """Count events that were repaired."""
        ...

    def untimed(self, protocol: str, number: int) -> None:
        """Count records without a time of their own."""
        ...

    def repeated(self, protocol: str) -> None:
        """Count a request that equals, to the byte, one that was acknowledged not long ago."""
        ...


class Way(NamedTuple):
    """
    Where a request's events go.

    Attributes:
        protocol: Its protocol's name.
        region: The region that it asks for.
        traceparent: Of the request.
        until: How long it may be held.
        account: On whose account its events go; None: on no account.
        progress: How far earlier tries have come.
    """

    protocol: str
    region: str | None
    traceparent: bytes | None
    until: float
    account: Account | None
    progress: Progress


class PassingOn:
    """
    Passes requests on.

    Args:
        ledger: Counts the records.
        turns: Where bodies are read.
        patience_s: How long a portion may take.
    """

    def __init__(self, ledger: Ledger, turns: Turns, patience_s: float) -> None:
        self._ledger = ledger
        self._turns = turns
        self._patience_s = patience_s

    async def ship(
        self, reading: Submission | Reading, sink: EventSink, way: Way
    ) -> tuple[Submission, Sequence[Outcome]]:
        """Make portion after portion durable, and return the outcome of each event."""
        outcomes: list[Outcome] = []
        submission: Submission | None = reading if isinstance(reading, Submission) else None
        until = way.until
        while True:
            portion: Sequence[SealedEvent]
            if submission is not None:
                portion = submission.events
            else:
                assert not isinstance(reading, Submission)  # noqa: S101 - for the type checker
                read = await self._turns.run(next_portion(reading))
                if isinstance(read, Submission):
                    submission = read
                    continue
                portion = read
            if portion and way.progress.durable >= len(outcomes) + len(portion):
                assert way.progress.by is not None  # noqa: S101 - for the type checker
                outcomes += [way.progress.by] * len(portion)
            elif portion:
                if way.account is not None:
                    await way.account.take_portion(portion, until - self._patience_s / 2)
                some = await sink.accept(portion, way.region, way.traceparent, hold_s=left(until))
                if way.account is not None:
                    way.account.note(some)
                if {*map(type, some)} == _ALL_ACCEPTED:
                    self._ledger.records(way.protocol, "accepted", len(some))
                    self._note_progress(way.progress, len(outcomes), some)
                else:
                    self._take_refusals(portion, some, way)
                outcomes += some
                # A client that sends much at a time gives it time as well. It is no waiting as long as something goes on.
                until = max(until, clock() + self._patience_s)
            if submission is not None:
                return submission, outcomes

    def _note_progress(self, progress: Progress, before: int, accepted: Sequence[Outcome]) -> None:
        if progress.durable == before:
            last = accepted[-1]
            assert isinstance(last, Accepted)  # noqa: S101 - for the type checker
            progress.durable, progress.by = before + len(accepted), last

    def _take_refusals(self, portion: Sequence[SealedEvent], some: Sequence[Outcome], way: Way) -> None:
        log_refusal(portion, some, way.traceparent)
        self._count(way.protocol, some)
        if (again := next((one for one in some if isinstance(one, Refused) and one.retryable), None)) is not None:
            raise UnavailableError(again.detail)

    def _count(self, protocol: str, outcomes: Sequence[Outcome]) -> None:
        accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
        unavailable = sum(isinstance(outcome, Refused) and outcome.retryable for outcome in outcomes)
        numbers = {
            "accepted": accepted,
            "unavailable": unavailable,
            "refused": len(outcomes) - accepted - unavailable,
        }
        for outcome, number in numbers.items():
            if number:
                self._ledger.records(protocol, outcome, number)
