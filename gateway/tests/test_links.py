"""One direction of replication, moment by moment, on simulated time."""

from collections.abc import Mapping

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.replication.links import MOMENTS, UP_WITHIN_S, Link
from gateway.replication.losses import Gap, Reset, Rewritten, Window, Wrong
from shared.wire.replication import Copies, OffsetRange

BEATS = "heartbeats/0"
LOGS = "logs/0"


class World:
    """Two regions that are observed once a second, the source first. Each observation is half a second old."""

    def __init__(self) -> None:
        self.now = 100.0
        self.link = Link("region-a", "region-b", began=self.now)
        self.ends = {LOGS: 0, "logs/1": 0, BEATS: 0}
        self.beginnings = {LOGS: 0, "logs/1": 0}
        self.marks: dict[str, int] = {}
        self.copied: dict[str, int] = {}
        self.noted: dict[str, int] = {}
        self.cut = False
        self.source_seen = True
        self.target_seen = True
        self.beating = True
        self.heartbeat_at = self.now
        self.wrong: list[Wrong] = []

    def accept(self, events: int, where: str = LOGS) -> None:
        """Let the source take events."""
        self.ends[where] += events

    def pass_s(self, seconds: int) -> None:
        """Let time pass, with the heartbeats, copies and observations that it brings."""
        for _ in range(seconds):
            self.now += 1
            self.ends[BEATS] += self.beating
            if not self.cut:
                self.copy_all()
            self.look()

    def copy_all(self) -> None:
        """Let the mirror catch up."""
        self.copied = dict(self.ends)
        self.noted = dict(self.ends)
        self.heartbeat_at = self.now if self.beating else self.heartbeat_at

    def look(self) -> None:
        """Ask the regions that answer."""
        window = Window(self.now - 0.5, self.now - 0.4)
        if self.source_seen:
            spans = {
                where: OffsetRange(beginning=self.beginnings.get(where, 0), end=end, marks=self.marks.get(where, 0))
                for where, end in self.ends.items()
            }
            self.wrong += self.link.see_source(spans, window)
        if self.target_seen:
            age = self.now - 0.5 - self.heartbeat_at
            copies = Copies(copied=self.copied, noted=self.noted, heartbeat_age_s=max(0.0, age))
            self.wrong += self.link.see_target(copies, window)

    @property
    def up(self) -> bool:
        return self.link.state(self.now).up

    @property
    def lag_s(self) -> float:
        return self.link.state(self.now).lag_s

    @property
    def lag_records(self) -> int | None:
        return self.link.state(self.now).lag_records


@pytest.fixture
def world() -> World:
    world = World()
    world.pass_s(5)
    return world


def test_where_everything_is_copied_the_lag_is_the_age_of_what_was_seen(world: World) -> None:
    assert (world.up, world.lag_s, world.lag_records) == (True, 0.5, 0)
    world.accept(1000)
    world.pass_s(1)
    assert (world.up, world.lag_s, world.lag_records) == (True, 0.5, 0)


def test_before_anything_was_seen_nothing_is_claimed() -> None:
    state = Link("region-a", "region-b", began=100.0).state(107.0)

    assert (state.up, state.lag_s, state.lag_records, state.heartbeat_age_s) == (False, 7.0, None, None)


def test_what_waits_behind_a_cut_link_is_counted_and_ages(world: World) -> None:
    world.cut = True
    world.accept(30)
    world.accept(12, "logs/1")
    world.pass_s(40)

    assert (world.up, world.lag_records) == (False, 42)
    assert world.lag_s == 40.5
    assert world.link.state(world.now).heartbeat_age_s == 40


def test_a_cut_is_seen_while_no_event_flows(world: World) -> None:
    world.cut = True
    world.pass_s(int(UP_WITHIN_S) - 1)
    assert world.up
    world.pass_s(3)
    assert (world.up, world.lag_records) == (False, 0)
    assert world.lag_s == pytest.approx(UP_WITHIN_S + 2, abs=1)


