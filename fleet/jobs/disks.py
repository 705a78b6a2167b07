"""
`python -m fleet.jobs.disks`: export the free space of the disks that Kafka and PostgreSQL write to.

Neither has a metric for it, and both stop when the disk is full. An exporter for machines can replace this program. It
asks the file system at each scrape. The path has to be reachable, not readable.
"""

import os
import signal
import threading

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Final

import structlog

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.process import logs
from shared.process.settings import ServiceSettings, run_main, split_pairs

log: Final = structlog.stdlib.get_logger(__name__)
DISK_FREE: Final = "disk_free_bytes"
DISK_SIZE: Final = "disk_size_bytes"
Paths = Annotated[dict[str, str], NoDecode, BeforeValidator(partial(split_pairs, names="disk", values="PATH"))]


class DiskSettings(ServiceSettings):
    """The address to listen on, and the paths to measure."""

    model_config = SettingsConfigDict(env_prefix="DISKS_", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=9188, gt=0, lt=65536, description="Port to listen on.")
    paths: Paths = Field(description="A path on each disk: `postgres=/var/lib/postgresql,kafka-a=…`.")


class Disks(Collector):
    """
    Size and free space of the file systems, in bytes.

    Args:
        paths: A path on each file system, by the name that its series get.
    """

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = paths

    def collect(self) -> Iterator[Metric]:
        """Measure each file system. One that cannot be measured has no series."""
        free = GaugeMetricFamily(DISK_FREE, "Bytes that may still be written", labels=["disk"])
        size = GaugeMetricFamily(DISK_SIZE, "Bytes on the file system, used and free", labels=["disk"])
        for name, path in self._paths.items():
            try:
                found = os.statvfs(path)
            except OSError as exc:
                log.warning("disk cannot be asked", disk=name, error=str(exc))
                continue
            # Blocks reserved for root do not count as free: Kafka and PostgreSQL do not run as root.
            used = found.f_blocks - found.f_bfree
            free.add_metric([name], found.f_bavail * found.f_frsize)
            size.add_metric([name], (used + found.f_bavail) * found.f_frsize)
        yield free
        yield size


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = DiskSettings.read()
    logs.configure("disks", level=settings.log_level)
    registry = CollectorRegistry()
    registry.register(Disks(settings.paths))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server, thread = start_http_server(settings.port, settings.host, registry)
    log.info("serving", port=settings.port, disks=sorted(settings.paths))
    stop.wait()
    server.shutdown()
    thread.join()
    return 0


if __name__ == "__main__":
    run_main(main)
