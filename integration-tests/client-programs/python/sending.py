"""
What all programs in Python have in common: the records that they send, and what they say of them.

A program is called with an address, a number of records and a seed. It prints a line of JSON for each record that it gave
to its client: `service`, `level`, `message`, `trace` and `attributes` as the table should have them, and `number`, to find it.
It ends with 0, or with 3 if its client has reported a failure.
"""

import hashlib
import json
import os
import sys

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

LEVELS: Final = ("DEBUG", "INFO", "WARN", "ERROR")
# Records of one trace.
TOGETHER: Final = 10
CLIENT_FAILED: Final = 3


@dataclass(frozen=True)
class Record:
    """A record, as all programs make it, in whatever language."""

    number: int
    seed: str
    service: str
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> str:
        return LEVELS[self.number % len(LEVELS)]

    @property
    def message(self) -> str:
        return f"record {self.number} of {self.seed}: Grüße ☃"

    @property
    def trace(self) -> str:
        return hashlib.sha256(f"{self.seed}/{self.number // TOGETHER}".encode()).hexdigest()[:32]

    def texts(self) -> dict[str, str]:
        """Return the attributes for a protocol that has only texts."""
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in self.attributes.items()}


def asked() -> tuple[str, list[Record]]:
    """Return the address and the records to send."""
    url, count, seed = sys.argv[1:]
    return url, list(_records(int(count), seed))


def _records(count: int, seed: str) -> Iterator[Record]:
    for number in range(count):
        attributes = {"number": number, "ratio": number + 0.5, "flag": number % 2 == 0, "place": "Zürich"}
        yield Record(number, seed, f"shop-{seed}", attributes)


def say(record: Record, **differently: Any) -> None:
    """Print what was sent, with what this client does not carry, or carries in another way."""
    told = {
        "number": record.number,
        "service": record.service,
        "level": record.level,
        "message": record.message,
        "trace": record.trace,
        "attributes": record.attributes,
    }
    print(json.dumps(told | differently))  # noqa: T201 - this is what the program is for


def end(failures: int) -> None:
    """End the program at once, and tell whether the client has reported failures."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(CLIENT_FAILED if failures else 0)
