"""
Elasticsearch's and OpenSearch's bulk API. Pure.

A document is an event, whatever its action calls it: `create` and `index` are the same here, since events are only ever added.
Each action has its item in the answer, under its own name and in its place. "Not now" is one answer for the whole request,
never that of an item: half of the clients would lose these, and the others send them again in another request, which then are
other events.
"""

import re

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import msgspec

from gateway.protocols.attributes import free_name
from gateway.protocols.bulk_answers import PRODUCT, content_type, error_reply
from gateway.protocols.bulk_lines import Action, actions
from gateway.protocols.convert import Converter
from gateway.protocols.converted import MAX_RECORD_BYTES, Events, unreadable, vast
from gateway.protocols.documents import Documents
from gateway.protocols.portions import in_portions
from gateway.protocols.presets import BULK
from gateway.protocols.record import Group, Record
from shared.event.json_text import NotJSONError
from shared.event.outcome import Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.head import Head
from shared.ingest.protocol import Reading, Reply, Submission
from shared.ingest.receipt import Receipt
from shared.ingest.shipping import MAX_BODY_BYTES
from shared.wire.problem import BadRequestError, ProblemError

NO_INDEX: Final = "logs"

# Of fewer lines all actions are kept, and need not be read twice.
_FEW_LINES: Final = 20_000
# Of a larger body not even the lines are counted at once.
_COUNTED_BYTES: Final = 16 * 1024 * 1024
_STEPS: Final = 500
_GROUPS_KEPT: Final = 1000
_APPENDS: Final = ("create", "index")
# What follows an index's name when a new one begins each day or month, or with a certain size.
_ROLLED: Final = re.compile(r"(?:[-._]?\d{4}[-._]\d{2}(?:[-._]\d{2}){0,2})?(?:-\d{6})?\Z")
_DATASET: Final = re.compile(r"(?:\.ds-)?logs-(.+?)-[^-]+\Z")
_CREATED: Final = (
    ',"_version":1,"result":"created","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,'
    '"status":201}}'
)
# Elasticsearch's own limit; what is longer is not kept.
_INDEX_CHARS: Final = 255
_JOINED: Final = 1000
_encode: Final = msgspec.json.Encoder().encode
_split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class _Asked:
    index: str
    kind: bytes


@dataclass(slots=True)
class _Items:
    """The answer's items as they are if all goes well, those of events by their places."""

    kind: bytes
    of_events: list[int] = field(default_factory=list)
    failed: bool = False
    number: int = 0
    _last: list[bytes] = field(default_factory=list)
    _joined: list[bytes] = field(default_factory=list)

    def add(self, item: bytes) -> None:
        """Add the item of the next action."""
        self.number += 1
        self._last.append(item)
        if len(self._last) >= _JOINED:  # to join them all at the end would last
            self._joined.append(b",".join(self._last))
            self._last.clear()

    def refuse(self, refusals: Mapping[int, Refused]) -> None:
        """Put refusals in the place of some items."""
        self.failed = True
        text = b"[%b]" % b",".join([*self._joined, *self._last])
        items = [bytes(item) for item in _split(text)]
        for place, refusal in refusals.items():
            items[place] = _refused(items[place], refusal)
        self._joined, self._last = items, []

    def whole(self) -> bytes:
        """Return the answer. One of megabytes is copied only once."""
        begin = b'{"took":0,"errors":%b,"items":[' % (b"true" if self.failed else b"false")
        items = [*self._joined, *self._last]
        if items:
            items[0] = begin + items[0]
            items[-1] += b"]}"
            return b",".join(items)
        return begin + b"]}"


