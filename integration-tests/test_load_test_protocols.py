"""The load test's clients of log shippers' protocols and the gateway's readers agree on what each record becomes."""

from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import pytest

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from chaos.ledger import Outcome, digest
from chaos.observe import known_by
from chaos.protocols import Made
from chaos.shippers import PROTOCOLS
from chaos.traffic import Traffic
from gateway.protocols.table import ROUTES
from gateway.tests.front_door import drained
from shared.event.outcome import Accepted
from shared.event.sealed import SealedEvent
from shared.ingest.codings import decoder
from shared.ingest.head import Head
from shared.ingest.protocol import Reply, Submission
from shared.ingest.receipt import Receipt
from shared.ingest.routes import Routes
from shared.ingest.turns import at_once
from shared.wire.problem import ProblemError

SHIPPERS = sorted(PROTOCOLS.keys() - {"api"})
NOW = datetime(2026, 11, 27, 6, 30, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000 + 123_456


def batches(name: str, seed: int, number: int) -> list[list[Made]]:
    random = Random(seed)
    ids = lambda: UUID(bytes=random.randbytes(16))  # noqa: E731 - as short as it is
    traffic = Traffic("run", random, ids, clocks_us=[-3_600_000_000, 90_000_000], protocol=PROTOCOLS[name])
    return [traffic.batch(10, NOW_US + n * 1000) for n in range(number)]


class Door:
    """A gateway that stores nothing: it reads a request as the real one does, and answers that all is durable."""

    def __init__(self, name: str) -> None:
        self._protocol = PROTOCOLS[name]

    def post(self, events: list[Made]) -> tuple[list[SealedEvent], int, bytes]:
        request = self._protocol.request(events)
        headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
        found = Routes(ROUTES).find(request.path)
        assert found is not None
        head = Head({"type": "http", "method": "POST", "path": request.path, "headers": headers}, found.variable)
        undo = decoder(request.headers.get("Content-Encoding", ""))
        body = request.content if undo is None else at_once(undo(request.content, 2**26, lambda _: None))
        protocol = found.route.protocol
        try:
            stored, submission = self._read(protocol, head, body, request.path)
        except ProblemError as exc:
            refusal: Reply = protocol.refuse(exc, None, head)
            return [], refusal.status, refusal.body
        reply = protocol.answer(submission, [Accepted("region-a")] * len(stored))
        return stored, reply.status, reply.body

    def _read(self, protocol: Any, head: Head, body: bytes, path: str) -> tuple[list[SealedEvent], Submission]:
        receipt = Receipt(NOW, path=path, digest=body[:100])
        return drained(protocol.read(body, receipt, protocol.check(head)))


@pytest.mark.parametrize("name", SHIPPERS)
@given(seed=st.integers(0, 2**32))
def test_each_record_becomes_the_row_that_the_ledger_expects(name: str, seed: int) -> None:
    door = Door(name)
    for events in batches(name, seed, 3):
        stored, status, content = door.post(events)
        told = PROTOCOLS[name].told(status, content, events)

        assert told is not None
        assert set(told.outcomes) == {Outcome.ACKNOWLEDGED}
        rows = [from_json(event.encoded) for event in stored]
        expected = {made.sent.event_id: made.sent for made in events}
        assert {known_by(UUID(row["eventId"]), row["attributes"]) for row in rows} == expected.keys()
        for row in rows:
            sent = expected[known_by(UUID(row["eventId"]), row["attributes"])]
            contents = (row["serviceName"], row["level"], row["message"], row["correlationId"], row["attributes"])
            assert digest(*contents) == sent.digest, contents
            assert row["correlationId"] == sent.correlation_id
            time = datetime.fromisoformat(row["timestamp"])
            assert sent.time_us in {None, round(time.timestamp() * 1_000_000)}


@pytest.mark.parametrize("name", SHIPPERS)
def test_the_same_events_make_the_same_bytes_and_ids_and_those_without_a_time_are_among_themselves(name: str) -> None:
    protocol, door = PROTOCOLS[name], Door(name)
    seen = batches(name, 1, 19)

    assert all(protocol.request(events) == protocol.request(events) for events in seen)
    again = [(door.post(events)[0], door.post(events)[0]) for events in seen if events[0].named]
    assert all([e.event_id for e in first] == [e.event_id for e in second] for first, second in again)
    assert {made.named for events in seen for made in events} == {True, False}
    assert all(len({made.named for made in events}) == 1 for events in seen)


@pytest.mark.parametrize("name", SHIPPERS)
def test_a_request_that_cannot_be_read_is_refused_as_a_whole(name: str) -> None:
    seen, door = batches(name, 2, 40), Door(name)
    broken = [events for events in seen if not events[0].valid]

    assert len(broken) == 2
    for events in broken:
        stored, status, content = door.post(events)
        told = PROTOCOLS[name].told(status, content, events)
        assert not stored
        assert told is not None
        assert set(told.outcomes) == {Outcome.REFUSED}


@pytest.mark.parametrize("name", SHIPPERS)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_any_other_answer_tells_nothing(name: str, status: int) -> None:
    [events] = batches(name, 3, 1)

    assert PROTOCOLS[name].told(status, b"{}", events) is None


def test_what_is_said_beside_success_is_a_finding() -> None:
    [events] = batches("otlp", 4, 1)

    with pytest.raises(ValueError, match="nothing was to be repaired"):
        PROTOCOLS["otlp"].told(200, b'{"partialSuccess":{"errorMessage":"cut 1"}}', events)
    with pytest.raises(ValueError, match="documents were to be created"):
        PROTOCOLS["bulk"].told(200, b'{"errors":false,"items":[]}', events)
