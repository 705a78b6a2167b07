"""
What makes the consumer fast, or spares what runs beside it: each value with why, and with what it bought where that was measured.

None of it changes what is stored; a value may be changed, and measured again with `bench/run.sh consumer` or `latency`.
"""

from dataclasses import dataclass
from typing import Final

# Records live from one batch to the next, in tuples without cycles. The collector looks through all of them every 700
# allocations by default. That cost 8 % of the consumer's processor time on a backlog (17.2 and 15.8 µs an event,
# `bench/run.sh consumer`).
GARBAGE_THRESHOLDS: Final = (100_000, 20, 100)
# After this time at the latest the interpreter's lock changes hands between the event loop and the store's thread. A thread for
# the store brought 1.09 times the rate of a backlog.
SWITCH_S: Final = 0.001
# Probes are answered at once; the work's own deadline begins after this one.
PROBES_SHUTDOWN_S: Final = 2

# Two fetches, of 50 ms at most, and a poll for each prove that a partition is read to its end.
PATIENCE_US: Final = 250_000
# This part of the bytes that may be held may wait in the reorder buffer; each event is held twice, see `consumer.assignment`.
ORDERED, HELD = 3, 8
# A call or a partition without an answer for so long is named in `/ready`.
SILENCE_LIMIT_S: Final = 5.0
WATCH_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """
    Pauses, portions and intervals of an assignment's work.

    Attributes:
        poll_s: How long a poll waits for records.
        poll_max: Records of a poll at most. A larger poll sorts for less, and other tasks wait longer for the event loop.
        decode_max: Records decoded before the event loop is yielded to the next batch, Redis' answers, and probes.
        commit_every_us: From one commit of offsets to Kafka to the next.
        check_in_every_us: After so long without a transaction the progress is written without rows.
        probe_every_us: From one question whether Redis works again to the next.
        give_up_us: Partitions whose log cannot be looked at for so long hold up no other.
        unwritten_max: Dead letters that wait while Kafka takes none and the stream flows; with more the stream waits, too.
        unwritten_max_bytes: Likewise, their bytes.
    """

    poll_s: float = 0.02
    poll_max: int = 2000
    decode_max: int = 250
    commit_every_us: int = 500_000
    check_in_every_us: int = 2_000_000
    probe_every_us: int = 2_000_000
    give_up_us: int = 5_000_000
    unwritten_max: int = 2000
    unwritten_max_bytes: int = 16 * 1024 * 1024
