import os
import signal

import pytest

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from consumer.bloom import RotatingBloom
from consumer.failpoints import FAILPOINT_NAMES, FailpointName, failpoint, pass_by
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.outages import Outages
from consumer.settings import ConsumerSettings
from consumer.tests.fakes import MemoryDeadLetters, MemoryRecord, MemorySeenIds, MemoryStore
from consumer.tests.steps import Steps
from consumer.tests.strategies import OWN, REGION, a_record
from shared.process.settings import SettingsError


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[signal.Signals]:
    """The signals this process would have sent itself."""
    sent: list[signal.Signals] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: sent.append(number))
    return sent


def test_nothing_happens_where_no_failpoint_is_set() -> None:
    assert failpoint("none") is pass_by


@pytest.mark.parametrize("place", FAILPOINT_NAMES)
@pytest.mark.parametrize(("suffix", "arrival"), [("", 1), (":1", 1), (":3", 3)])
def test_the_process_is_killed_at_that_arrival_at_that_place(
    place: FailpointName, suffix: str, arrival: int, deaths: list[signal.Signals]
) -> None:
    arrive = failpoint(place + suffix)

    for other in FAILPOINT_NAMES:
        if other != place:
            arrive(other)
    for _ in range(arrival - 1):
        arrive(place)
    assert deaths == []

    with capture_logs() as lines:
        arrive(place)
    assert deaths == [signal.SIGKILL]
    assert lines == [{"event": "failpoint reached", "place": place, "log_level": "critical"}]


@pytest.mark.parametrize(
    "wrong", ["", "after", "after-commit:", "after-commit:0", "after-commit:-1", "none:2", "a:b:c"]
)
def test_a_wrong_name_or_number_is_refused_with_those_that_are_right(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUMER_REGION", REGION)
    monkeypatch.setenv("CONSUMER_REGIONS", REGION)
    monkeypatch.setenv("CONSUMER_FAILPOINT", wrong)

    with pytest.raises(SettingsError, match="CONSUMER_FAILPOINT: .*after-decode, before-commit.*not '" + wrong):
        ConsumerSettings.read()


async def test_a_pipeline_passes_the_places_in_the_order_of_its_guarantee() -> None:
    passed: list[str] = []
    store, seen = MemoryStore(), MemorySeenIds()
    store.on_commit = lambda _progress: passed.append("stored")
    seen.on_remember = lambda _envelopes: passed.append("remembered")
    claim = await store.claim([OWN])
    buffer = Orders(region=REGION, window_us=10, max_future_us=1000, max_events=10, max_bytes=10_000, patience_us=10)
    buffer.assign(OWN, None, 0, has_unread=True)
    pipeline = Steps(
        region=REGION,
        claim=claim,
        buffer=buffer,
        bloom=RotatingBloom(10, 0.01),
        seen=seen,
        store=store,
        dead_letters=MemoryDeadLetters(),
        metrics=ConsumerMetrics(CollectorRegistry(), REGION, [REGION]),
        outages=Outages(),
        now_us=lambda: 0,
        batch_max=10,
        max_bytes=10_000,
        arrive=passed.append,
    )

    await pipeline.turn({})
    assert passed == []

    await pipeline.turn({OWN: [MemoryRecord(n, b"k", a_record(n, time_us=100 * n).encode()) for n in range(2)]})
    assert passed == ["after-decode", "stored", "after-commit", "remembered", "after-remember"]
