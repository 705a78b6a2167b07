from dataclasses import dataclass, field

import pytest

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer.envelope import Partition
from consumer.stragglers import ahead, stragglers
from consumer.tests.strategies import MIRRORED, OWN, OWN_TOO, PARTITIONS, moments, partitions, windows
from consumer.watermark import RECEIPT_MEMORY_US, Watermarks

WINDOW = 10
MAX_FUTURE = 1000
NOW = 100_000


def watermarks(*assigned: Partition, has_unread: bool = False) -> Watermarks:
    fresh = Watermarks(WINDOW, MAX_FUTURE)
    for partition in assigned:
        fresh.assign(partition, None, NOW, has_unread=has_unread)
    return fresh


def test_the_watermark_starts_unknown() -> None:
    fresh = watermarks(OWN)

    assert fresh.merged_us is None
    assert fresh.advance() is None


def test_it_is_the_newest_event_time_minus_the_window() -> None:
    one = watermarks(OWN)
    one.seen(OWN, 500, 500, NOW)

    assert one.advance() == 490


def test_an_older_event_does_not_move_it() -> None:
    one = watermarks(OWN)
    one.seen(OWN, 500, 500, NOW)
    one.seen(OWN, 480, 500, NOW + 1)

    assert one.advance() == 490


def test_reading_alone_does_not_move_it_before_it_is_recomputed() -> None:
    one = watermarks(OWN)
    one.seen(OWN, 500, 500, NOW)

    assert one.merged_us is None


def test_one_that_is_ahead_of_the_clock_waits_for_it() -> None:
    """Else one event a minute ahead would make late, for hours, what is dated rightly."""
    one = watermarks(OWN)
    one.seen(OWN, 560, 500, NOW)
    for at in range(NOW, NOW + 61):
        one.confirm_empty(OWN, at)
        assert one.advance() == 550

    one.confirm_empty(OWN, NOW + 62)
    assert one.advance() == 552


def test_what_was_not_walked_before_the_first_receipt_is_made_up_for() -> None:
    one = watermarks()
    one.assign(OWN, 400, NOW, has_unread=False)
    one.confirm_empty(OWN, NOW + 50)
    assert one.advance() == 400

    one.received(500, NOW + 60)
    one.confirm_empty(OWN, NOW + 60)
    assert one.advance() == 500 - 2 * WINDOW


def test_a_proof_counts_although_records_came_with_it() -> None:
    two = watermarks(OWN, OWN_TOO, has_unread=True)
    two.seen(OWN, 500, 500, NOW)
    two.seen(OWN_TOO, 3, 500, NOW)
    assert two.advance() == 3 - WINDOW

    two.confirm_empty(OWN_TOO, NOW - 1)

    assert two.advance() == 499 - 2 * WINDOW


def test_who_cannot_keep_up_holds_back_those_that_can() -> None:
    two = watermarks(OWN, OWN_TOO)
    two.seen(OWN_TOO, 3, 500, NOW)
    two.seen(OWN, 500, 500, NOW)
    later = NOW + WINDOW + 1
    assert stragglers(two, later, WINDOW) == []  # none is known to be read to the end

    two.confirm_empty(OWN, later)
    assert stragglers(two, later, WINDOW) == [OWN_TOO]

    two.confirm_empty(OWN_TOO, NOW + 1)
    assert stragglers(two, later, WINDOW) == []


def test_one_that_was_just_assigned_is_given_time() -> None:
    two = watermarks(OWN)
    two.assign(OWN_TOO, None, NOW, has_unread=True)
    later = NOW + 3 * WINDOW
    two.seen(OWN, 500, 500, later)
    two.confirm_empty(OWN, later)

    assert stragglers(two, later, WINDOW) == []
    assert stragglers(two, later + 1, WINDOW) == [OWN_TOO]


def test_a_gateways_clock_that_jumps_ahead_leaves_nobody_behind() -> None:
    two = watermarks(OWN, OWN_TOO)
    two.seen(OWN_TOO, 500, 500, NOW)
    two.seen(OWN, 900, 900, NOW)
    two.confirm_empty(OWN, NOW)

    assert stragglers(two, NOW + 1, WINDOW) == []


def test_nobody_is_in_the_way_of_one_that_has_nothing_new() -> None:
    two = watermarks(OWN, OWN_TOO)
    two.seen(OWN_TOO, 3, 500, NOW)
    two.seen(OWN, 500, 500, NOW)
    later = NOW + 3 * WINDOW + 1
    two.confirm_empty(OWN, later)

    assert stragglers(two, later, WINDOW) == []


