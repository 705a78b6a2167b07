"""The marks against a model of a database whose claims and transactions commit in any order."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import pytest

from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.marks import BEGINNING, Marks, Position, Reading, generation_of, newest, was_set_back

LINES: Final = (0, 1, 2, 3)
ALL: Final = frozenset(LINES)
PAGE: Final = 3


@dataclass
class Flight:
    """A transaction that is not committed: a claim of lines, or rows with their progress."""

    owner: int
    generation: int
    lines: frozenset[int]
    rows: list[int] = field(default_factory=list)
    is_claim: bool = False
    mark: int | None = None


@dataclass
class Database:
    """Rows, marks and lines as committed, and what is in flight. It has the locks that matter: a line has one writer at a time."""

    seq: int = 0
    generation: int = 0
    rows: list[tuple[int, int]] = field(default_factory=list)
    marks: dict[int, int] = field(default_factory=lambda: {BEGINNING: 0})
    lines: dict[int, int] = field(default_factory=dict)
    flights: list[Flight] = field(default_factory=list)

    def _locked(self) -> set[int]:
        return {line for flight in self.flights for line in flight.lines}

    def claim(self, owner: int, lines: frozenset[int], *, with_mark: bool) -> None:
        """Begin to take lines over, if no other transaction has them."""
        # Its process has one transaction at a time; what was in flight is given up.
        self.flights = [flight for flight in self.flights if flight.owner != owner]
        self.generation += 1
        if lines & self._locked():
            return
        mark = self.seq if with_mark else None
        self.flights.append(Flight(owner, self.generation, lines, is_claim=True, mark=mark))

    def store(self, owner: int, generation: int, count: int, *, with_mark: bool) -> None:
        """Insert rows and write the progress of all lines of a generation, if it still has them."""
        lines = frozenset(line for line, of in self.lines.items() if of == generation)
        if any(flight.owner == owner for flight in self.flights) or not lines or lines & self._locked():
            return
        if with_mark and generation not in self.marks:
            return
        rows = list(range(self.seq + 1, self.seq + count + 1))
        self.seq += count
        self.flights.append(Flight(owner, generation, lines, rows, mark=self.seq if with_mark else None))

    def burn(self, count: int) -> None:
        """Draw numbers that no row gets."""
        self.seq += count

    def commit(self, flight: Flight) -> None:
        self.flights.remove(flight)
        self.rows += [(seq, flight.generation) for seq in flight.rows]
        if flight.is_claim:
            self.lines.update(dict.fromkeys(flight.lines, flight.generation))
            if flight.mark is not None:
                # What it saw of others when it took their marks away: lines that were committed, and its own.
                owners = set(self.lines.values())
                self.marks = {g: m for g, m in self.marks.items() if g in owners or g == BEGINNING}
                # Set when its lines were locked, hence above all that their former owners wrote.
                self.marks[flight.generation] = self.seq
        elif flight.mark is not None:
            self.marks[flight.generation] = flight.mark

    def snapshot(self) -> tuple[Marks, list[tuple[int, int]]]:
        unmarked = frozenset(self.lines.values()) - self.marks.keys()
        return Marks("0a1b2c3d", dict(self.marks), unmarked), sorted(self.rows)


@dataclass
class Tail:
    """A reader with nothing but its position."""

    position: Position
    there: set[int]
    seen: list[tuple[int, int]] = field(default_factory=list)

    def step(self, database: Database, *, stop_within: bool = False) -> bool:
        marks, rows = database.snapshot()
        assert not was_set_back(self.position, marks)
        reading = Reading(self.position, marks)
        page = [(seq, g) for seq, g in rows if reading.low < seq <= reading.high][:PAGE]
        if stop_within and page:
            page = page[: len(page) // 2 + 1]
        self.seen += [(seq, g) for seq, g in page if reading.delivers(g, seq)]
        is_full = len(page) == PAGE or stop_within
        self.position = reading.at(page[-1][0] if page and is_full else reading.high)
        return bool(page) and is_full


KINDS: Final = ("store",) * 5 + ("commit",) * 4 + ("step",) * 3 + ("stop", "abort", "burn", "claim", "tail")
Step = tuple[str, int, int, frozenset[int]]
STEPS: Final[st.SearchStrategy[list[Step]]] = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 3),
        st.integers(0, 5),
        st.frozensets(st.sampled_from(LINES), min_size=1),
    ),
    max_size=60,
)


class Play:
    """Four processes, the last one of a release without marks if told so."""

    def __init__(self, *, one_of_before: bool) -> None:
        self.database = Database()
        self._generations: dict[int, int] = {}
        self._of_before = 3 if one_of_before else -1
        for who, line in enumerate(LINES):
            self.claim(who, [line])
        self.tails = [self._tail()]

    def _tail(self) -> Tail:
        marks, rows = self.database.snapshot()
        return Tail(newest(marks), {seq for seq, _ in rows})

    def do(self, what: str, who: int, count: int, lines: frozenset[int]) -> None:
        database, with_mark = self.database, who != self._of_before
        if what == "claim":
            database.claim(who, lines, with_mark=with_mark)
        elif what == "store":
            database.store(who, self._generations[who], count, with_mark=with_mark)
        elif what == "burn":
            database.burn(count)
        elif what in {"commit", "abort"}:
            for flight in [flight for flight in database.flights if flight.owner == who]:
                self._end(flight, is_good=what == "commit")
        elif what == "tail":
            self.tails.append(self._tail())
        else:
            for tail in self.tails:
                tail.step(database, stop_within=what == "stop")

    def claim(self, who: int, lines: Iterable[int]) -> None:
        """Let one take lines over at once."""
        self.do("claim", who, 0, frozenset(lines))
        self.do("commit", who, 0, frozenset())

    def _end(self, flight: Flight, *, is_good: bool) -> None:
        if not is_good:
            self.database.flights.remove(flight)
            return
        self.database.commit(flight)
        if flight.is_claim:
            self._generations[flight.owner] = flight.generation

    def check(self) -> None:
        for flight in list(self.database.flights):
            self._end(flight, is_good=True)
        self.claim(0, LINES)
        stored = Counter(seq for seq, _ in self.database.rows)
        for tail in self.tails:
            while tail.step(self.database):
                pass
            seen = Counter(seq for seq, _ in tail.seen)
            assert max(seen.values(), default=1) == 1, "each once"
            assert {seq for seq in seen if seq not in tail.there} == {seq for seq in stored if seq not in tail.there}
            if self._of_before < 0:
                assert not seen.keys() & tail.there, "nothing of before the beginning"
            for generation in {g for _, g in tail.seen}:
                own = [seq for seq, g in tail.seen if g == generation]
                assert own == sorted(own), "in the order of its writer"
            assert len(tail.position.below) <= len(LINES) + 1


@pytest.mark.parametrize("one_of_before", [False, True], ids=["marked", "one-of-before"])
@settings(max_examples=400, deadline=None)
@given(steps=STEPS)
@example(
    steps=[
        ("store", 3, 2, ALL),
        ("store", 0, 1, ALL),
        ("commit", 0, 0, ALL),
        ("step", 0, 0, ALL),
        ("commit", 3, 0, ALL),
    ]
)
@example(
    steps=[
        ("store", 3, 2, ALL),
        ("store", 0, 1, ALL),
        ("commit", 0, 0, ALL),
        ("tail", 0, 0, ALL),
        ("commit", 3, 0, ALL),
    ]
)
def test_each_tail_has_each_row_once_in_the_order_of_its_writer(
    one_of_before: bool,  # noqa: FBT001 - a parameter of the test
    steps: list[Step],
) -> None:
    play = Play(one_of_before=one_of_before)
    for step in steps:
        play.do(*step)
    play.check()


def test_a_writer_that_stands_still_holds_up_no_other_and_costs_no_reading() -> None:
    position = newest(Marks("0a1b2c3d", {0: 0, 5: 100, 6: 90}))
    reading = Reading(position, Marks("0a1b2c3d", {0: 0, 5: 200, 6: 90}))
    assert (reading.low, reading.high) == (100, 200)
    assert reading.delivers(5, 150)
    assert not reading.delivers(6, 150)
    still = Reading(reading.at(200), Marks("0a1b2c3d", {0: 0, 5: 200, 6: 90}))
    assert still.low == still.high


def test_one_that_comes_back_is_read_from_where_it_was() -> None:
    position = newest(Marks("0a1b2c3d", {0: 0, 5: 200, 6: 90}))
    reading = Reading(position, Marks("0a1b2c3d", {0: 0, 5: 300, 6: 280}))
    assert (reading.low, reading.high) == (90, 300)
    assert not reading.delivers(5, 150)
    assert reading.delivers(6, 150)
    assert not reading.delivers(6, 281)


def test_a_row_that_no_consumer_wrote_is_delivered_up_to_the_highest_mark() -> None:
    reading = Reading(newest(Marks("0a1b2c3d", {0: 10})), Marks("0a1b2c3d", {0: 10, 1: 20}))
    assert reading.delivers(generation_of("by hand"), 15)
    assert not reading.delivers(generation_of("by hand"), 21)


def test_a_database_that_was_set_back_is_told_from_one_that_went_on() -> None:
    position = newest(Marks("0a1b2c3d", {0: 10, 3: 50}))
    assert not was_set_back(position, Marks("0a1b2c3d", {0: 10, 4: 50}))
    assert was_set_back(position, Marks("0a1b2c3d", {0: 10, 2: 49}))
    assert was_set_back(position, Marks("ffffffff", {0: 10, 3: 60}))


@pytest.mark.parametrize(
    ("stored_by", "generation"),
    [
        ("region-a/consumer-a/17", 17),
        ("region-a/consumer-a/17/region-b", 17),
        ("region-a/consumer-a/17/region-b/4", 17),
        ("by hand", None),
        ("a/b", None),
        ("a/b/c", None),
        ("a/b/", None),
        ("", None),
    ],
)
def test_the_generation_is_the_third_part(stored_by: str, generation: int | None) -> None:
    assert generation_of(stored_by) == generation
