"""
What the gateway knows about a region: its circuit, the checks that feed it, and who is told when it changes.

One log line and one gauge value per change of state; everybody else asks.
"""

import asyncio

from collections.abc import Callable
from typing import Final

import structlog

from prometheus_client import Gauge

from gateway.delivery.circuit import Circuit, CircuitState
from gateway.delivery.clients import ProducerClient
from gateway.delivery.errors import RegionError, RegionTimeoutError

log: Final = structlog.stdlib.get_logger(__name__)

Clock = Callable[[], float]
# A time-out that is noticed so many times later than it was due says more about who noticed it.
_STOOD_STILL: Final = 2


class RegionHealth:
    """
    One region's circuit, and its side effects.

    Args:
        region: Its name.
        circuit: Decides; this class only tells it what happened and others what it decided.
        clock: Monotonic seconds.
        up: Follows whether the gateway sends to the region.

    Attributes:
        last_error: Why the last check or attempt failed that did.
        on_open: Called with that error when the circuit opens.
    """

    def __init__(self, region: str, circuit: Circuit, *, clock: Clock, up: Gauge) -> None:
        self.region = region
        self.last_error: RegionError | None = None
        self.on_open: Callable[[RegionError], None] = _nobody_told
        self._circuit = circuit
        self._clock = clock
        self._up = up
        self._published: CircuitState | None = None

    def now(self) -> float:
        """Return the time by this region's clock, in monotonic seconds."""
        return self._clock()

    @property
    def state(self) -> CircuitState:
        """The circuit's state now."""
        return self._circuit.state(self._clock())

    @property
    def is_open(self) -> bool:
        """Whether the region is given up for now."""
        return self.state is CircuitState.OPEN

    def allows(self, *, last_resort: bool = False) -> bool:
        """Tell whether an attempt would be admitted now; `last_resort`: no other region would take it."""
        return self._circuit.allows(self._clock(), last_resort=last_resort)

    def admit(self, *, last_resort: bool = False) -> bool:
        """Let an attempt through or not."""
        return self._circuit.admit(self._clock(), last_resort=last_resort)

    def attempt_succeeded(self) -> None:
        """The region acknowledged events."""
        self._circuit.attempt_succeeded()
        self._publish()

    def attempt_failed(self, error: RegionError) -> None:
        """A request to the region failed."""
        self.last_error = error
        self._circuit.attempt_failed(self._clock())
        self._publish()

    def check_passed(self) -> None:
        """The region says it can acknowledge events."""
        self._circuit.check_passed()
        self._publish()

    def check_failed(self, error: RegionError) -> None:
        """The region says it cannot acknowledge events, or says nothing."""
        self.last_error = error
        self._circuit.check_failed(self._clock())
        self._publish()

    def _publish(self) -> None:
        state = self.state
        if state is self._published:
            return
        self._up.set(0 if state is CircuitState.OPEN else 1)
        log.info(
            "region changed state",
            region=self.region,
            state=state.value,
            before=self._published.value if self._published else None,
            error=str(self.last_error) if self.last_error and state is not CircuitState.CLOSED else None,
        )
        self._published = state
        if state is CircuitState.OPEN and self.last_error is not None:
            self.on_open(self.last_error)


def _nobody_told(_: RegionError) -> None:
    """Stand in until somebody wants to be told."""


async def check_once(health: RegionHealth, producer: ProducerClient) -> None:
    """Check the region and tell its circuit, unless the gateway itself stood still meanwhile: then nothing was learnt."""
    began = health.now()
    try:
        await producer.check()
    except RegionTimeoutError as exc:
        if health.now() - began < _STOOD_STILL * producer.check_timeout_s:
            health.check_failed(exc)
    except RegionError as exc:
        health.check_failed(exc)
    else:
        health.check_passed()


async def watch(health: RegionHealth, producer: ProducerClient, interval_s: float) -> None:
    """Check the region every `interval_s` seconds, until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        await check_once(health, producer)