def test_a_partition_is_handed_over_as_it_is() -> None:
    two, other = watermarks(OWN, OWN_TOO), watermarks()
    two.seen(OWN, 500, 500, NOW)
    two.seen(OWN_TOO, 400, 500, NOW)

    other.take_over(OWN_TOO, two.withdraw(OWN_TOO))

    assert (two.advance(), other.advance()) == (490, 390)
    assert (set(two.partitions), set(other.partitions)) == ({OWN}, {OWN_TOO})


def test_it_goes_no_further_than_its_ceiling() -> None:
    one = watermarks(OWN)
    one.ceiling_us = 470
    one.seen(OWN, 500, 500, NOW)

    assert one.advance() == 470


def test_while_known_to_be_empty_it_walks_on_with_the_clock() -> None:
    one = watermarks(OWN)
    one.seen(OWN, 500, 500, NOW)
    one.confirm_empty(OWN, NOW + 7)

    assert one.advance() == 497


def test_it_walks_only_up_to_the_proven_moment_and_each_stretch_once() -> None:
    one = watermarks(OWN)
    one.seen(OWN, 500, 500, NOW)
    for at in (NOW + 7, NOW + 7, NOW + 3, NOW + 9):
        one.confirm_empty(OWN, at)

    assert one.advance() == 499


def test_time_before_the_last_reading_is_not_walked() -> None:
    one = watermarks(OWN)
    one.seen(OWN, 500, 500, NOW + 50)
    one.confirm_empty(OWN, NOW + 20)

    assert one.advance() == 490


def test_it_stands_still_while_records_are_unread() -> None:
    one = watermarks(OWN)
    one.seen(OWN, 500, 500, NOW)
    one.seen(OWN, 500, 500, NOW + 1000)

    assert one.advance() == 490


def test_after_a_walk_only_a_newer_event_moves_it() -> None:
    one = watermarks(OWN)
    one.seen(OWN, 500, 500, NOW)
    one.confirm_empty(OWN, NOW + 30)
    one.seen(OWN, 525, 525, NOW + 31)
    assert one.advance() == 520

    one.seen(OWN, 540, 540, NOW + 32)
    assert one.advance() == 530


def test_the_merged_one_is_the_minimum() -> None:
    two = watermarks(OWN, MIRRORED)
    two.seen(OWN, 500, 500, NOW)
    two.seen(MIRRORED, 400, 400, NOW)

    assert two.advance() == 390


def test_it_never_goes_back_even_when_a_partition_appears_that_is_behind() -> None:
    one = watermarks(OWN)
    one.seen(OWN, 500, 500, NOW)
    one.advance()
    one.assign(MIRRORED, 100, NOW, has_unread=True)

    assert one.advance() == 490


def test_a_partition_that_never_had_a_record_does_not_count() -> None:
    two = watermarks(OWN, OWN_TOO)
    two.seen(OWN, 500, 500, NOW)

    assert two.advance() == 490


def test_one_with_records_that_nobody_has_seen_holds_everything_back() -> None:
    two = watermarks(OWN)
    two.assign(OWN_TOO, None, NOW, has_unread=True)
    two.seen(OWN, 500, 500, NOW)
    assert two.advance() is None

    two.confirm_empty(OWN_TOO, NOW + 1)
    assert two.advance() == 490


def test_one_with_unread_records_and_an_old_watermark_holds_back_without_limit() -> None:
    two = watermarks(OWN)
    two.assign(MIRRORED, 3, NOW, has_unread=True)
    two.seen(OWN, 500, 500, NOW)

    assert two.advance() == 3


def test_an_empty_partition_holds_back_by_two_windows_of_the_gateways_clock_at_most() -> None:
    two = watermarks(OWN)
    two.assign(MIRRORED, 3, NOW, has_unread=False)
    two.seen(OWN, 500, 600, NOW)
    assert two.advance() == 490  # the minimum of 500 - window and 600 - two windows

    two.seen(OWN, 800, 600, NOW)
    two.confirm_empty(MIRRORED, NOW)
    assert two.advance() == 580

    two.confirm_empty(MIRRORED, NOW + 5)
    assert two.advance() == 585


def test_the_bound_holds_only_as_long_as_emptiness_is_proven() -> None:
    two = watermarks(OWN)
    two.assign(MIRRORED, 3, NOW, has_unread=False)
    two.seen(OWN, 500, 500, NOW + 50)

    # The mirrored one was last known to be empty 50 before the receipt was read.
    assert two.advance() == 500 - 50 - 2 * WINDOW


