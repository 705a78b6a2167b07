"""
Draws the events that the writers send. PURE: a seed gives the same traffic again, except for the times of sending.

The traffic has the difficulties of real clients: events out of order, late, with equal times, repeated and invalid.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final
from uuid import UUID

from chaos.protocols import OWN, ClientProtocol, Drawn, Made

LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
TRACES: Final = 200
UNNAMED: Final = 0.1
# Where a request is refused as a whole, each so-manieth batch is one that cannot be read. A drawn number could be none.
_BROKEN_EVERY: Final = 20
_LARGE_AT_ONCE: Final = 4
DISORDER_US: Final = 800_000
_ODD: Final = (
    "\\. \\N \t",
    "'); --",
    "a\nb\r\n",
    "\x1b[31m",
    "\u202ex\u202c",
    "\U0001f469\u200d\U0001f680",
    "e\u0301",
    "",
)


class Traffic:
    """
    Makes events.

    Args:
        service: The run's name, as `serviceName`. The checker finds the run's rows by it.
        random: Draws everything but times and ids.
        new_id: Makes event ids.
        message_chars: The shortest and the longest message, in characters.
        clocks_us: How far the clocks of clients may be off, in microseconds.
        protocol: How clients send the events.

    Attributes:
        wrong_clocks: The share of batches that come from a client whose clock is off.
    """

    def __init__(
        self,
        service: str,
        random: Random,
        new_id: Callable[[], UUID],
        *,
        message_chars: tuple[int, int] = (20, 300),
        clocks_us: Sequence[int] = (),
        protocol: ClientProtocol = OWN,
    ) -> None:
        self._message_chars = message_chars
        self._clocks_us = clocks_us
        self.wrong_clocks = 0.0
        self._service = service
        self._random = random
        self._new_id = new_id
        self._protocol = protocol
        self._made = 0
        self._batches = 0

    def batch(self, count: int, now_us: int) -> list[Made]:
        """Make `count` events that happened about now."""
        events: list[Made] = []
        if self._clocks_us and self._random.random() < self.wrong_clocks:
            now_us += self._random.choice(self._clocks_us)
        if self._protocol.is_whole:
            return self._alike(count, now_us)
        while len(events) < count:
            twin = events[-1].sent if events and self._random.random() < 0.1 else None
            if twin and twin.time_us is not None:
                # Like events of one client request, these have the same time and trace. The fleet must keep their order.
                events.append(self._event(twin.time_us, twin.correlation_id))
            elif self._random.random() < UNNAMED:
                events.append(self._event(None, self._trace()))
            else:
                events.append(self._event(now_us - self._age_us(), self._trace()))
        return events

    def _alike(self, count: int, now_us: int) -> list[Made]:
        """Make a batch that is sent, refused and retried as a whole."""
        self._batches += 1
        valid, named = bool(self._batches % _BROKEN_EVERY), self._random.random() >= UNNAMED
        events: list[Made] = []
        time_us, trace = now_us, self._trace()
        for _ in range(count):
            if not events or self._random.random() >= 0.1:  # else it has the time and the trace of the one before it
                time_us, trace = now_us - self._age_us(), self._trace()
            events.append(self._event(time_us if named else None, trace, valid=valid))
        return events

    def future(self, now_us: int, ahead_us: int) -> Made:
        """Make an event of a client whose clock is far ahead."""
        return self._event(now_us + ahead_us, f"{self._service}-future", may_be_wrong=False)

    def large(self, now_us: int, message_chars: int) -> list[Made]:
        """Make as many events with messages of this length as fit well into one request."""
        return [
            self._event(now_us + n, self._trace(), may_be_wrong=False, message="m" * message_chars)
            for n in range(_LARGE_AT_ONCE)
        ]

    def _trace(self) -> str:
        return f"{self._service}-{self._random.randrange(TRACES)}"

    def _age_us(self) -> int:
        chance = self._random.random()
        if chance < 0.01:
            return self._random.randrange(5_000_000, 60_000_000)
        return self._random.randrange(DISORDER_US) if chance < 0.11 else self._random.randrange(2000)

    def _event(
        self,
        time_us: int | None,
        correlation_id: str,
        *,
        may_be_wrong: bool = True,
        message: str | None = None,
        valid: bool | None = None,
    ) -> Made:
        self._made += 1
        random = self._random
        event_id = self._new_id()
        level = random.choice(LEVELS)
        if message is None:
            message = random.choice(_ODD) if random.random() < 0.02 else "m" * random.randint(*self._message_chars)
        attributes: dict[str, Any] = {"n": self._made, "odd": random.random() < 0.5, "host": f"h{random.randrange(50)}"}
        if valid is None:
            valid = not (may_be_wrong and random.random() < 0.002)
        return self._protocol.make(
            Drawn(event_id, time_us, self._service, level, message, correlation_id, attributes, valid)
        )