class Bulk:
    """`POST` and `PUT` on `/_bulk` and `/{index}/_bulk`."""

    max_body_bytes = MAX_BODY_BYTES

    def check(self, head: Head) -> _Asked:
        """Find the index; parameters such as `refresh`, `pipeline` and `filter_path` have no meaning here."""
        _ = head.media_type  # refuses a charset other than UTF-8
        return _Asked(head.variable, content_type(head.first(b"accept")))

    def read(self, body: bytes, receipt: Receipt, asked: _Asked) -> Reading:
        """Read all actions; nothing is stored unless all can be told apart."""
        found: Iterable[Action | None]
        if len(body) <= _COUNTED_BYTES and body.count(b"\n") <= _FEW_LINES:
            found = [action for action in actions(body, asked.index) if action is not None]
            empty = not found
        else:
            empty = True
            for number, action in enumerate(actions(body, asked.index)):
                empty = empty and action is None
                if action is None or not number % _STEPS:
                    yield None
            found = actions(body, asked.index)
        if empty:
            raise BadRequestError("request body is required: send an action and a document, each on a line")
        items = _Items(asked.kind)
        converter = Converter(receipt, "bulk")
        rest = yield from in_portions(_events(found, items, converter))
        return Submission(rest, items, counts=converter.counts())

    def answer(self, submission: Submission, outcomes: Sequence[Outcome]) -> Reply:
        """Return an item an action."""
        items: _Items = submission.context
        if Refused in set(map(type, outcomes)):
            each = zip(items.of_events, outcomes, strict=True)
            items.refuse({place: outcome for place, outcome in each if isinstance(outcome, Refused)})
        return Reply(HTTPStatus.OK, items.whole(), items.kind, (PRODUCT,))

    def refuse(self, error: ProblemError, _: Submission | None, head: Head) -> Reply:
        """Return an error as Elasticsearch writes it."""
        return error_reply(error, content_type(head.first(b"accept")))


def _events(found: Iterable[Action | None], items: _Items, converter: Converter) -> Iterator[SealedEvent | None]:
    """Yield the events, and note each action's item."""
    groups: dict[tuple[str, str], Group] = {}
    documents = Documents(BULK)
    events = Events(converter)
    for action in found:
        if action is None:
            yield None
            continue
        if (error := _error(action)) is not None:
            items.failed = True
            items.add(_failed(action, error))
            yield None
            continue
        event = events.of(*_record(action, documents, groups))
        items.of_events.append(items.number)
        items.add(_created(action, event.event_id))
        yield event


def _error(action: Action) -> str | None:
    if action.op not in _APPENDS:
        return f"{action.op} is not supported: events are only added; send create or index"
    if action.source is None or (isinstance(action.source, bytes) and not action.source.strip()):
        return "the action has no document: send one on the line after it"
    return None


def _record(action: Action, documents: Documents, groups: dict[tuple[str, str], Group]) -> tuple[Group, Record]:
    source = action.source or b""
    index = action.where or NO_INDEX
    if isinstance(source, memoryview) or len(source) > MAX_RECORD_BYTES:
        return _group(groups, index, ""), _with_id(vast(source, 0, len(source)), action.id)
    source = source.rstrip(b"\r")
    try:
        read = documents.read(source)
    except NotJSONError:
        read = None
    if read is None:
        return _group(groups, index, ""), _with_id(unreadable(source), action.id)
    record, host = read
    return _group(groups, index, host), _with_id(record, action.id)


def _with_id(record: Record, own_id: str) -> Record:
    if own_id:
        record.own_id = own_id
        record.attributes[free_name("_id", record.attributes)] = own_id
    return record


def _group(groups: dict[tuple[str, str], Group], index: str, host: str) -> Group:
    if (group := groups.get((index, host))) is None:
        if len(groups) >= _GROUPS_KEPT:
            groups.clear()
        name = dataset[1] if (dataset := _DATASET.match(index)) else index
        stream = f"{_ROLLED.sub('', index, count=1)}\0{host}".encode("utf-8", "replace")
        key = index.encode()
        group = groups[index, host] = Group(
            key=key, service=name, host=host, stream=stream, id_scope=key, layers=(("bulk.", {"_index": index}),)
        )
    return group


def _begun(op: str, index: str) -> str:
    return f'{{"{op}":{{"_index":{_encode(index or NO_INDEX).decode()},"_id":'


_begun_known: Final = lru_cache(256)(_begun)


def _created(action: Action, event_id: str) -> bytes:
    own_id = _encode(action.id).decode() if action.id else f'"{event_id}"'
    begun = (_begun_known if len(action.where) <= _INDEX_CHARS else _begun)(action.op, action.where)
    return f"{begun}{own_id}{_CREATED}".encode()


def _failed(action: Action, reason: str) -> bytes:
    error = {"type": "illegal_argument_exception", "reason": reason}
    item = {
        "_index": action.where or NO_INDEX,
        "_id": action.id or None,
        "status": HTTPStatus.BAD_REQUEST,
        "error": error,
    }
    return _encode({action.op: item})


def _refused(item: bytes, outcome: Refused) -> bytes:
    [(op, created)] = msgspec.json.decode(item).items()
    error = {"type": "document_parsing_exception", "reason": outcome.detail}
    return _encode({op: {"_index": created["_index"], "_id": created["_id"], "status": outcome.status, "error": error}})
