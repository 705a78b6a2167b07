from pathlib import Path

import pytest

from hypothesis import given
from hypothesis import strategies as st

from chaos.ledger import LedgerFile, Outcome, Sent, digest, read_answers, read_ledger


def sent(number: int, time_us: int = 1) -> Sent:
    return Sent(number.to_bytes(16, "big"), time_us, "d" * 16, f"c{number}")


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 5), min_size=1, unique=True), st.none() | st.randoms()),
        min_size=1,
        max_size=8,
    )
)
def test_what_became_of_an_event_is_the_best_of_its_attempts(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[tuple[list[int], object]]
) -> None:
    answers: dict[int, list[Outcome | None]] = {}
    path = tmp_path_factory.mktemp("ledger") / "l"
    with LedgerFile(path) as ledger:
        for numbers, chance in attempts:
            attempt = ledger.begin("region-a", [sent(number) for number in numbers])
            outcomes = [chance.choice(list(Outcome)) for _ in numbers] if chance else None  # type: ignore[attr-defined]
            if outcomes:
                ledger.end(attempt, outcomes, None)
            for position, number in enumerate(numbers):
                answers.setdefault(number, []).append(outcomes[position] if outcomes else None)
    read = read_ledger(path)

    for number, given_answers in answers.items():
        entry = read.entries[sent(number).event_id]
        assert entry.attempts == len(given_answers)
        if Outcome.ACKNOWLEDGED in given_answers:
            assert entry.outcome is Outcome.ACKNOWLEDGED
        elif set(given_answers) == {Outcome.REFUSED}:
            assert entry.outcome is Outcome.REFUSED
        else:
            assert entry.outcome is Outcome.UNKNOWN


def test_an_attempt_is_on_disk_before_it_is_answered(tmp_path: Path) -> None:
    with LedgerFile(tmp_path / "l") as ledger:
        ledger.begin("region-a", [sent(1)])

        assert read_ledger(tmp_path / "l").entries[sent(1).event_id].outcome is Outcome.UNKNOWN


def test_a_line_that_was_cut_off_counts_as_not_written(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with LedgerFile(path) as ledger:
        attempt = ledger.begin("region-a", [sent(1)])
        ledger.end(attempt, [Outcome.ACKNOWLEDGED], "region-a")
    path.write_bytes(path.read_bytes()[:-3])

    assert read_ledger(path).entries[sent(1).event_id].outcome is Outcome.UNKNOWN


def test_answers_are_read_back_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    with LedgerFile(tmp_path / "l") as ledger:
        first, second = ledger.begin("region-a", [sent(1), sent(2)]), ledger.begin("region-b", [sent(3)])
        ledger.begin("region-a", [sent(4)])
        ledger.end(second, [Outcome.UNKNOWN], None)
        ledger.end(first, [Outcome.ACKNOWLEDGED, Outcome.REFUSED], "region-b")
    answers = list(read_answers(tmp_path / "l"))

    assert [(a.region, a.served, list(a.ids), list(a.outcomes)) for a in answers] == [
        ("region-b", None, [sent(3).event_id], [Outcome.UNKNOWN]),
        ("region-a", "region-b", [sent(1).event_id, sent(2).event_id], [Outcome.ACKNOWLEDGED, Outcome.REFUSED]),
    ]
    assert all(a.begun_s <= a.ended_s for a in answers)


def test_one_id_with_two_contents_is_the_writers_mistake_and_said(tmp_path: Path) -> None:
    with LedgerFile(tmp_path / "l") as ledger:
        ledger.begin("region-a", [sent(1)])
        ledger.begin("region-b", [sent(1, time_us=2)])

    assert read_ledger(tmp_path / "l").identity_broken == 1


def test_a_digest_tells_contents_apart_and_not_the_order_of_attributes() -> None:
    one = digest("s", "INFO", "m", "c", {"a": 1, "b": True})

    assert one == digest("s", "INFO", "m", "c", {"b": True, "a": 1})
    assert len({one, digest("s", "INFO", "m", "c", {"a": 1, "b": False}), digest("s", "INFO", "n", "c", {"a": 1})}) == 3