def test_a_receipt_time_from_the_far_future_is_not_believed() -> None:
    two = watermarks(OWN)
    two.assign(MIRRORED, 3, NOW, has_unread=False)
    two.seen(OWN, 10 * NOW, 10 * NOW, NOW)

    assert two.advance() == NOW + MAX_FUTURE - 2 * WINDOW


def test_the_receipt_that_is_furthest_ahead_counts_not_the_latest_read() -> None:
    two = watermarks(OWN)
    two.assign(MIRRORED, 3, NOW, has_unread=False)
    two.seen(OWN, 2000, 600, NOW)
    two.received(601, NOW + 20)  # slower: it took 19 longer to get here
    two.confirm_empty(MIRRORED, NOW + 20)

    assert two.advance() == 600 + 20 - 2 * WINDOW


def test_a_gateways_clock_that_was_wrong_is_forgotten_once_it_is_right_again() -> None:
    """Else everything would be late for ever: what is empty would go on walking a minute ahead of the clock."""
    two = watermarks(OWN)
    two.assign(MIRRORED, 3, NOW, has_unread=False)
    two.received(10 * NOW, NOW)
    later = NOW + RECEIPT_MEMORY_US + 1
    two.seen(OWN, 2 * later, later, later)
    two.confirm_empty(MIRRORED, later)

    assert two.advance() == later - 2 * WINDOW


def test_a_successor_starts_where_the_partition_stood_but_not_above_the_merged_one() -> None:
    two = watermarks(OWN, MIRRORED)
    assert two.resume_point(OWN) is None

    two.seen(OWN, 500, 500, NOW)
    two.seen(MIRRORED, 400, 400, NOW)
    assert two.resume_point(OWN) is None  # all that was read is held back

    two.advance()
    assert two.resume_point(OWN) == 390
    assert two.resume_point(MIRRORED) == 390

    two.raise_to(450)
    assert two.resume_point(OWN) == 450
    assert two.resume_point(MIRRORED) == 390


def test_nobody_is_ahead_where_nothing_is_unread() -> None:
    two = watermarks(OWN, MIRRORED)
    two.seen(OWN, 500, 500, NOW)
    two.confirm_empty(OWN, NOW + 1)

    assert list(ahead(two)) == []


def test_those_are_ahead_that_are_not_the_slowest_with_unread_records() -> None:
    three = watermarks(OWN, OWN_TOO, MIRRORED)
    three.seen(OWN, 500, 500, NOW)
    three.seen(OWN_TOO, 400, 400, NOW)
    three.seen(MIRRORED, 100, 100, NOW)
    three.confirm_empty(MIRRORED, NOW + 1)

    assert set(ahead(three)) == {OWN}


def test_all_that_were_seen_are_ahead_of_one_that_nobody_has_seen() -> None:
    two = watermarks(OWN)
    two.assign(OWN_TOO, None, NOW, has_unread=True)
    two.seen(OWN, 500, 500, NOW)

    assert list(ahead(two)) == [OWN]


@dataclass
class PartitionStory:
    """What is known of one partition, and when it was said."""

    stored: int | None
    own: int | None
    proven: int | None
    marks: list[int] = field(default_factory=list)
    unread: bool = False


