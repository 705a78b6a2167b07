"""A gateway and its producer as `FLEET_SECURITY=on` has them: https, keys, and certificates of both sides between them."""

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.service import Service, module
from shared.access.scopes import Scope
from testbed.authority import Authority
from testbed.keys import PEPPER, Keys
from testbed.server import free_port

# As many as a fleet of some teams has. One among them is looked for.
_OTHER_KEYS: Final = 1000


def start(stack: ExitStack, folder: Path, kafka: str, region: str) -> tuple[Service, Service, str]:
    """Run both until `stack` is closed; return the gateway, the producer and a key."""
    authority = Authority(folder)
    keys = Keys(folder / "keys.json")
    key = keys.make(Scope.WRITE)
    for _ in range(_OTHER_KEYS):
        keys.make(Scope.WRITE)
    keys.write()
    trusted = authority.trusted()
    settings = {"GATEWAY_KEYS_FILE": str(keys.path), "GATEWAY_KEYS_PEPPER": PEPPER}
    producer = stack.enter_context(
        module(
            "producer",
            free_port(),
            trusted=trusted,
            PRODUCER_REGION=region,
            PRODUCER_KAFKA_BOOTSTRAP_SERVERS=kafka,
            **authority.issue("producer").environment("producer"),
        )
    )
    gateway = stack.enter_context(
        module(
            "gateway",
            free_port(),
            trusted=trusted,
            GATEWAY_REGIONS=f"{region}={producer.internal_url}",
            **settings,
            **authority.issue("gateway").environment("gateway"),
        )
    )
    return gateway, producer, key
