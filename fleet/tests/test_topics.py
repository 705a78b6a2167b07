"""Which topics a region gets, and what happens without Kafka. With a real one: `integration-tests/test_topics.py`."""

import socket
import subprocess
import sys

from pathlib import Path

import pytest

from pydantic import ValidationError

from fleet.jobs.topics import TopicSettings, wanted_topics

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fleet.jobs.topics", *arguments],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_region_has_its_own_topic_one_for_each_other_region_and_one_for_dead_letters() -> None:
    settings = TopicSettings(region="region-b", regions=("region-a", "region-b", "region-c"))

    assert wanted_topics(settings) == ["logs", "region-a.logs", "region-c.logs", "logs-dlq"]


def test_a_region_that_is_not_among_the_regions_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="regions must name region-a too"):
        TopicSettings(region="region-a", regions=("region-b",))


def test_wrong_settings_are_clear_lines_and_exit_status_2() -> None:
    done = run(TOPICS_REGION="region-a", TOPICS_REGIONS="region-a,region-b", TOPICS_PARTITIONS="none")

    assert done.returncode == 2
    assert "  TOPICS_PARTITIONS: " in done.stderr


def test_without_kafka_it_gives_up_in_time_and_says_so() -> None:
    with socket.socket() as taken:
        # Bound and not listening: no other process gets the port, and every connection is refused.
        taken.bind(("127.0.0.1", 0))
        done = run(
            TOPICS_REGION="region-a",
            TOPICS_REGIONS="region-a",
            TOPICS_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{taken.getsockname()[1]}",
            TOPICS_WAIT_S="1",
        )

    assert done.returncode == 1
    assert "kafka was not there in time" in done.stdout
    assert done.stderr == ""


def test_without_kafka_the_question_what_differs_gets_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = run(
            "--check",
            TOPICS_REGION="region-a",
            TOPICS_REGIONS="region-a",
            TOPICS_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{taken.getsockname()[1]}",
        )

    assert done.returncode == 1
    assert done.stdout.startswith("cannot be asked: ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