def test_since_when_it_is_split_stays_while_it_is(world: World) -> None:
    assert world.link.state(world.now).split_at is None
    world.cut = True
    cut_at = world.now
    world.pass_s(30)
    first = world.link.state(world.now).split_at
    world.pass_s(300)

    assert first == pytest.approx(cut_at, abs=1)
    assert world.link.state(world.now).split_at == first


def test_a_healed_link_is_up_at_once_and_its_lag_falls_when_all_is_copied(world: World) -> None:
    world.cut = True
    world.accept(30)
    world.pass_s(60)
    world.copied[LOGS] += 10
    world.look()
    world.now += 0.5
    world.look()
    assert (world.up, world.lag_records) == (True, 20)
    assert world.lag_s > 60
    world.cut = False
    world.pass_s(1)
    assert (world.up, world.lag_s, world.lag_records) == (True, 0.5, 0)


def test_a_link_that_copies_is_up_however_far_it_is_behind(world: World) -> None:
    world.cut = True
    for _ in range(100):
        world.accept(50)
        world.copied[LOGS] = world.copied.get(LOGS, 0) + 10
        world.pass_s(1)

    assert (world.up, world.lag_records) == (True, 4000)
    assert world.lag_s > 70


def test_a_source_that_is_silent_grows_old_although_all_that_was_seen_is_copied(world: World) -> None:
    world.source_seen = False
    world.cut = True
    world.pass_s(30)

    assert (world.up, world.lag_s, world.lag_records) == (False, 30.5, 0)
    assert world.link.state(world.now).source_age_s == 30.5


def test_a_target_that_is_silent_grows_old(world: World) -> None:
    world.target_seen = False
    world.accept(5)
    world.pass_s(30)

    assert (world.up, world.lag_s, world.lag_records) == (False, 30.5, 5)


def test_without_heartbeats_a_source_in_which_nothing_waits_is_no_split(world: World) -> None:
    world.beating = False
    world.pass_s(60)
    assert (world.up, world.lag_s) == (True, 0.5)
    world.cut = True
    world.accept(1)
    world.pass_s(60)
    assert (world.up, world.lag_records) == (False, 1)


def test_who_begins_to_watch_during_a_split_takes_the_newest_heartbeat_for_its_beginning(world: World) -> None:
    world.cut = True
    world.accept(7)
    world.pass_s(60)
    world.link = Link("region-a", "region-b", began=world.now)
    world.pass_s(10)

    assert (world.up, world.lag_records) == (False, 7)
    assert world.lag_s == pytest.approx(70, abs=1)
    assert world.link.state(world.now).split_at == pytest.approx(world.now - 70, abs=1)


