"""The reported losses, compared with a model that knows the true ones."""

from typing import Final

import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.replication.links import Link
from gateway.replication.losses import Gap, Rewritten, Window, Wrong
from shared.wire.replication import Copies, OffsetRange, Pair

LOGS: Final = ("logs/0", "logs/1", "logs/2")


class Log:
    """A partition of the source, and MirrorMaker's position in it. Each record is a unique number."""

    def __init__(self) -> None:
        self.records: list[int] = []
        self.beginning = 0
        self.position: int | None = None
        self.noted: int | None = None
        self.copies: list[int] = []
        self.pair: Pair | None = None
        self.accepted = 0
        self.acknowledged: set[int] = set()

    @property
    def end(self) -> int:
        return len(self.records)

    @property
    def lost(self) -> int:
        return len(self.acknowledged - set(self.copies))

    def accept(self, number: int) -> None:
        for _ in range(number):
            self.accepted += 1
            self.records.append(self.accepted)
            self.acknowledged.add(self.accepted)

    def copy(self, number: int) -> None:
        """Copy as MirrorMaker does: a position that is not in the log means the log's beginning."""
        at = self.beginning if self.position is None else self.position
        if not self.beginning <= at <= self.end:
            at = self.beginning
        copied = self.records[at : at + number]
        if copied:
            self.copies += copied
            self.position = self.noted = at + len(copied)
            self.pair = Pair(source=self.position, target=len(self.copies))

    def retain(self, number: int) -> None:
        self.beginning = min(self.end, self.beginning + number)

    def cut_off(self, number: int) -> None:
        del self.records[max(self.beginning, self.end - number) :]

    def make_anew(self) -> None:
        self.records, self.beginning = [], 0


class World:
    """Partitions and the observations of them. No partition changes during an observation."""

    def __init__(self) -> None:
        self.logs = {where: Log() for where in LOGS}
        self.link = Link("region-a", "region-b", began=0.0)
        self.now = 0.0
        self.topic = 0
        self.wrong: list[Wrong] = []

    def look(self, *, source: bool, ago: float = 0.0, later: float = 1.0) -> None:
        self.now += later
        window = Window(self.now - ago, self.now - ago + 0.5)
        if source:
            spans = {where: OffsetRange(beginning=log.beginning, end=log.end) for where, log in self.logs.items()}
            self.wrong += self.link.see_source(spans, window, {"logs": f"id-{self.topic}"})
            return
        there = {where: log for where, log in self.logs.items() if log.position is not None}
        copies = Copies(
            copied={where: log.position or 0 for where, log in there.items()},
            noted={where: log.noted or 0 for where, log in there.items()},
            pairs={where: log.pair for where, log in there.items() if log.pair},
        )
        self.wrong += self.link.see_target(copies, window)

    def look_at_both(self) -> None:
        self.look(source=True)
        self.look(source=False)
        self.look(source=True)
        self.look(source=False)

    def copy_the_rest(self) -> None:
        for log in self.logs.values():
            log.copy(log.end)
            log.copy(log.end)

    @property
    def told(self) -> int:
        return sum(what.count for what in self.wrong if isinstance(what, Gap))

    @property
    def lost(self) -> int:
        return sum(log.lost for log in self.logs.values())


_where = st.sampled_from(LOGS)
_few = st.integers(1, 6)
_everyday = st.one_of(
    st.tuples(st.sampled_from(["accept", "copy", "retain"]), _where, _few),
    st.tuples(st.sampled_from(["source", "target"]), st.just(LOGS[0]), st.just(0)),
)
_steps = st.lists(_everyday, max_size=60)


def take(world: World, step: tuple[str, str, int]) -> None:
    what, where, number = step
    match what:
        case "source" | "target":
            world.look(source=what == "source")
        case _:
            getattr(world.logs[where], what)(number)


@given(_steps)
@example([("accept", "logs/0", 5), ("retain", "logs/0", 3), ("copy", "logs/0", 1)])
@example(
    [
        ("accept", "logs/0", 5),
        ("copy", "logs/0", 1),
        ("source", "logs/0", 0),
        ("target", "logs/0", 0),
        ("retain", "logs/0", 3),
        ("copy", "logs/0", 1),
    ]
)
def test_what_retention_took_is_told_to_the_record_over_all_partitions(steps: list[tuple[str, str, int]]) -> None:
    """Also where MirrorMaker stood before the hole, jumped over it between two looks, or had never copied."""
    world = World()
    world.look_at_both()
    for step in steps:
        take(world, step)
    world.look_at_both()
    world.copy_the_rest()
    world.look_at_both()

    assert world.told == world.lost


@given(_steps)
def test_what_is_told_before_anything_is_over_is_lost(steps: list[tuple[str, str, int]]) -> None:
    world = World()
    world.look_at_both()
    for step in steps:
        take(world, step)
        assert world.told <= world.lost


@given(
    st.lists(
        st.one_of(_everyday, st.tuples(st.sampled_from(["cut_off", "make_anew"]), _where, _few)),
        max_size=60,
    )
)
@example(
    [
        ("accept", "logs/1", 3),
        ("retain", "logs/1", 2),
        ("copy", "logs/1", 1),
        ("cut_off", "logs/1", 1),
        ("make_anew", "logs/1", 1),
    ]
)
def test_what_a_rewritten_log_loses_is_told_to_the_record(steps: list[tuple[str, str, int]]) -> None:
    """The gateway looks before each rewrite, and again before the log has grown beyond the position."""
    world = World()
    world.look_at_both()
    for what, where, number in steps:
        if what in {"cut_off", "make_anew"}:
            world.look_at_both()
            if what == "make_anew":
                world.topic += 1
                for log in world.logs.values():
                    log.make_anew()
            else:
                world.logs[where].cut_off(number)
            world.look_at_both()
        else:
            take(world, (what, where, number))
    world.look_at_both()
    for log in world.logs.values():
        # Skipped records count as lag until MirrorMaker continues after them.
        log.accept(1 + (log.position or 0))
    world.copy_the_rest()
    world.look_at_both()

    assert world.told == world.lost


