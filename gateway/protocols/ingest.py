"""
`POST /ingest`: whatever sends JSON or lines of text by HTTP, and can be told nothing but an address. Pure.

What a field means is guessed from its name, or said by a preset or by parameters of the URL. A line that is no JSON is an event
whose message it is. The answer is 200, since some agents take no other code for success, and problem+json else.
"""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.protocols.convert import Converter
from gateway.protocols.converted import MAX_RECORD_BYTES, Items, converted, unreadable, vast
from gateway.protocols.documents import Documents, Names
from gateway.protocols.json_lines import records
from gateway.protocols.json_walk import begin_of
from gateway.protocols.portions import in_portions
from gateway.protocols.presets import GUESSED, PRESETS
from gateway.protocols.record import Group, Record
from gateway.protocols.shapeless import document_record, refuse_compressed, text_record
from shared.event.json_text import NotJSONError
from shared.event.outcome import Accepted, Outcome
from shared.ingest.head import Head
from shared.ingest.protocol import Reading, Reply, Submission, problem_reply
from shared.ingest.receipt import Receipt
from shared.ingest.shipping import MAX_BODY_BYTES
from shared.wire.problem import BadRequestError, ProblemError

_JSON: Final = b"application/json"
_GROUPS_KEPT: Final = 1000
# Parameters of the URL, and which of the names they set.
_PARAMETERS: Final[Mapping[str, str]] = {
    "time": "time",
    "message": "message",
    "level": "level",
    "service": "service",
    "id": "own_id",
    "host": "host",
}


class Asked(msgspec.Struct, frozen=True):
    """What the URL says of the records."""

    names: Names
    trace: Sequence[str]


class Ingest:
    """`POST /ingest`."""

    max_body_bytes = MAX_BODY_BYTES

    def check(self, head: Head) -> Asked:
        """Find out what fields mean."""
        _ = head.media_type  # refuses a charset other than UTF-8
        presets = head.query("preset")
        if len(presets) > 1 or not PRESETS.keys() >= set(presets):
            raise BadRequestError(f"preset must be one of {', '.join(PRESETS)}, sent once")
        names = PRESETS[presets[0]] if presets else GUESSED
        asked: dict[str, Any] = {
            field: found for parameter, field in _PARAMETERS.items() if (found := _listed(head.query(parameter)))
        }
        return Asked(msgspec.structs.replace(names, **asked), _listed(head.query("trace")))

    def read(self, body: bytes, receipt: Receipt, asked: Asked) -> Reading:
        """Read all records."""
        refuse_compressed(body)
        if begin_of(body) == len(body):
            raise BadRequestError("the body is empty; send JSON or lines of text")
        converter = Converter(receipt, "ingest")
        rest = yield from in_portions(converted(_items(records(body), asked), converter))
        return Submission(rest, counts=converter.counts())

    def answer(self, _: Submission, outcomes: Sequence[Outcome]) -> Reply:
        """Tell how many events are stored."""
        accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
        rejected = b',"rejected":%d' % (len(outcomes) - accepted) if accepted < len(outcomes) else b""
        return Reply(HTTPStatus.OK, b'{"accepted":%d%b}' % (accepted, rejected), _JSON)

    def refuse(self, error: ProblemError, _: Submission | None, __: Head) -> Reply:
        """Return a problem, as the project's own API does."""
        return problem_reply(error)


def _listed(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for value in values for part in value.split(",") if (name := part.strip()))


def _items(found: Iterator[bytes | None], asked: Asked) -> Items:
    groups: dict[str, Group] = {}
    documents = Documents(asked.names, asked.trace)
    for raw in found:
        yield None if raw is None else _item(raw, documents, groups)


def _item(raw: bytes, documents: Documents, groups: dict[str, Group]) -> tuple[Group, Record]:
    if len(raw) > MAX_RECORD_BYTES:
        return _group(groups, ""), vast(raw, 0, len(raw))
    if raw[:1] != b"{":
        return _group(groups, ""), text_record(raw)
    try:
        record, host = document_record(raw, documents)
    except NotJSONError:
        return _group(groups, ""), unreadable(raw)
    return _group(groups, host), record


def _group(groups: dict[str, Group], host: str) -> Group:
    if (group := groups.get(host)) is None:
        if len(groups) >= _GROUPS_KEPT:
            groups.clear()
        group = groups[host] = Group(key=b"", host=host, stream=host.encode("utf-8", "replace") or b"-")
    return group
