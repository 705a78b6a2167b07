"""
Decides whether a region gets an attempt: one circuit breaker a region. PURE: `now` is an argument, in monotonic seconds.

The circuit counts failures of active checks and of real traffic apart. With one count, a producer whose `/ready` answers
while its writes fail would be declared healthy once a second. A real acknowledgement outweighs any check.

* CLOSED      Attempts go through. `failures` failures in a row of either kind open the circuit.
* OPEN        No attempts. A check that passes makes it HALF_OPEN, and so do `open_s` seconds without news.
* HALF_OPEN   One attempt at a time, the trial. Its success closes the circuit, any failure opens it again. Where only
              checks had failed, a check that passes closes it, too.

When the circuits of all regions are open, failed checks alone must not make the gateway refuse all events. An overloaded
gateway finds every region too slow, and without an attempt it would never learn better. So an open circuit lets one attempt
through as a last resort, `open_s` after the last attempt that failed. Envoy has panic routing for the same reason.

A circuit starts HALF_OPEN: there is no evidence yet, and the first check decides.
"""

from enum import StrEnum
from math import inf


class CircuitState(StrEnum):
    """Whether attempts go through."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class Circuit:
    """
    One region's circuit breaker.

    Args:
        failures: Failures in a row, of checks or of traffic, that open it.
        open_s: Seconds without news after which an open circuit allows a trial. It must be longer than the time between
            two checks, or a client's request would pay for trials of a region whose checks fail.
        trial_s: Seconds after which a trial without a reported result no longer blocks the next one.
    """

    def __init__(self, *, failures: int, open_s: float, trial_s: float) -> None:
        self._failures = failures
        self._open_s = open_s
        self._trial_s = trial_s
        self._state = CircuitState.HALF_OPEN
        self._failed_checks = 0
        self._failed_attempts = 0
        self._failed_at = 0.0
        self._attempt_failed_at = -inf
        self._trial_until: float | None = None

    def state(self, now: float) -> CircuitState:
        """Return the state at `now`."""
        if self._state is CircuitState.OPEN and now >= self._failed_at + self._open_s:
            return CircuitState.HALF_OPEN
        return self._state

    def allows(self, now: float, *, last_resort: bool = False) -> bool:
        """Return whether `admit` would let an attempt through. `last_resort` means that no other region would."""
        if self._state is CircuitState.CLOSED:
            return True
        trial_under_way = self._trial_until is not None and now < self._trial_until
        due = self.state(now) is CircuitState.HALF_OPEN or (
            last_resort and now >= self._attempt_failed_at + self._open_s
        )
        return due and not trial_under_way

    def admit(self, now: float, *, last_resort: bool = False) -> bool:
        """Let an attempt through or not. The attempt that an open or half-open circuit lets through is its trial."""
        if self._state is CircuitState.CLOSED:
            return True
        if not self.allows(now, last_resort=last_resort):
            return False
        self._state = CircuitState.HALF_OPEN
        self._trial_until = now + self._trial_s
        return True

    def attempt_succeeded(self) -> None:
        """Note that the region acknowledged events."""
        self._failed_checks = 0
        self._close()

    def attempt_failed(self, now: float) -> None:
        """Note that a request to the region failed."""
        self._failed_attempts += 1
        self._attempt_failed_at = now
        self._trial_until = None
        self._failed(self._failed_attempts, now)

    def check_passed(self) -> None:
        """Note that an active check passed."""
        self._failed_checks = 0
        if self._state is CircuitState.CLOSED:
            return
        if self._failed_attempts:
            self._state = CircuitState.HALF_OPEN
        else:
            self._close()

    def check_failed(self, now: float) -> None:
        """Note that an active check failed."""
        self._failed_checks += 1
        self._failed(self._failed_checks, now)

    def _failed(self, in_a_row: int, now: float) -> None:
        self._failed_at = now
        if self._state is not CircuitState.CLOSED or in_a_row >= self._failures:
            self._state = CircuitState.OPEN

    def _close(self) -> None:
        self._state = CircuitState.CLOSED
        self._failed_attempts = 0
        self._trial_until = None