def test_a_split_of_days_takes_bounded_memory_and_its_end_is_seen_step_by_step(world: World) -> None:
    world.cut = True
    for _ in range(6 * MOMENTS):
        world.accept(1)
        world.pass_s(1)
    assert len(world.link._uncopied) <= MOMENTS

    # Half of the backlog is copied.
    world.copied = {where: end // 2 for where, end in world.ends.items()}
    world.now += 1
    world.look()
    assert world.lag_s == pytest.approx(3 * MOMENTS, rel=0.1)


def test_a_partition_that_one_record_holds_up_is_named_and_the_link_is_not_up(world: World) -> None:
    world.accept(7)
    world.pass_s(1)
    began = world.now
    world.cut = True
    world.accept(3)
    for _ in range(70):
        world.ends["logs/1"] += 1
        world.copied = world.copied | {"logs/1": world.ends["logs/1"], BEATS: world.ends[BEATS]}
        world.pass_s(1)

    state = world.link.state(world.now)
    assert (state.up, state.stopped, state.lag_records) == (False, {LOGS: 7}, 3)
    assert state.split_at == pytest.approx(began, abs=2)
    world.cut = False
    world.pass_s(1)
    assert (world.up, world.link.state(world.now).stopped) == (True, {})


def test_marks_of_transactions_at_the_end_of_a_log_are_no_backlog(world: World) -> None:
    world.accept(10)
    world.pass_s(1)
    world.cut, world.beating = True, False
    # An event and the transaction mark behind it, which the consumer recognises a moment later.
    world.accept(2)
    world.pass_s(1)
    world.copied[LOGS] += 1
    world.pass_s(1)
    assert world.lag_records == 1
    world.marks[LOGS] = 1
    world.pass_s(90)
    assert (world.up, world.lag_records, world.link.state(world.now).stopped) == (True, 0, {})
    assert world.lag_s == 0.5
    assert not world.wrong


def test_a_log_that_was_made_anew_has_no_record_that_holds_it_up(world: World) -> None:
    """MirrorMaker has not noticed the new log yet, and continues after its old position."""
    world.accept(100)
    world.pass_s(1)
    world.cut = True
    world.ends[LOGS] = 30
    for _ in range(90):
        world.copied = world.copied | {BEATS: world.ends[BEATS]}
        world.pass_s(1)

    assert (world.up, world.link.state(world.now).stopped) == (True, {})
    assert world.wrong == [Rewritten(LOGS, copied=100, end=30)]


def test_a_link_that_heals_holds_up_nothing_while_it_catches_up(world: World) -> None:
    world.cut = True
    world.accept(1000)
    world.pass_s(600)
    for _ in range(40):
        world.copied = world.copied | {BEATS: world.copied[BEATS] + 10}
        world.pass_s(1)
        assert world.up
        assert world.link.state(world.now).stopped == {}


# ---------------------------------------------------------------- losses


def test_what_retention_removed_before_it_was_copied_is_told_once(world: World) -> None:
    world.accept(10)
    world.pass_s(1)
    world.cut = True
    world.accept(100)
    world.pass_s(5)
    world.beginnings[LOGS] = 50
    world.pass_s(5)
    assert world.wrong == [Gap(LOGS, first=10, count=40)]
    assert world.lag_records == 60

    world.beginnings[LOGS] = 70
    world.pass_s(5)
    world.cut = False
    world.pass_s(5)
    assert world.wrong == [Gap(LOGS, first=10, count=40), Gap(LOGS, first=50, count=20)]


def test_what_was_copied_before_retention_removed_it_is_no_gap(world: World) -> None:
    for _ in range(5):
        world.accept(100)
        world.pass_s(1)
        world.beginnings[LOGS] = world.ends[LOGS]
        world.pass_s(1)

    assert not world.wrong


def test_what_is_copied_and_removed_between_two_looks_is_no_gap(world: World) -> None:
    world.accept(100)
    world.beginnings[LOGS] = 100
    # The observation of the target is from before the change.
    world.look()
    world.pass_s(3)

    assert not world.wrong


def test_a_partition_that_was_never_copied_from_misses_nothing() -> None:
    world = World()
    world.cut = True
    world.ends[LOGS], world.beginnings[LOGS] = 100, 50
    world.pass_s(5)

    assert not world.wrong
    assert world.lag_records == 50


def test_a_position_that_goes_back_is_told(world: World) -> None:
    world.accept(100)
    world.pass_s(1)
    world.cut = True
    world.noted = world.noted | {LOGS: 40}
    world.copied = world.copied | {LOGS: 40}
    world.pass_s(1)

    assert world.wrong == [Reset(LOGS, before=100, after=40)]
    assert world.lag_records == 60


def test_after_a_position_went_back_what_was_copied_before_is_not_missed(world: World) -> None:
    world.accept(100)
    world.pass_s(1)
    world.cut = True
    world.noted = world.noted | {LOGS: 40}
    world.copied = world.copied | {LOGS: 40}
    world.beginnings[LOGS] = 90
    world.pass_s(5)

    assert world.wrong == [Reset(LOGS, before=100, after=40)]


def test_records_that_are_copied_twice_after_a_crash_are_no_reset(world: World) -> None:
    world.accept(100)
    world.pass_s(1)
    world.copied = world.copied | {LOGS: 95}
    world.look()

    assert not world.wrong


def test_positions_in_a_log_that_was_made_anew_say_nothing(world: World) -> None:
    world.accept(100)
    world.pass_s(1)
    world.cut = True
    world.ends[LOGS] = 30
    world.pass_s(2)
    assert world.lag_records == 30
    world.cut = False
    world.pass_s(2)
    assert world.lag_records == 0
    assert world.wrong == [Rewritten(LOGS, copied=100, end=30), Reset(LOGS, before=100, after=30)]


# ---------------------------------------------------------------- any order of events

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.integers(1, 50)),
        st.tuples(st.just("copy"), st.integers(1, 60)),
        st.tuples(st.just("source"), st.integers(0, 20)),
        st.tuples(st.just("target"), st.integers(0, 20)),
        st.tuples(st.just("wait"), st.integers(1, 300)),
    ),
    max_size=60,
)


