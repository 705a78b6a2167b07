"""A MirrorMaker for tests: one direction, with the shipped process, configuration and heap."""

import signal

from collections.abc import Mapping, Sequence

from testbed.jvm import jvm_options
from testbed.local_servers import REPOSITORY, LocalServer, Program, find_java, find_kafka_jars, new_directory


def mirror_command(target_region: str) -> Sequence[str]:
    """Return the command that starts the MirrorMaker of a target."""
    return [
        find_java(),
        *jvm_options("MIRROR"),
        f"-Dlog4j2.configurationFile={REPOSITORY}/mirrormaker/log4j2.yaml",
        *("-cp", f"{find_kafka_jars()}/*", "org.apache.kafka.connect.mirror.MirrorMaker"),
        *(f"{REPOSITORY}/mirrormaker/mm2.properties", "--clusters", target_region),
    ]


def mirror_environment(kafka_a: str, kafka_b: str) -> Mapping[str, str]:
    """Return the variables that name both regions' Kafkas, each of one broker, to a MirrorMaker."""
    return {
        "MIRROR_REGION_A_BOOTSTRAP_SERVERS": kafka_a,
        "MIRROR_REGION_B_BOOTSTRAP_SERVERS": kafka_b,
        "MIRROR_REPLICATION_FACTOR": "1",
    }


def mirror_maker(source: str, target: str) -> LocalServer:
    """
    Return a MirrorMaker from region-a to region-b that is not started yet.

    It has no watch, so a task that fails stays failed until the test restarts the process.

    Args:
        source: `host:port` of region-a's Kafka.
        target: `host:port` of region-b's Kafka.
    """
    variables = [f"{name}={value}" for name, value in mirror_environment(source, target).items()]
    command = ["env", *variables, *mirror_command("region-b")]
    # No check, because the process has no interface. Its work shows in the target.
    return LocalServer(target, Program("MirrorMaker", command, lambda: None, signal.SIGTERM), new_directory("mirror"))
