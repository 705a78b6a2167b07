"""What is aimed for. Data alone; `bench/run.sh all` holds every line against what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Aim:
    """
    One line of the table of aims.

    Attributes:
        benchmark: Which benchmark measures it.
        figure: The name of the figure in its report.
        bound: Whether the target is the least or the most.
        target: The number.
        what: The aim in words.
    """

    benchmark: str
    figure: str
    bound: Literal["at least", "at most"]
    target: float
    what: str

    def reached_by(self, value: float) -> bool:
        """Tell whether a median is good enough."""
        return value >= self.target if self.bound == "at least" else value <= self.target


AIMS: Final[Sequence[Aim]] = (
    Aim(
        "consumer",
        "consumer",
        "at least",
        60_000,
        "consumer, events stored a second on a backlog (Flink SQL, measured apart, stored 33,300)",
    ),
    Aim("consumer", "consumer / COPY", "at least", 0.25, "consumer / bare COPY without index"),
    Aim("gateway", "gateway / echo", "at least", 0.5, "single posts, through producer to acks=all / bare FastAPI echo"),
    Aim(
        "gateway", "batches, NDJSON", "at least", 30_000, "NDJSON batches, events a second through producer to acks=all"
    ),
    Aim("gateway", "batches, JSON array", "at least", 30_000, "JSON array batches, likewise"),
    Aim(
        "gateway",
        "gateway, secured / open",
        "at least",
        0.7,
        "single posts with key and TLS, on connections that stay / open",
    ),
    Aim("gateway", "batches, NDJSON, secured / open", "at least", 0.85, "NDJSON batches with key and TLS / open"),
    Aim("gateway", "batches, JSON array, secured / open", "at least", 0.85, "JSON array batches, likewise"),
    Aim(
        "bounds",
        "RSS beside half-sent posts, at most",
        "at most",
        350,
        "gateway's memory beside 2,500 half-sent posts, MiB",
    ),
    Aim("bounds", "p99 beside half-sent posts / alone", "at most", 2, "p99 of honest posts beside them / alone"),
    Aim(
        "bounds", "p99 beside large bodies / alone", "at most", 3, "p99 of honest posts beside the worst bodies / alone"
    ),
    Aim("bounds", "longest hold", "at most", 20, "the longest that such a body holds the event loop, ms"),
    Aim("bounds", "largest answer to what is refused", "at most", 1, "the largest answer to them, MiB"),
    Aim("frontdoor", "OTLP JSON / NDJSON", "at least", 0.55, "OTLP in JSON through the gateway / own NDJSON batches"),
    Aim("frontdoor", "OTLP protobuf / NDJSON", "at least", 0.45, "OTLP in Protocol Buffers, likewise"),
    Aim("frontdoor", "Loki snappy / NDJSON", "at least", 0.8, "lines of Loki with labels, likewise"),
    Aim("frontdoor", "_bulk / NDJSON", "at least", 0.7, "nested documents of the bulk API, likewise"),
    Aim("frontdoor", "longest hold", "at most", 20, "the longest that a shipper's body holds the event loop, ms"),
    Aim("frontdoor", "RSS beside 32 large bodies, at most", "at most", 300, "gateway's memory beside these, MiB"),
    Aim("latency", "(median - window) / window", "at most", 0.15, "(median of receipt to commit - window) / window"),
    Aim("latency", "p99 / window", "at most", 1.5, "p99 of receipt to commit, in windows"),
    Aim("latency", "acknowledgement, p99", "at most", 25, "p99 of the acknowledgement of a single post, ms"),
    Aim("fleet", "stored", "at least", 8_000, "whole fleet, both regions, batches to rows, events a second"),
    Aim(
        "fleet", "growth of the lag / offered", "at most", 0.02, "and the lag does not grow, share of the offered rate"
    ),
    Aim("mirror", "lag, p99", "at most", 300, "MirrorMaker, p99 of its lag at half of the gateway's rate, ms"),
    Aim("soak", "rate, long / short", "at least", 0.95, "consumer, rate on a stream ten times as long / rate"),
    Aim("soak", "RSS, long / short", "at most", 1.05, "consumer, its memory, likewise"),
    Aim("catch-up", "took / least", "at most", 1.5, "catch-up after a split / (backlog / drain rate)"),
    Aim("redis", "adapter", "at most", 25, "Redis, bytes a remembered event"),
)


def aims_of(benchmark: str) -> Sequence[Aim]:
    """Return the aims that a benchmark measures."""
    return [aim for aim in AIMS if aim.benchmark == benchmark]
