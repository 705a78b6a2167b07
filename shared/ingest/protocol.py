"""
The port of everything that brings events by HTTP.

It turns bytes into events, outcomes into bytes, and errors into the protocol's own form.

A protocol is pure: it does no I/O, reads no clock and keeps nothing between requests. `shared.ingest.asgi` does the rest for
all of them: limits, bodies, codings, the sink, the log.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Protocol

from shared.event.outcome import Outcome
from shared.event.sealed import Intake, SealedEvent
from shared.ingest.head import Head
from shared.wire.problem import CONTENT_TYPE, ProblemError, document


class Submission(NamedTuple):
    """
    What a request brings.

    Attributes:
        events: Those that are valid, in the order sent. With none of them the sink is not asked.
        context: What the protocol needs again for its answer.
    """

    events: Sequence[SealedEvent]
    context: Any = None


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


class IngestProtocol(Protocol):
    """
    One way to send events here.

    Attributes:
        max_body_bytes: How long a body may be, on the wire and after decompression.
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

    def read(self, body: bytes, intake: Intake, asked: Any) -> Submission | Generator[None, None, Submission]:
        """
        Find the events in a body. What may last longer than some milliseconds is a generator that yields in between.

        Args:
            body: Decompressed.
            intake: Gives events what they lack of an identity.
            asked: What `check` returned.

        Raises:
            ProblemError: The body as a whole cannot be read.
            InvalidEventError: The same, and which fields are wrong.
        """
        ...

    def answer(self, submission: Submission, outcomes: Sequence[Outcome]) -> Reply:
        """
        Return the answer: `outcomes` has one outcome for each of `submission.events`, in order.

        Raises:
            ProblemError: The answer is an error, for `refuse` to put into words.
        """
        ...

    def refuse(self, error: ProblemError, submission: Submission | None) -> Reply:
        """
        Return an error in the protocol's form.

        Args:
            error: What is wrong.
            submission: What was read before it failed; its events have identities that a retry has to repeat.
        """
        ...


def problem_reply(error: ProblemError) -> Reply:
    """Return an error as `application/problem+json`."""
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    return Reply(error.status, document(error.status, error.detail, error.extra), CONTENT_TYPE.encode(), headers)
