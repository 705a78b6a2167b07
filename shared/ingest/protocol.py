"""
The port of everything that brings events by HTTP.

It turns bytes into events, outcomes into bytes, and errors into the protocol's own form.

A protocol is pure: it does no I/O, reads no clock and keeps nothing between requests. `shared.ingest.asgi` does the rest for
all of them: limits, bodies, codings, the sink, the log.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from shared.event.outcome import Outcome
from shared.event.sealed import Intake, SealedEvent
from shared.ingest.head import Head
from shared.ingest.receipt import Receipt
from shared.ingest.turns import Step, Work
from shared.wire.problem import CONTENT_TYPE, ProblemError, document


class Counts(NamedTuple):
    """
    What was found in a shipper's request.

    Attributes:
        repaired: Events that had to be repaired, by what.
        untimed: Records without a time of their own.
        coarse: Records that only their place in the request tells from others.
    """

    repaired: Mapping[str, int]
    untimed: int
    coarse: int


class Submission(NamedTuple):
    """
    What a request brings.

    Attributes:
        events: Those that are valid, in the order sent; the last ones, if portions came before. With none of them the sink is
            not asked.
        context: What the protocol needs again for its answer.
        counts: What was found, where the protocol is one of shippers.
    """

    events: Sequence[SealedEvent]
    context: Any = None
    counts: Counts | None = None


Reading = Generator[Step | Sequence[SealedEvent], Any, Submission]
"""
A body that is read bit by bit. None is a pause, and a function is called in a thread (`shared.ingest.turns`). A list of
events is a portion: it is made durable before the reading goes on, and forgotten then.
"""


class Reply(NamedTuple):
    """
    An HTTP answer.

    Attributes:
        status: Its code.
        body: Its bytes; Content-Length follows from them.
        content_type: What they are.
        headers: Further ones, with lower-case names.
    """

    status: int
    body: bytes
    content_type: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


class Answering(Protocol):
    """
    What all ways to send events here have in common.

    Attributes:
        max_body_bytes: How long a body may be after decompression; on the wire the same, or less (`shared.ingest.shipping`).
    """

    max_body_bytes: int

    def check(self, head: Head) -> Any:
        """
        Refuse what can be refused before the body is read.

        Returns:
            What `read` and `answer` need to know of the head.

        Raises:
            ProblemError: The request is none of this protocol.
        """
        ...

    def answer(self, submission: Submission, outcomes: Sequence[Outcome]) -> Reply:
        """
        Return the answer: `outcomes` has one outcome for each event, in order, those of portions included.

        Where shippers are answered none of the outcomes is retryable: the answer is an error then.

        Raises:
            ProblemError: The answer is an error, for `refuse` to put into words.
        """
        ...

    def refuse(self, error: ProblemError, submission: Submission | None, head: Head) -> Reply:
        """
        Return an error in the protocol's form.

        Args:
            error: What is wrong.
            submission: What was read before it failed; its events have identities that a retry has to repeat.
            head: Of the request.
        """
        ...


class IngestProtocol(Answering, Protocol):
    """One of the project's own ways: its clients give events their identities, or learn them from the answer."""

    def read(self, body: bytes, intake: Intake, asked: Any) -> Submission | Work[Submission]:
        """
        Find the events in a body. What may last longer than some milliseconds is read bit by bit.

        Args:
            body: Decompressed.
            intake: Gives events what they lack of an identity.
            asked: What `check` returned.

        Raises:
            ProblemError: The body as a whole cannot be read.
            InvalidEventError: The same, and which fields are wrong.
        """
        ...


class ShipperProtocol(Answering, Protocol):
    """A way that log shippers know already (`shared.ingest.shipping`)."""

    def read(self, body: bytes, receipt: Receipt, asked: Any) -> Submission | Reading:
        """
        Find the events in a body. What may last longer than some milliseconds is read bit by bit.

        Args:
            body: Decompressed.
            receipt: Tells how it arrived.
            asked: What `check` returned.

        Raises:
            ProblemError: The body as a whole cannot be read.
            InvalidEventError: The same, and which fields are wrong.
        """
        ...


def headers_of(error: ProblemError) -> Sequence[tuple[bytes, bytes]]:
    """Return an error's headers as a `Reply` has them."""
    return [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]


def problem_reply(error: ProblemError) -> Reply:
    """Return an error as `application/problem+json`."""
    body = document(error.status, error.detail, error.extra)
    return Reply(error.status, body, CONTENT_TYPE.encode(), headers_of(error))
