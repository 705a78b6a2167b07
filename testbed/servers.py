"""
Gives tests real servers: named by the environment, in containers, or as processes of this machine.

A test needs only the address. `TEST_SERVERS=containers` and `TEST_SERVERS=local` force one way. By default containers are
tried first.
"""

import os

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from testbed.container_servers import (
    KAFKA_IMAGE,
    POSTGRES_IMAGE,
    REDIS_IMAGE,
    require_image,
    start_kafka_container,
    start_postgres_container,
    start_redis_container,
)
from testbed.local_servers import start_local_kafka, start_local_postgres, start_local_redis
from testbed.server import Server, ServersUnavailableError

Way = Literal["containers", "local"]

_STARTERS: Final[Mapping[str, tuple[str, Callable[[], Server], Callable[[], Server]]]] = {
    "kafka": (KAFKA_IMAGE, start_kafka_container, start_local_kafka),
    "postgres": (POSTGRES_IMAGE, start_postgres_container, start_local_postgres),
    "redis": (REDIS_IMAGE, start_redis_container, start_local_redis),
}


def chosen_ways() -> Sequence[Way]:
    """
    Return the ways to try, in order.

    Raises:
        ServersUnavailableError: `TEST_SERVERS` names no known way.
    """
    forced = os.environ.get("TEST_SERVERS", "")
    match forced:
        case "":
            return ("containers", "local")
        case "containers" | "local":
            return (forced,)
        case _:
            raise ServersUnavailableError(f"TEST_SERVERS must be containers or local, not {forced!r}")


def start(kind: Literal["kafka", "postgres", "redis"]) -> Server:
    """
    Start a server that answers.

    Raises:
        ServersUnavailableError: This machine has no way to start one.
        ServerFailedError: The server started and does not answer.
    """
    image, in_container, locally = _STARTERS[kind]
    reasons = []
    for way in chosen_ways():
        try:
            if way == "containers":
                require_image(image)
                return in_container()
            return locally()
        except ServersUnavailableError as exc:
            reasons.append(f"{way}: {exc}")
    raise ServersUnavailableError(
        f"no {kind} for the tests. {'; '.join(reasons)}. "
        f"Or name a running one in TEST_{_VARIABLES[kind]} and run the tests again."
    )


_VARIABLES: Final = {"kafka": "KAFKA_BOOTSTRAP_SERVERS", "postgres": "POSTGRES_DSN", "redis": "REDIS_URL"}


def given_address(kind: Literal["kafka", "postgres", "redis"]) -> str | None:
    """Return the address that the environment names for the tests, or None."""
    return os.environ.get(f"TEST_{_VARIABLES[kind]}") or None