# ---------------------------------------------------------------- examples


@pytest.fixture
def world() -> World:
    """Everything is copied and observed."""
    world = World()
    world.look_at_both()
    for log in world.logs.values():
        log.accept(10)
    world.copy_the_rest()
    world.look_at_both()
    return world


def test_a_split_in_which_retention_empties_all_partitions_is_told_of_each() -> None:
    """In a new fleet, MirrorMaker has copied one partition only."""
    world = World()
    world.logs["logs/0"].accept(1)
    world.copy_the_rest()
    world.look_at_both()
    for log in world.logs.values():
        log.accept(8330)
        log.retain(9000)
    world.look_at_both()

    assert {what.where: what.count for what in world.wrong if isinstance(what, Gap)} == dict.fromkeys(LOGS, 8330)


def test_a_topic_that_is_made_anew_and_has_grown_again_between_two_looks_is_told(world: World) -> None:
    world.topic += 1
    for log in world.logs.values():
        log.make_anew()
        log.accept(25)
    world.look_at_both()
    assert world.wrong == [Rewritten(where, copied=10, end=25) for where in LOGS]
    assert world.link.state(world.now).lag_records == 75

    # The position lies within the new log: MirrorMaker continues there and skips 10 records of each.
    world.copy_the_rest()
    world.look_at_both()

    assert world.wrong[3:] == [Gap(where, 0, 10) for where in LOGS]
    assert world.link.state(world.now).lag_records == 0


def test_what_is_written_in_place_of_a_lost_end_is_told_when_it_is_passed_over(world: World) -> None:
    log = world.logs["logs/1"]
    log.cut_off(4)
    world.look_at_both()
    assert world.wrong == [Rewritten("logs/1", copied=10, end=6)]
    log.accept(9)
    world.look_at_both()
    assert world.link.state(world.now).lag_records == 9

    world.copy_the_rest()
    world.look_at_both()

    assert (world.wrong[1:], world.lost) == ([Gap("logs/1", 6, 4)], 4)


@pytest.mark.parametrize("source_ago", [0.0, 0.8])
@pytest.mark.parametrize("source_first", [True, False])
def test_looks_that_are_always_a_little_older_on_one_side_are_enough(
    world: World, source_ago: float, *, source_first: bool
) -> None:
    """Each consumer looks once a second, at its own moment. One may always be ahead, and their looks may always overlap."""
    world.topic += 1
    for log in world.logs.values():
        log.make_anew()
        log.accept(25)
    for step in range(8):
        if step == 4:
            world.copy_the_rest()
        for source in (source_first, not source_first):
            world.look(source=source, ago=source_ago if source else 0.4, later=float(source is source_first))

    assert (world.told, world.lost, world.link.state(world.now).lag_records) == (30, 30, 0)


def test_a_position_beyond_the_end_is_reported_when_the_watch_begins(world: World) -> None:
    world.logs["logs/1"].cut_off(4)
    world.link = Link("region-a", "region-b", began=world.now)
    world.look_at_both()

    assert world.wrong == [Rewritten("logs/1", copied=10, end=6)]
    assert world.link.state(world.now).lag_records == 6


def test_a_topic_that_is_away_for_a_moment_has_lost_nothing_yet(world: World) -> None:
    for log in world.logs.values():
        log.accept(3)
    world.look_at_both()
    there, world.logs = world.logs, {}
    world.look(source=True)
    assert (world.link.state(world.now).lag_records, world.wrong) == (9, [])

    world.logs = there
    world.copy_the_rest()
    world.look_at_both()
    assert (world.link.state(world.now).lag_records, world.wrong) == (0, [])


@given(st.data())
def test_a_log_that_only_grows_is_never_said_to_have_lost_anything(data: st.DataObject) -> None:
    """Whatever is accepted and copied while an observation lasts; what it shows is as of any moment in it."""
    log, history = Log(), []
    for _ in range(data.draw(st.integers(1, 30))):
        log.accept(data.draw(st.integers(0, 3)))
        log.copy(data.draw(st.integers(0, 4)))
        history.append((log.end, log.position, log.pair))
    moments = st.integers(0, len(history) - 1)
    observed: list[tuple[Window, bool, int]] = []
    for source in (True, False):
        ends = sorted(data.draw(st.lists(moments, max_size=12)))
        # One after the other, as a consumer makes them.
        for since, until in zip(ends[::2], ends[1::2], strict=False):
            observed.append((Window(since, until), source, data.draw(st.integers(since, until))))
    link = Link("region-a", "region-b", began=0.0)
    wrong: list[Wrong] = []
    for window, source, moment in sorted(observed, key=lambda seen: seen[0].until):
        end, position, pair = history[moment]
        if source:
            wrong += link.see_source({LOGS[0]: OffsetRange(beginning=0, end=end)}, window)
        elif position is not None and pair is not None:
            copied = {LOGS[0]: position}
            wrong += link.see_target(Copies(copied=copied, noted=copied, pairs={LOGS[0]: pair}), window)
    assert wrong == []
