"""Each mistake of a tail is found."""

import pytest

from chaos.checker import StoredRow
from chaos.tail import Tailed, compare

ROWS = [StoredRow(seq, b"", 0, "", "c", "region-a", 0, 0, f"w{seq % 2}", None, None) for seq in range(1, 11)]
GOOD = [Tailed(row.seq, row.stored_by) for row in [*ROWS[1::2], *ROWS[::2]]]


def test_a_tail_may_have_the_writers_in_any_order() -> None:
    assert compare(ROWS, GOOD) == []


@pytest.mark.parametrize(
    ("tailed", "said"),
    [
        (GOOD[1:], "lost 1 rows: seq [2]"),
        ([*GOOD, GOOD[-1]], "had twice 1 rows: seq [9]"),
        ([*GOOD, Tailed(99, "w1")], "invented 1 rows: seq [99]"),
        ([GOOD[1], GOOD[0], *GOOD[2:]], "had out of its writer's order 1 rows: seq [2]"),
        ([], "lost 10 rows: seq [1, 2, 3]"),
    ],
)
def test_a_mistake_is_told(tailed: list[Tailed], said: str) -> None:
    assert any(said in sentence for sentence in compare(ROWS, tailed))
