"""The circuit breaker, by example and by its invariants."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.delivery.circuit import Circuit, CircuitState

FAILURES = 3
OPEN_S = 4.0
TRIAL_S = 5.0


def closed() -> Circuit:
    circuit = Circuit(failures=FAILURES, open_s=OPEN_S, trial_s=TRIAL_S)
    circuit.check_passed()
    return circuit


def opened_by_attempts(now: float = 0.0) -> Circuit:
    circuit = closed()
    for _ in range(FAILURES):
        circuit.attempt_failed(now)
    return circuit


def test_the_first_check_decides() -> None:
    unknown, well, dead = (Circuit(failures=FAILURES, open_s=OPEN_S, trial_s=TRIAL_S) for _ in range(3))
    well.check_passed()
    dead.check_failed(0.0)

    assert unknown.state(0.0) is CircuitState.HALF_OPEN
    assert well.state(0.0) is CircuitState.CLOSED
    assert dead.state(0.0) is CircuitState.OPEN


def test_failures_in_a_row_open_it() -> None:
    circuit = closed()

    states = []
    for _ in range(FAILURES):
        circuit.attempt_failed(0.0)
        states.append(circuit.state(0.0))

    assert states == [CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.OPEN]
    assert not circuit.admit(0.0)


def test_checks_that_fail_do_not_refuse_everybody_when_no_region_is_left() -> None:
    circuit = opened_by_attempts(now=0.0)
    for second in range(1, 60):
        circuit.check_failed(float(second))
        assert not circuit.allows(second + 0.1)
        assert circuit.allows(second + 0.1, last_resort=True) is (second >= OPEN_S)


def test_a_last_resort_is_one_attempt_at_a_time_and_its_success_closes_the_circuit() -> None:
    circuit = opened_by_attempts(now=0.0)
    circuit.check_failed(9.0)

    assert circuit.admit(10.0, last_resort=True)
    circuit.check_failed(10.5)
    assert not circuit.admit(11.0, last_resort=True)
    circuit.attempt_failed(12.0)
    assert not circuit.allows(12.0 + OPEN_S - 0.1, last_resort=True)
    assert circuit.admit(12.0 + OPEN_S, last_resort=True)
    circuit.attempt_succeeded()
    assert circuit.state(12.0 + OPEN_S) is CircuitState.CLOSED


def test_a_success_between_them_starts_the_count_again() -> None:
    circuit = closed()
    for _ in range(10):
        circuit.attempt_failed(0.0)
        circuit.attempt_failed(0.0)
        circuit.attempt_succeeded()

    assert circuit.state(0.0) is CircuitState.CLOSED


def test_checks_that_pass_do_not_hide_attempts_that_fail() -> None:
    """A producer may say it is ready while every write times out."""
    circuit = closed()
    for _ in range(FAILURES):
        circuit.attempt_failed(0.0)
        circuit.check_passed()

    assert circuit.state(0.0) is CircuitState.HALF_OPEN


def test_an_acknowledgement_outweighs_checks_that_fail() -> None:
    circuit = closed()
    for _ in range(10):
        circuit.check_failed(0.0)
        circuit.check_failed(0.0)
        circuit.attempt_succeeded()

    assert circuit.state(0.0) is CircuitState.CLOSED


def test_half_open_it_lets_one_attempt_through() -> None:
    circuit = opened_by_attempts()
    circuit.check_passed()

    assert [circuit.admit(1.0) for _ in range(3)] == [True, False, False]


def test_one_trial_that_succeeds_closes_it() -> None:
    circuit = opened_by_attempts()
    circuit.check_passed()
    circuit.admit(1.0)
    circuit.attempt_succeeded()

    assert circuit.state(1.0) is CircuitState.CLOSED
    assert [circuit.admit(1.0) for _ in range(3)] == [True, True, True]


def test_one_trial_that_fails_opens_it_again() -> None:
    circuit = opened_by_attempts()
    circuit.check_passed()
    circuit.admit(1.0)
    circuit.attempt_failed(1.0)

    assert circuit.state(1.0) is CircuitState.OPEN


def test_where_only_checks_failed_a_check_is_trial_enough() -> None:
    circuit = closed()
    for _ in range(FAILURES):
        circuit.check_failed(0.0)
    before = circuit.state(0.0)
    circuit.check_passed()

    assert before is CircuitState.OPEN
    assert circuit.state(0.0) is CircuitState.CLOSED


def test_without_any_news_an_open_circuit_allows_a_trial_in_the_end() -> None:
    circuit = opened_by_attempts(now=10.0)

    assert not circuit.allows(10.0 + OPEN_S - 0.1)
    assert circuit.allows(10.0 + OPEN_S)


def test_checks_that_keep_failing_keep_it_open() -> None:
    """Otherwise a client's request would pay every few seconds for a region that is known to be dead."""
    circuit = opened_by_attempts()
    for now in range(1, 100):
        circuit.check_failed(float(now))

        assert not circuit.allows(now + 1.0)


