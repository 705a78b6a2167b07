"""
The attempts of the writers and their answers, written to disk.

An attempt has a line before it is sent, and one after its answer, both JSON:

    {"n": 7, "at": 1764057600.1, "region": "region-a", "events": [["<id>", <time_us>, "<digest>", "<correlation id>"], …]}
    {"n": 7, "at": 1764057600.2, "outcomes": "aaru", "served": "region-b"}

An attempt without a second line was never answered. The outcome of an event is the best of its attempts. It is acknowledged
if one attempt was, and refused only if every attempt was. In all other cases it is unknown: stored once, or not at all.
"""

import hashlib
import time

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from pydantic_core import from_json, to_json

_DIGEST_CHARS: Final = 16


class Outcome(StrEnum):
    """The outcome of one event, by the answer."""

    ACKNOWLEDGED = "a"
    REFUSED = "r"
    UNKNOWN = "u"


def digest(service: str, level: str, message: str, correlation_id: str, attributes: Mapping[str, Any]) -> str:
    """Return a short hash of an event's fields without its identity."""
    canonical = to_json([service, level, message, correlation_id, sorted(attributes.items())])
    return hashlib.sha256(canonical).hexdigest()[:_DIGEST_CHARS]


@dataclass(frozen=True, slots=True)
class Sent:
    """
    An event as a writer sent it.

    Attributes:
        event_id: Half of its identity. An event that is sent without identity carries this mark instead.
        time_us: The other half, in microseconds since 1970. None if it is sent without identity.
        digest: Hash of the other fields.
        correlation_id: Its Kafka key.
    """

    event_id: bytes
    time_us: int | None
    digest: str
    correlation_id: str


@dataclass(slots=True)
class Entry:
    """
    One event, with the result of all its attempts.

    Attributes:
        sent: The event.
        outcome: The best of all answers.
        first_us: When it was first sent.
        attempts: How often it was sent.
    """

    sent: Sent
    outcome: Outcome
    first_us: int
    attempts: int = 0
    _refusals: int = 0

    def attempted(self) -> None:
        """Count an attempt without an answer so far, which may have been stored."""
        self.attempts += 1
        if self.outcome is Outcome.REFUSED:
            self.outcome = Outcome.UNKNOWN

    def answered(self, outcome: Outcome) -> None:
        """Record an answer."""
        if outcome is Outcome.ACKNOWLEDGED:
            self.outcome = outcome
        elif outcome is Outcome.REFUSED:
            self._refusals += 1
            if self.outcome is Outcome.UNKNOWN and self._refusals == self.attempts:
                self.outcome = outcome


@dataclass(slots=True)
class Ledger:
    """
    All events of a run by their id.

    Attributes:
        entries: By event id.
        identity_broken: Events that were sent under one id with different contents; a mistake of the writers.
    """

    entries: dict[bytes, Entry] = field(default_factory=dict)
    identity_broken: int = 0

    def count(self, outcome: Outcome) -> int:
        """Return how many events have this outcome."""
        return sum(entry.outcome is outcome for entry in self.entries.values())

    def begun(self, sent: Sent, at_us: int) -> Entry:
        """Record an attempt that was sent."""
        entry = self.entries.get(sent.event_id)
        if entry is None:
            entry = self.entries[sent.event_id] = Entry(sent, Outcome.UNKNOWN, at_us)
        elif entry.sent != sent:
            self.identity_broken += 1
        entry.attempted()
        return entry


class LedgerFile:
    """
    Writes the ledger.

    Args:
        path: A new file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)  # the operating system has each line before its attempt is sent
        self._attempts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def begin(self, region: str, events: Sequence[Sent]) -> int:
        """Note an attempt before it is sent, and return its number."""
        self._attempts += 1
        self._write(
            {
                "n": self._attempts,
                "at": time.time(),
                "region": region,
                "events": [(e.event_id.hex(), e.time_us, e.digest, e.correlation_id) for e in events],
            }
        )
        return self._attempts

    def end(self, attempt: int, outcomes: Iterable[Outcome], served: str | None) -> None:
        """Note the answer to an attempt, one outcome an event, and the region that served it if any did."""
        self._write({"n": attempt, "at": time.time(), "outcomes": "".join(outcomes), "served": served})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(to_json(line) + b"\n")


class Answer(NamedTuple):
    """
    An attempt that was answered.

    Attributes:
        begun_s: When it was sent, in seconds since 1970.
        ended_s: When the answer arrived, likewise.
        region: The region that was asked for.
        served: The region that acknowledged events. None if none was acknowledged, or if the protocol does not tell.
        ids: Ids of its events.
        outcomes: One for each event.
    """

    begun_s: float
    ended_s: float
    region: str
    served: str | None
    ids: Sequence[bytes]
    outcomes: Sequence[Outcome]


def read_ledger(path: Path) -> Ledger:
    """
    Read a ledger. A truncated last line counts as not written.

    Raises:
        ValueError: Another line is invalid.
    """
    ledger = Ledger()
    under_way: dict[int, list[Entry]] = {}
    for line in _lines(path):
        if "events" in line:
            at_us = int(line["at"] * 1e6)
            under_way[line["n"]] = [
                ledger.begun(Sent(UUID(hex=identity).bytes, time_us, hashed, correlation_id), at_us)
                for identity, time_us, hashed, correlation_id in line["events"]
            ]
        else:
            for entry, outcome in zip(under_way.pop(line["n"]), line["outcomes"], strict=True):
                entry.answered(Outcome(outcome))
    return ledger


def read_answers(path: Path) -> Iterator[Answer]:
    """Read the answers of a ledger, in the order in which they came. It raises the errors of `read_ledger`."""
    under_way: dict[int, Mapping[str, Any]] = {}
    for line in _lines(path):
        if "events" in line:
            under_way[line["n"]] = line
        else:
            begun = under_way.pop(line["n"])
            ids = [UUID(hex=identity).bytes for identity, *_ in begun["events"]]
            outcomes = [Outcome(outcome) for outcome in line["outcomes"]]
            yield Answer(begun["at"], line["at"], begun["region"], line["served"], ids, outcomes)


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as lines:
        for raw in lines:
            if not raw.endswith(b"\n"):
                return
            yield from_json(raw)
