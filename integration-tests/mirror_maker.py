"""A MirrorMaker of a test's own: the process, the configuration and the heap that are shipped, one direction of it."""

import signal

from bench.stage import jvm_options
from testbed.local_servers import REPOSITORY, LocalServer, Program, find_java, find_kafka_jars, new_directory


def mirror_maker(source: str, target: str) -> LocalServer:
    """
    Return a MirrorMaker from region-a to region-b that is not started yet.

    It has no watch: a task that fails stays failed until the test starts it anew.

    Args:
        source: `host:port` of region-a's Kafka.
        target: Of region-b's.
    """
    environment = {
        "MIRROR_REGION_A_BOOTSTRAP_SERVERS": source,
        "MIRROR_REGION_B_BOOTSTRAP_SERVERS": target,
        "MIRROR_REPLICATION_FACTOR": "1",
    }
    command = [
        "env",
        *(f"{name}={value}" for name, value in environment.items()),
        find_java(),
        *jvm_options("MIRROR"),
        f"-Dlog4j2.configurationFile={REPOSITORY}/mirrormaker/log4j2.yaml",
        *("-cp", f"{find_kafka_jars()}/*", "org.apache.kafka.connect.mirror.MirrorMaker"),
        *(f"{REPOSITORY}/mirrormaker/mm2.properties", "--clusters", "region-b"),
    ]
    # Its work shows in the target; the process itself has no interface.
    return LocalServer(target, Program("MirrorMaker", command, lambda: None, signal.SIGTERM), new_directory("mirror"))