class WatermarkMachine(RuleBasedStateMachine):
    """
    Against a restatement: how far each partition is, on a gateways' clock that is the furthest ahead of all receipts.

    A second instance lives on a machine whose clock is wrong by a day and must never differ.
    """

    SKEW = 86_400_000_000

    @initialize(window=windows, first=st.integers(0, 20))
    def begin(self, window: int, first: int) -> None:
        # Receipts of this history are all believable; disbelief has tests of its own.
        self.window = window
        self.now = first
        self.subject = Watermarks(window, 10**15)
        self.skewed = Watermarks(window, 10**15)
        self.stories: dict[Partition, PartitionStory] = {}
        self.receipts: list[tuple[int, int]] = []
        self.merged: int | None = None

    @precondition(lambda self: len(self.stories) < len(PARTITIONS))
    @rule(stored=st.none() | moments, has_unread=st.booleans())
    def assign(self, stored: int | None, *, has_unread: bool) -> None:
        partition = PARTITIONS[len(self.stories)]
        self.subject.assign(partition, stored, self.now, has_unread=has_unread)
        self.skewed.assign(partition, stored, self.now + self.SKEW, has_unread=has_unread)
        proven = None if has_unread else self.now
        self.stories[partition] = PartitionStory(stored, stored, proven, [self.now], has_unread)

    @rule(by=st.integers(0, 6))
    def time_passes(self, by: int) -> None:
        self.now += by

    @precondition(lambda self: self.stories)
    @rule(data=st.data(), newest=moments, received=moments)
    def read(self, data: st.DataObject, newest: int, received: int) -> None:
        partition = data.draw(st.sampled_from(list(self.stories)))
        self.subject.seen(partition, newest, received, self.now)
        self.skewed.seen(partition, newest, received, self.now + self.SKEW)
        story = self.stories[partition]
        story.own = max(newest - self.window, newest - self.window if story.own is None else story.own)
        story.marks.append(self.now)
        story.unread = True
        self.receipts.append((received, self.now))

    @precondition(lambda self: self.stories)
    @rule(data=st.data(), ago=st.integers(0, 8))
    def broker_says_empty(self, data: st.DataObject, ago: int) -> None:
        partition = data.draw(st.sampled_from(list(self.stories)))
        at = self.now - ago
        self.subject.confirm_empty(partition, at)
        self.skewed.confirm_empty(partition, at + self.SKEW)
        story = self.stories[partition]
        story.unread = False
        story.proven = at if story.proven is None else max(story.proven, at)
        if self.receipts:
            if story.own is not None:
                walked = story.own + max(0, at - max(story.marks))
                story.own = max(story.own, min(walked, self._gateways_clock(at) - self.window))
            story.marks.append(at)

    @precondition(lambda self: self.stories)
    @rule()
    def advance(self) -> None:
        answer = self.subject.advance()
        self.skewed.advance()

        counted = [s for s in self.stories.values() if s.own is not None or s.unread]
        blocked = any(s.own is None for s in counted)
        if counted and not blocked:
            lowest = min(self._effective(story) for story in counted)
            self.merged = lowest if self.merged is None else max(self.merged, lowest)
        assert answer == self.merged

    @precondition(lambda self: self.stories)
    @rule(to=moments)
    def make_room(self, to: int) -> None:
        self.subject.raise_to(to)
        self.skewed.raise_to(to)
        self.merged = to if self.merged is None else max(self.merged, to)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "subject"):
            return
        assert self.subject.merged_us == self.merged == self.skewed.merged_us
        assert set(ahead(self.subject)) == self._ahead() == set(ahead(self.skewed))
        for partition, story in self.stories.items():
            points = [self.subject.resume_point(partition), self.skewed.resume_point(partition)]
            assert points == [self._resume_point(story)] * 2

    def _gateways_clock(self, at: int) -> int:
        return at + max(receipt - now for receipt, now in self.receipts)

    def _effective(self, story: PartitionStory) -> int:
        assert story.own is not None
        if story.unread or story.proven is None or not self.receipts:
            return story.own
        return max(story.own, self._gateways_clock(story.proven) - 2 * self.window)

    def _resume_point(self, story: PartitionStory) -> int | None:
        if self.merged is None:
            return story.stored
        return None if story.own is None else min(story.own, self.merged)

    def _ahead(self) -> set[Partition]:
        unread = [s for s in self.stories.values() if s.unread]
        return {
            partition
            for partition, story in self.stories.items()
            if (own := story.own) is not None
            and unread
            and any((other := s.own) is None or other < own for s in unread)
        }


TestWatermarkMachine = WatermarkMachine.TestCase


@given(window=windows, times=st.lists(st.tuples(partitions, moments), min_size=1))
def test_without_idling_it_is_the_minimum_of_the_newest_times_minus_the_window(
    window: int, times: list[tuple[Partition, int]]
) -> None:
    subject = Watermarks(window, MAX_FUTURE)
    for partition in PARTITIONS:
        subject.assign(partition, None, NOW, has_unread=True)
    newest: dict[Partition, int] = {}
    for partition, time in times:
        subject.seen(partition, time, time, NOW)
        newest[partition] = max(time, newest.get(partition, 0))

    expected = min(newest.values()) - window if len(newest) == len(PARTITIONS) else None
    assert subject.advance() == expected


@pytest.mark.parametrize("ahead", [0, 1, MAX_FUTURE])
def test_a_receipt_ahead_of_this_machines_clock_is_believed_up_to_the_limit(ahead: int) -> None:
    two = watermarks(OWN)
    two.assign(MIRRORED, 3, NOW, has_unread=False)
    two.seen(OWN, 10 * NOW, NOW + ahead, NOW)

    assert two.advance() == NOW + ahead - 2 * WINDOW