def test_a_trial_that_is_never_reported_does_not_block_for_ever() -> None:
    circuit = opened_by_attempts()
    circuit.check_passed()
    circuit.admit(1.0)

    assert not circuit.allows(1.0 + TRIAL_S - 0.1)
    assert circuit.admit(1.0 + TRIAL_S)


class CircuitMachine(RuleBasedStateMachine):
    """Draw any order of events. Time only grows."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit(failures=FAILURES, open_s=OPEN_S, trial_s=TRIAL_S)
        self.now = 0.0
        self.attempts_failed = 0
        self.checks_failed = 0
        self.admitted = False

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, OPEN_S, TRIAL_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def admit(self) -> None:
        allowed = self.circuit.allows(self.now)
        assert self.circuit.admit(self.now) is allowed
        self.admitted = self.admitted or allowed
        if allowed and self.circuit.state(self.now) is not CircuitState.CLOSED:
            assert not self.circuit.allows(self.now), "a second trial while one is under way"

    @precondition(lambda self: self.admitted)
    @rule(succeeded=st.booleans())
    def report(self, *, succeeded: bool) -> None:
        if succeeded:
            self.circuit.attempt_succeeded()
            self.attempts_failed = self.checks_failed = 0
            assert self.circuit.state(self.now) is CircuitState.CLOSED
        else:
            self.circuit.attempt_failed(self.now)
            self.attempts_failed += 1

    @rule(passed=st.booleans())
    def check(self, *, passed: bool) -> None:
        if passed:
            self.circuit.check_passed()
            self.checks_failed = 0
            assert self.circuit.state(self.now) is not CircuitState.OPEN
        else:
            self.circuit.check_failed(self.now)
            self.checks_failed += 1

    @invariant()
    def many_failures_and_no_success_never_leave_it_closed(self) -> None:
        if max(self.attempts_failed, self.checks_failed) >= FAILURES:
            assert self.circuit.state(self.now) is not CircuitState.CLOSED

    @invariant()
    def open_means_no_attempt(self) -> None:
        if self.circuit.state(self.now) is CircuitState.OPEN:
            assert not self.circuit.allows(self.now)

    @invariant()
    def it_never_locks_up(self) -> None:
        assert self.circuit.allows(self.now + OPEN_S + TRIAL_S)


TestCircuitMachine = CircuitMachine.TestCase


@given(st.lists(st.sampled_from(["ok", "failed"]), max_size=20))
def test_closed_it_admits_everything(results: list[str]) -> None:
    circuit = closed()
    for result in results:
        if circuit.state(0.0) is CircuitState.CLOSED:
            assert circuit.admit(0.0)
            assert circuit.admit(0.0)
        if result == "ok":
            circuit.attempt_succeeded()
        else:
            circuit.attempt_failed(0.0)
