"""Clients, against a gateway that answers as it is told."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from uuid import UUID

import httpx
import pytest

from chaos.ledger import LedgerFile, Outcome, read_ledger
from chaos.shippers import PROTOCOLS
from chaos.traffic import Traffic
from chaos.writers import Writers

Answer = Callable[[httpx.Request], httpx.Response]
DURABLE = {
    "otlp": httpx.Response(200, content=b""),
    "loki": httpx.Response(204),
    "bulk": httpx.Response(200, json={"errors": False, "items": [{"create": {"status": 201}}] * 5}),
}


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("the connection ended", request=request)


async def sent(name: str, path: Path, answers: list[Answer]) -> tuple[list[httpx.Request], Writers]:
    """Return what a client sends until all is acknowledged."""
    random, requests = Random(1), []
    traffic = Traffic("run", random, lambda: UUID(bytes=random.randbytes(16)), protocol=PROTOCOLS[name])

    async def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answers.pop(0)(request)

    with LedgerFile(path) as ledger:
        writers = Writers(
            "http://gateway", ["region-a", "region-b"], ledger, traffic, random, rate=1, protocol=PROTOCOLS[name]
        )
        events = next(batch for batch in iter(lambda: traffic.batch(5, 1_700_000_000_000_000), None) if batch[0].named)
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            await writers.send_patiently(http, "region-a", events)
    return requests, writers


@pytest.mark.parametrize("name", sorted(DURABLE))
async def test_a_client_of_a_shippers_protocol_sends_the_same_bytes_until_all_is_durable(
    name: str, tmp_path: Path
) -> None:
    answers: list[Answer] = [
        lambda _: httpx.Response(503),
        lost,
        lambda _: httpx.Response(429),
        lambda _: DURABLE[name],
    ]

    requests, writers = await sent(name, tmp_path / "l", answers)

    assert len(requests) == 4
    assert len({(request.url, request.content) for request in requests}) == 1
    assert writers.seen.unanswered == {"503": 1, "429": 1, "RemoteProtocolError": 1}
    assert writers.seen.total == 5
    assert not writers.seen.strange
    entries = read_ledger(tmp_path / "l").entries.values()
    assert [(entry.outcome, entry.attempts) for entry in entries] == [(Outcome.ACKNOWLEDGED, 4)] * 5


@pytest.mark.parametrize("name", sorted(DURABLE))
async def test_what_no_gateway_should_answer_is_a_finding(name: str, tmp_path: Path) -> None:
    answers: list[Answer] = [lambda _: httpx.Response(500, text="broken"), lambda _: DURABLE[name]]

    _, writers = await sent(name, tmp_path / "l", answers)

    assert writers.seen.strange == ["500 to a batch with valid events: broken"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("otlp", b'{"partialSuccess":{"rejectedLogRecords":"1"}}'),
        ("bulk", b'{"errors":true,"items":[]}'),
        ("bulk", b"<html>"),
    ],
)
async def test_a_success_that_says_something_else_is_a_finding_and_no_acknowledgement(
    name: str, said: bytes, tmp_path: Path
) -> None:
    answers: list[Answer] = [lambda _: httpx.Response(200, content=said), lambda _: DURABLE[name]]

    _, writers = await sent(name, tmp_path / "l", answers)

    assert len(writers.seen.strange) == 1
    assert writers.seen.total == 5


@pytest.mark.parametrize("name", sorted(DURABLE))
async def test_a_refusal_of_what_can_be_read_is_a_finding(name: str, tmp_path: Path) -> None:
    _, writers = await sent(name, tmp_path / "l", [lambda _: httpx.Response(400)])

    assert len(writers.seen.strange) == 5
    assert all("refused although valid" in finding for finding in writers.seen.strange)
