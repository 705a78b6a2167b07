"""
The stage: real servers of a benchmark's own, set up as the native fleet sets up its own, on free ports.

What the fleet's configuration says is read from `native/templates`, so a figure is one of what is shipped.
"""

import re

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.jvm import jvm_options
from testbed.local_servers import LocalServer, start_local_kafka, start_local_postgres, start_local_redis

ROOT: Final = Path(__file__).resolve().parent.parent
_TEMPLATES: Final = ROOT / "native" / "templates"
# Where they are and who may come in is each stage's own.
_OWN_POSTGRES: Final = {"listen_addresses", "port", "unix_socket_directories", "unix_socket_permissions"}
_OWN_REDIS: Final = {"bind", "port", "dir", "daemonize", "protected-mode", "save", "appendonly", "user"}


def postgres_options(template: str) -> list[str]:
    """Return the options of a `postgresql.conf`, as a command line."""
    pairs = re.findall(r"^(\w+) = ('[^']*'|\S+)", template, re.MULTILINE)
    return [
        word for name, value in pairs if name not in _OWN_POSTGRES for word in ("-c", f"{name}={value.strip(chr(39))}")
    ]


def redis_options(template: str) -> list[str]:
    """Return the options of a `redis.conf`, as a command line."""
    lines = (line.split() for line in template.splitlines() if line and not line.startswith("#"))
    return [word for name, *values in lines if name not in _OWN_REDIS for word in (f"--{name}", *values)]


@dataclass(frozen=True, slots=True)
class Stage:
    """
    Servers that run.

    Attributes:
        servers: By name, like kafka and kafka-b.
    """

    servers: Mapping[str, LocalServer]

    @property
    def kafka(self) -> str:
        """`host:port` of the broker."""
        return self.servers["kafka"].address

    @property
    def postgres(self) -> str:
        """DSN of the maintenance database."""
        return self.servers["postgres"].address

    @property
    def redis(self) -> str:
        """URL of Redis."""
        return self.servers["redis"].address

    @property
    def pids(self) -> Mapping[str, int]:
        """The first process of each server."""
        return {name: server.pid for name, server in self.servers.items()}


@contextmanager
def stage(*names: str) -> Iterator[Stage]:
    """
    Run servers.

    Args:
        names: The kind of each (kafka, postgres, redis), and after a dash a suffix, if there are several of one kind.

    Raises:
        ServersUnavailableError: One cannot be had here; says what to install.
        ServerFailedError: One does not come up.
    """
    with ExitStack() as stack:
        servers: dict[str, LocalServer] = {}
        for name in names:
            servers[name] = _start(name.partition("-")[0])
            stack.callback(servers[name].close)
        yield Stage(servers)


def _start(kind: str) -> LocalServer:
    match kind:
        case "kafka":
            return start_local_kafka(jvm_options("KAFKA"))
        case "postgres":
            return start_local_postgres(postgres_options((_TEMPLATES / "postgresql.conf").read_text()))
        case _:
            return start_local_redis(redis_options((_TEMPLATES / "redis.conf").read_text()))