@given(_steps)
def test_the_lag_is_never_understated(steps: list[tuple[str, int]]) -> None:
    """The true lag reaches back to when everything accepted by then was copied. Observations are late and of unknown age."""
    link = Link("region-a", "region-b", began=0.0)
    now, end, copied = 0.0, 0, 0
    accepted: list[tuple[float, int]] = [(0.0, 0)]
    for what, number in steps:
        if what == "wait":
            now += number / 10
        elif what == "accept":
            end += number
            accepted.append((now, end))
        elif what == "copy":
            copied = min(end, copied + number)
        elif what == "source":
            link.see_source({LOGS: OffsetRange(beginning=0, end=end)}, Window(now - number / 10, now))
        else:
            link.see_target(Copies(copied={LOGS: copied}, noted={LOGS: copied}), Window(now - number / 10, now))
        truly_whole_until = next((at for at, count in accepted if count > copied), now)
        assert link.state(now).lag_s >= now - truly_whole_until - 1e-9


_looks = st.lists(
    st.one_of(
        st.tuples(st.just("source"), st.integers(0, 60)),
        st.tuples(st.just("copied"), st.integers(0, 60)),
        st.tuples(st.just("asked"), st.integers(0, 60)),
    ),
    max_size=40,
)


@given(_looks)
def test_asking_changes_nothing(looks: list[tuple[str, int]]) -> None:
    """Also while the position is one in the source's old log, which a scrape must not clear."""
    asked, left_alone = (Link("region-a", "region-b", began=0.0) for _ in range(2))
    wrong: dict[Link, list[Wrong]] = {asked: [], left_alone: []}
    for second, (what, number) in enumerate(looks):
        window = Window(second - 0.2, second - 0.1)
        for link in wrong:
            if what == "source":
                wrong[link] += link.see_source({LOGS: OffsetRange(beginning=number // 2, end=number)}, window)
            elif what == "copied":
                wrong[link] += link.see_target(Copies(copied={LOGS: number}, noted={LOGS: number}), window)
            elif link is asked:
                assert asked.state(second + number) == asked.state(second + number)
    assert wrong[asked] == wrong[left_alone]
    assert asked.state(100.0) == left_alone.state(100.0)


def test_looks_at_a_world_never_go_back_in_time(world: World) -> None:
    before: Mapping[str, int] = dict(world.copied)
    world.pass_s(2)
    late = Window(world.now - 60, world.now - 59)
    world.link.see_target(Copies(copied=dict(before), noted=dict(before)), late)
    world.link.see_source({LOGS: OffsetRange(beginning=0, end=0)}, late)

    assert (world.lag_s, world.lag_records) == (0.5, 0)
