import pytest

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consumer.offsets import OffsetLedger


def ledger(*read: int) -> OffsetLedger:
    fresh = OffsetLedger()
    fresh.read(read)
    return fresh


def test_nothing_is_committable_before_anything_was_read() -> None:
    assert ledger().committable is None


def test_what_was_read_first_holds_everything_back() -> None:
    one = ledger(3, 4, 5)
    one.complete([4])
    one.complete([5])
    assert one.committable == 3

    one.complete([3])
    assert one.committable == 6


def test_a_gap_is_nothing_to_wait_for() -> None:
    one = ledger(3, 9)
    one.complete([3])

    assert one.committable == 9


@pytest.mark.parametrize("offsets", [[6, 6], [7, 6], [6, 8, 7]])
def test_offsets_that_are_read_together_must_rise(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="do not rise"):
        ledger(3, 5).read(offsets)


@pytest.mark.parametrize("offset", [0, 4, 5])
def test_offsets_must_rise(offset: int) -> None:
    with pytest.raises(ValueError, match=f"offset {offset} was read after 5"):
        ledger(3, 5).read([offset])


def test_completing_twice_changes_nothing_and_costs_no_memory() -> None:
    one = ledger(3, 4)
    for _ in range(2):
        one.complete([4])
        one.complete([3])

    assert one.committable == 5
    assert not one._completed


class LedgerMachine(RuleBasedStateMachine):
    """Against a set of what is not completed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.subject = OffsetLedger()
        self.everything: list[int] = []
        self.open: set[int] = set()

    @rule(gaps=st.lists(st.integers(0, 2), max_size=4))
    def read(self, gaps: list[int]) -> None:
        following = self.everything[-1] + 1 if self.everything else 0
        offsets = [following := following + gap + 1 for gap in gaps]
        self.subject.read(offsets)
        self.everything += offsets
        self.open.update(offsets)

    @precondition(lambda self: self.everything)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        offsets = data.draw(st.lists(st.sampled_from(self.everything), max_size=4))
        self.subject.complete(offsets)
        self.open.difference_update(offsets)

    @precondition(lambda self: self.everything)
    @rule(data=st.data())
    def read_again(self, data: st.DataObject) -> None:
        with pytest.raises(ValueError, match="was read after"):
            self.subject.read([data.draw(st.sampled_from(self.everything))])

    @invariant()
    def the_lowest_that_is_not_completed_is_committable(self) -> None:
        beyond = self.everything[-1] + 1 if self.everything else None

        assert self.subject.committable == min(self.open, default=beyond)

    @invariant()
    def memory_follows_what_is_in_flight(self) -> None:
        assert len(self.open) <= len(self.subject) <= len(self.everything)
        assert len(self.subject._completed) <= len(self.subject)


TestLedgerMachine = LedgerMachine.TestCase
