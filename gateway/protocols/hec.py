"""
Splunk's HTTP Event Collector. Pure.

Any token is taken. The type that a client calls its body is not looked at: some call JSON a form, some call it nothing. A 200 is
durable, so a client that wants to be told when its events are indexed is told so at once (`HecAck`).
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from typing import Final

from gateway.protocols.convert import Converter
from gateway.protocols.hec_answers import CODE, EVENT, NO_DATA, ROOT, HecAck, ack_id, channel, error_reply, success
from gateway.protocols.hec_events import Found, HecEvents, places
from gateway.protocols.hec_source import Asked, Sources, asked_of
from gateway.protocols.json_lines import records
from gateway.protocols.portions import in_portions
from gateway.protocols.shapeless import refuse_compressed
from shared.event.json_text import BOM
from shared.event.outcome import Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.head import Head
from shared.ingest.protocol import Reading, Reply, Submission
from shared.ingest.receipt import Receipt
from shared.ingest.shipping import MAX_BODY_BYTES
from shared.wire.problem import BadRequestError, ProblemError

NAME: Final = "hec"
UNDER: Final = "/services/"
EVENT_PATHS: Final = (ROOT, f"{ROOT}/event", f"{ROOT}/event/1.0")
RAW_PATHS: Final = (f"{ROOT}/raw", f"{ROOT}/raw/1.0")
ACK_PATHS: Final = (f"{ROOT}/ack", f"{ROOT}/ack/1.0")

_Items = Iterator[Found | None]


class _Collector(ABC):
    """What both ways to send events have in common."""

    max_body_bytes = MAX_BODY_BYTES

    def check(self, head: Head) -> Asked:
        """Find out where the events come from."""
        return asked_of(head, channel=channel(head))

    def read(self, body: bytes, receipt: Receipt, asked: Asked) -> Reading:
        """Read all events; nothing is stored unless all can be told apart."""
        refuse_compressed(body)
        found = yield from self._items(body.removeprefix(BOM), HecEvents(asked))
        converter = Converter(receipt, NAME)
        rest = yield from in_portions(_events(found, converter, Sources(converter, asked.key)))
        if not converter.records:
            raise BadRequestError("the body has no event", extra={CODE: NO_DATA})
        return Submission(rest, ack_id(receipt) if asked.channel else None, counts=converter.counts())

    def answer(self, submission: Submission, outcomes: Sequence[Outcome]) -> Reply:
        """Tell that everything is stored."""
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, Refused):
                raise BadRequestError(
                    f"event {number} was refused, the others are stored: {outcome.detail}", extra={EVENT: number}
                )
        return success(submission.context)

    def refuse(self, error: ProblemError, _: Submission | None, __: Head) -> Reply:
        """Return an error in the collector's form."""
        return error_reply(error)

    @abstractmethod
    def _items(self, body: bytes, events: HecEvents) -> Generator[None, None, _Items]: ...


class HecEvent(_Collector):
    """`POST /services/collector` and `/services/collector/event`: JSON objects, each with its event."""

    def _items(self, body: bytes, events: HecEvents) -> Generator[None, None, _Items]:
        found = yield from places(body)
        return (None if place is None else events.of_object(body[slice(*place)]) for place in found)


class HecRaw(_Collector):
    """`POST /services/collector/raw`: lines, each an event."""

    def _items(self, body: bytes, events: HecEvents) -> Generator[None, None, _Items]:
        yield
        return (None if line is None else events.of_line(line) for line in records(body))


def _events(found: _Items, converter: Converter, sources: Sources) -> Iterator[SealedEvent | None]:
    for item in found:
        yield None if item is None else converter.convert(sources.of(item.meta, item.host), item.record)


__all__ = ["ACK_PATHS", "EVENT_PATHS", "NAME", "RAW_PATHS", "UNDER", "HecAck", "HecEvent", "HecRaw"]
