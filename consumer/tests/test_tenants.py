"""Two tenants in one fleet: what each sees is what it would see alone, whatever the other sends."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from consumer.bloom import RotatingBloom
from consumer.decode import Decoder
from consumer.envelope import Envelope, Partition
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.outages import Outages
from consumer.tests.fakes import MemoryDatabase, MemoryDeadLetters, MemoryRecord, MemorySeenIds, MemoryStore
from consumer.tests.steps import Steps
from consumer.tests.strategies import MIRRORED, OWN, REGION, Read, a_record
from shared.wire.regions import LOGS

TENANTS = (None, "acme", "beta")
NOW = 1_000_000


@dataclass(frozen=True, slots=True)
class Sent:
    """An event of a history: few ids and times, so that they meet."""

    tenant: str | None
    number: int
    time_us: int
    message: str
    mirrored: bool


HISTORIES = st.lists(
    st.builds(
        Sent,
        st.sampled_from(TENANTS),
        st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from(["one", "two"]),
        st.booleans(),
    ),
    max_size=20,
)


async def seen_of(history: Sequence[Sent], *, redis_forgets: bool) -> dict[str | None, list[tuple[int, int, str]]]:
    """Return each tenant's rows after a history has been stored, batch by batch, by one region's consumer."""
    database = MemoryDatabase()
    store, seen, dead_letters = MemoryStore(database), MemorySeenIds(), MemoryDeadLetters()
    claim = await store.claim([OWN, MIRRORED])
    seen.use_store(claim.store_id)
    buffer = Orders(region=REGION, window_us=10, max_future_us=NOW, max_events=100, max_bytes=1_000_000, patience_us=10)
    for partition in (OWN, MIRRORED):
        buffer.assign(partition, None, NOW, has_unread=False)
    steps = Steps(
        region=REGION,
        claim=claim,
        buffer=buffer,
        bloom=RotatingBloom(1000, 0.001),
        seen=seen,
        store=store,
        dead_letters=dead_letters,
        metrics=ConsumerMetrics(CollectorRegistry(), REGION, (REGION, "region-b")),
        outages=Outages(),
        now_us=lambda: NOW,
        batch_max=3,
        max_bytes=10_000_000,
    )
    offsets = dict.fromkeys((OWN, MIRRORED), 0)
    for sent in history:
        partition = MIRRORED if sent.mirrored else OWN
        record = a_record(sent.number, time_us=sent.time_us, message=sent.message, tenant=sent.tenant)
        await steps.turn({partition: [MemoryRecord(offsets[partition], b"trace", record.encode())]})
        offsets[partition] += 1
        if redis_forgets:
            seen.memory.clear()
    await steps.assignment.store_all()
    found: dict[str | None, list[tuple[int, int, str]]] = {}
    for stored in database.tables.rows:
        value = a_value(stored.row.envelope)
        found.setdefault(stored.row.envelope.tenant, []).append(value)
    return {tenant: sorted(rows) for tenant, rows in found.items()}


def a_value(envelope: Envelope) -> tuple[int, int, str]:
    """Return what a tenant knows of a row."""
    own = envelope.columns[-16:] if envelope.tenant is not None else envelope.event_id
    message = "one" if b'"message":"one"' in envelope.value else "two"
    return int.from_bytes(own, "big"), envelope.time_us, message


@pytest.mark.parametrize("redis_forgets", [False, True])
@given(history=HISTORIES)
async def test_what_a_tenant_sees_is_its_history_alone(history: list[Sent], *, redis_forgets: bool) -> None:
    together = await seen_of(history, redis_forgets=redis_forgets)

    for tenant in TENANTS:
        alone = await seen_of([sent for sent in history if sent.tenant == tenant], redis_forgets=redis_forgets)
        assert together.get(tenant, []) == alone.get(tenant, [])


def test_the_same_identity_is_another_event_in_another_tenant_for_all_who_decide() -> None:
    envelopes = [
        Decoder(Partition(LOGS, 0), REGION).decode(Read(n, a_record(5, time_us=7, tenant=tenant).encode()))
        for n, tenant in enumerate(TENANTS)
    ]

    assert all(isinstance(envelope, Envelope) for envelope in envelopes)
    identities = {envelope.identity for envelope in envelopes if isinstance(envelope, Envelope)}
    memories = {envelope.memory[:16] for envelope in envelopes if isinstance(envelope, Envelope)}
    assert len(identities) == len(memories) == len(TENANTS)
