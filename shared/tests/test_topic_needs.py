"""What is altered and what is told, for any topic; on a real Kafka: `integration-tests/test_topics.py`."""

from dataclasses import replace

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.wire.regions import DEAD_LETTERS, LOGS, is_bookkeeping
from shared.wire.topic_needs import Needs, Topic, changes, config_for, differences, lasting

HOUR_MS = 3_600_000
NEEDS = Needs(partitions=6, replicas=1, retention_ms=168 * HOUR_MS)

counts = st.integers(1, 12)
needs = st.builds(Needs, partitions=counts, replicas=st.integers(1, 5), retention_ms=st.integers(1, 10**12))
configs = st.fixed_dictionaries(
    {},
    optional={
        "retention.ms": st.integers(-1, 10**12).map(str),
        "message.timestamp.type": st.sampled_from(["CreateTime", "LogAppendTime"]),
        "min.insync.replicas": st.integers(1, 5).map(str),
        "max.message.bytes": st.integers(0, 10**8).map(str),
        "segment.bytes": st.integers(1, 10**9).map(str),
    },
)
topics = st.builds(
    Topic,
    name=st.sampled_from([LOGS, "region-b.logs", DEAD_LETTERS]),
    partitions=counts,
    replicas=st.integers(1, 5),
    config=configs,
)


def brought_up(topic: Topic, wanted: Needs) -> Topic:
    """Do what `fleet.jobs.topics` does."""
    altered = {change.name: change.new for change in changes(topic, wanted)}
    return replace(topic, partitions=max(topic.partitions, wanted.partitions), config={**topic.config, **altered})


@given(topics, needs)
def test_after_altering_only_what_lasts_is_different(topic: Topic, wanted: Needs) -> None:
    after = brought_up(topic, wanted)

    assert changes(after, wanted) == []
    assert list(differences(after, wanted)) == list(lasting(topic, wanted))


@given(topics, needs)
def test_what_is_told_and_what_is_altered_are_the_same(topic: Topic, wanted: Needs) -> None:
    told = list(differences(topic, wanted))

    as_needed = brought_up(topic, wanted) == topic
    assert as_needed == (told == list(lasting(topic, wanted)))
    assert all(topic.name in sentence for sentence in told)


@given(topics, needs)
def test_a_topic_is_never_asked_for_more_replicas_than_it_can_have_without_one(topic: Topic, wanted: Needs) -> None:
    """Else one broker away, or a factor raised before the replicas are there, would stop it."""
    asked = {change.name: change.new for change in changes(topic, wanted)}

    assert int(asked.get("min.insync.replicas", "1")) <= max(1, topic.replicas - 1)


@given(topics, needs)
def test_what_the_operator_has_set_stays(topic: Topic, wanted: Needs) -> None:
    after = brought_up(topic, wanted).config

    assert after.get("segment.bytes") == topic.config.get("segment.bytes")
    for setting in ("min.insync.replicas", "max.message.bytes"):
        if setting in topic.config:
            assert int(after[setting]) >= int(topic.config[setting])


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "4")])
def test_all_replicas_but_one_have_what_is_acknowledged(replicas: int, in_sync: str) -> None:
    assert config_for(LOGS, NEEDS, replicas)["min.insync.replicas"] == in_sync


def test_a_topic_with_fewer_replicas_than_the_settings_say_is_told_and_one_with_more_is_not() -> None:
    [sentence] = lasting(Topic(LOGS, 6, 1), replace(NEEDS, replicas=3))

    assert sentence.startswith("topic logs has 1 replica, TOPICS_REPLICATION_FACTOR says 3: ")
    assert list(lasting(Topic(LOGS, 6, 3), NEEDS)) == []


@pytest.mark.parametrize(
    "topic",
    [
        "__consumer_offsets",
        "heartbeats",
        "region-b.heartbeats",
        "mm2-offsets.region-b.internal",
        "mm2-offset-syncs.region-b.internal",
        "region-b.checkpoints.internal",
    ],
)
def test_what_kafka_and_mirrormaker_keep_for_themselves_is_known_by_its_name(topic: str) -> None:
    assert is_bookkeeping(topic)


@pytest.mark.parametrize("topic", ["logs", "region-b.logs", "logs-dlq", "another-program"])
def test_what_holds_events_is_no_bookkeeping(topic: str) -> None:
    assert not is_bookkeeping(topic)
