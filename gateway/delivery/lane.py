"""
The way to one region in one object: its producer's client, its circuit, and the queue in front of them.

The lane collects all evidence about the region, from checks and from requests with events. The circuit decides whether
attempts go through. When it opens, the posts that wait in the queue fail at once and can go to other regions. Each change
of state writes one log line and one gauge value.
"""

import asyncio

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from gateway.delivery.circuit import Circuit, CircuitState
from gateway.delivery.errors import RegionError, RegionTimeoutError, RegionUnavailableError
from gateway.delivery.post import Delivery, Late
from gateway.delivery.queue import QueueLimits, RequestQueue
from gateway.metrics import GatewayMetrics
from shared.event.outcome import Accepted, Outcome, Refused
from shared.wire.wanted import Stretch

log: Final = structlog.stdlib.get_logger(__name__)

Clock = Callable[[], float]
# A timeout that fires more than twice as late as it was due means that our own event loop stalled. The lane ignores it.
_STALLED: Final = 2
_UNAVAILABLE: Final = HTTPStatus.SERVICE_UNAVAILABLE


class RegionClient(Protocol):
    """
    A region's producer, as its lane needs it.

    Attributes:
        region: Its name.
        check_timeout_s: Limit of one check, in seconds.
    """

    region: str
    check_timeout_s: float

    async def send(self, events: Sequence[bytes], wanted: Sequence[Stretch] = ()) -> Sequence[Outcome]:
        """
        Make one request with encoded events and return one outcome an event, in order.

        Args:
            events: The events.
            wanted: Which of them are meant for other regions.

        Raises:
            RegionError: There is no outcome. The producer may or may not have written the events.
        """
        ...

    async def check(self) -> None:
        """
        Ask whether the region can acknowledge events.

        Raises:
            RegionError: It cannot, or does not answer.
        """
        ...


class Lane:
    """
    The way to one region.

    Args:
        client: Makes the requests.
        circuit: Decides whether they are made.
        limits: Limits of the queue.
        metrics: Show the region's state, its queue and its requests.
        clock: Monotonic seconds.

    Attributes:
        region: Its name.
        last_error: Error of the last check or request that failed. None before the first failure.
    """

    def __init__(
        self, client: RegionClient, circuit: Circuit, limits: QueueLimits, metrics: GatewayMetrics, clock: Clock
    ) -> None:
        self.region = client.region
        self.last_error: RegionError | None = None
        self._client = client
        self._circuit = circuit
        self._clock = clock
        self._up = metrics.region_up.labels(self.region)
        self._queue = RequestQueue(
            self.send,
            limits,
            held=metrics.queue.labels(self.region),
            request_events=metrics.upstream_batch.labels(self.region),
        )
        self._reported: CircuitState | None = None

    @property
    def state(self) -> CircuitState:
        """The circuit's state now."""
        return self._circuit.state(self._clock())

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open."""
        return self.state is CircuitState.OPEN

    async def post(
        self,
        events: Sequence[bytes],
        *,
        deadline: float,
        last_resort: bool = False,
        caller: str = "",
        wanted: str | None = None,
        late: Late | None = None,
    ) -> Delivery | None:
        """
        Try to have events acknowledged, if the circuit lets an attempt through.

        Args:
            events: The encoded events.
            deadline: Time by the lane's clock at which the attempt ends.
            last_resort: Whether no other region lets an attempt through.
            caller: The client that sent them.
            wanted: The region that they are meant for, if it is another one.
            late: Told what becomes of them after the deadline.

        Returns:
            The region's outcomes, or its failure. None if the circuit let no attempt through.

        Raises:
            QueueFullError: The queue has no room for all of them, or they gave way to another caller's. It has sent none.
            TimeoutError: The deadline has passed. The producer may or may not have written the events.
        """
        delivery: Delivery | None = None
        # A broken connection gets a second attempt: most often the region is healthy and only the connection was old.
        for _ in range(2):
            # Ask both again, since the first attempt took time. Ask the clock first: `admit` may begin a trial.
            now = self._clock()
            if now >= deadline:
                raise TimeoutError
            if not self._circuit.admit(now, last_resort=last_resort):
                break
            async with asyncio.timeout(deadline - now):
                delivery = await self._queue.post(events, caller, wanted, late)
            if not (isinstance(delivery, RegionError) and delivery.repeatable):
                break
        return delivery

    async def send(self, events: Sequence[bytes], wanted: Sequence[Stretch] = ()) -> Delivery:
        """Make one request with the events that the queue collected, and report its result to the circuit."""
        try:
            outcomes = await self._client.send(events, wanted)
        except RegionError as exc:
            self._request_failed(exc)
            return exc
        if any(isinstance(outcome, Accepted) for outcome in outcomes):
            self._circuit.attempt_succeeded()
            if self._reported is not CircuitState.CLOSED:
                self._report_change()
        elif refusal := next((o for o in outcomes if isinstance(o, Refused) and o.status == _UNAVAILABLE), None):
            self._request_failed(RegionUnavailableError(refusal.detail))
        return outcomes

    async def check(self) -> None:
        """Check the region and report the result to the circuit, unless our own event loop stalled meanwhile."""
        began = self._clock()
        try:
            await self._client.check()
        except RegionTimeoutError as exc:
            if self._clock() - began < _STALLED * self._client.check_timeout_s:
                self._check_failed(exc)
        except RegionError as exc:
            self._check_failed(exc)
        else:
            self._circuit.check_passed()
            self._report_change()

    async def watch(self, interval_s: float) -> None:
        """Check the region every `interval_s` seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await self.check()

    async def close(self) -> None:
        """Send the posts that wait, and wait for all answers."""
        await self._queue.close()

    def _request_failed(self, error: RegionError) -> None:
        self.last_error = error
        self._circuit.attempt_failed(self._clock())
        self._report_change()

    def _check_failed(self, error: RegionError) -> None:
        self.last_error = error
        self._circuit.check_failed(self._clock())
        self._report_change()

    def _report_change(self) -> None:
        state, before = self.state, self._reported
        if state is before:
            return
        self._reported = state
        self._up.set(0 if state is CircuitState.OPEN else 1)
        log.info(
            "region changed state",
            region=self.region,
            state=state.value,
            before=before.value if before else None,
            error=str(self.last_error) if self.last_error and state is not CircuitState.CLOSED else None,
        )
        if state is CircuitState.OPEN and self.last_error is not None:
            self._queue.fail_waiting(self.last_error)
