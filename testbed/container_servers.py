"""Servers in containers, where a Docker engine runs and has the images."""

import os
import subprocess
import threading

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, cast

import docker  # type: ignore[import-untyped]
import docker.errors  # type: ignore[import-untyped]

from testcontainers.core.container import DockerContainer
from typing_extensions import override

from testbed.reaper import forget, watch_container
from testbed.server import (
    JVM_OPTIONS,
    POSTGRES_OPTIONS,
    STOP_TIMEOUT_S,
    Check,
    Server,
    ServersUnavailableError,
    check_kafka,
    check_postgres,
    check_redis,
    free_port,
    kafka_properties,
    started,
    wait_until_it_answers,
)

KAFKA_IMAGE: Final = "apache/kafka:4.3.0"
POSTGRES_IMAGE: Final = "postgres:17.11-trixie"
REDIS_IMAGE: Final = "redis:8.10.1-trixie"
PULL_TIMEOUT_S: Final = 90


class ContainerServer(Server):
    """A server in a container. Its port is bound on 127.0.0.1 and stays the same over restarts."""

    def __init__(self, address: str, name: str, container: Any, check: Check) -> None:
        self.address = address
        self._name = name
        self._container = container
        self._check = check
        self._created = False

    @override
    def start(self) -> None:
        if self._created:
            self._wrapped.start()
        else:
            self._container.start()
            self._created = True
            watch_container(self._wrapped.id)
        wait_until_it_answers(self._check, self._name, self._is_alive, self._log_tail)

    @override
    def stop(self) -> None:
        self._wrapped.stop(timeout=STOP_TIMEOUT_S)

    @override
    def kill(self) -> None:
        self._wrapped.kill()
        self._wrapped.wait(timeout=STOP_TIMEOUT_S)

    @override
    def suspend(self) -> None:
        self._wrapped.pause()

    @override
    def resume(self) -> None:
        self._wrapped.unpause()

    @override
    def close(self) -> None:
        name = self._wrapped.id if self._created else None
        self._container.stop(force=True, delete_volume=True)
        if name:
            forget(name)

    @property
    def _wrapped(self) -> Any:
        return self._container.get_wrapped_container()

    def _is_alive(self) -> bool:
        self._wrapped.reload()
        return cast("str", self._wrapped.status) in ("created", "running")

    def _log_tail(self) -> str:
        return cast("bytes", self._wrapped.logs(tail=40)).decode(errors="replace")


def start_kafka_container() -> Server:
    """Start the image's broker. Clients reach it under the port bound on this machine."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    properties = kafka_properties("0.0.0.0:9092", address, "127.0.0.1:19092", "127.0.0.1:9093", "/var/lib/kafka/data")
    environment = {f"KAFKA_{key.replace('.', '_').upper()}": value for key, value in properties.items()}
    environment |= {"KAFKA_HEAP_OPTS": " ".join(JVM_OPTIONS), "CLUSTER_ID": "MkU3OEVBNTcwNTJENDM2Qk"}
    container = _container(KAFKA_IMAGE, 9092, port, environment)
    return started(ContainerServer(address, "Kafka", container, lambda: check_kafka(address)))


def start_postgres_container() -> Server:
    """Start the image's PostgreSQL."""
    port = free_port()
    dsn = f"postgresql://test:test@127.0.0.1:{port}/postgres"
    environment = {"POSTGRES_USER": "test", "POSTGRES_PASSWORD": "test", "POSTGRES_DB": "postgres"}
    container = _container(POSTGRES_IMAGE, 5432, port, environment, ["postgres", *POSTGRES_OPTIONS])
    return started(ContainerServer(dsn, "PostgreSQL", container, lambda: check_postgres(dsn)))


def start_redis_container() -> Server:
    """Start the image's Redis, without persistence."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    container = _container(REDIS_IMAGE, 6379, port, {}, ["redis-server", "--save", "", "--appendonly", "no"])
    return started(ContainerServer(url, "Redis", container, lambda: check_redis(url)))


def _container(
    image: str, inner_port: int, port: int, environment: Mapping[str, str], command: Sequence[str] = ()
) -> Any:
    # `ContainerServer.close` removes the container. The library's own reaper would need another image.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    container: Any = DockerContainer(image).with_envs(**environment)
    # `with_bind_ports` takes no address and would open the port to the whole network.
    container.ports[str(inner_port)] = ("127.0.0.1", port)
    return container.with_command(list(command)) if command else container


@cache
def _engine_answers() -> bool:
    # With a client of our own: if no engine answers, the library leaves a socket open, and its warning would fail a test.
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def require_image(image: str) -> None:
    """
    Make sure that containers of the image can be started.

    Raises:
        ServersUnavailableError: No engine answers, or the engine lacks the image and cannot pull it.
    """
    if not _engine_answers():
        raise ServersUnavailableError("no Docker engine answers")
    try:
        engine = docker.from_env(timeout=PULL_TIMEOUT_S)
    except docker.errors.DockerException as exc:
        raise ServersUnavailableError("no Docker engine answers") from exc
    try:
        engine.images.get(image)
    except docker.errors.ImageNotFound:
        _pull(engine, image)
    except (docker.errors.DockerException, OSError) as exc:
        raise ServersUnavailableError("no Docker engine answers") from exc
    finally:
        engine.close()


def _pull(engine: Any, image: str) -> None:
    problems: list[str] = []

    def pull() -> None:
        try:
            engine.images.pull(image)
        except (docker.errors.DockerException, OSError) as exc:
            problems.append(str(exc))

    # The library has no deadline for a pull as a whole.
    worker = threading.Thread(target=pull, daemon=True)
    worker.start()
    worker.join(PULL_TIMEOUT_S)
    if worker.is_alive() or problems:
        why = problems[0] if problems else f"it takes longer than {PULL_TIMEOUT_S} s"
        raise ServersUnavailableError(f"the image {image} is not here and cannot be pulled: {why}")
