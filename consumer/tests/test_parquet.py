import io

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch
from uuid import UUID

import pytest

from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ArrowInvalid
from pyarrow import parquet as files

from consumer.adapters import parquet

TIME = datetime(2026, 11, 23, 1, 2, 3, 4, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
ROWS = st.lists(st.tuples(TEXT, TEXT, st.none() | TEXT, st.booleans(), st.none() | st.integers(-(2**63), 2**63 - 1)))


def as_copy_writes(rows: Sequence[Sequence[object]]) -> bytes:
    """Return CSV as COPY makes it: quotes where they are needed, and around what looks like NULL."""

    def written(value: object) -> str:
        if value is None:
            return r"\N"
        text = {True: "t", False: "f"}.get(value, value) if isinstance(value, bool) else value
        text = str(text)
        needed = text in ("", r"\N") or any(character in text for character in '",\n\r')
        return '"' + text.replace('"', '""') + '"' if needed else text

    return "".join(",".join(map(written, row)) + "\n" for row in rows).encode()


def whole_rows(rows: Sequence[tuple[str, str, str | None, bool, int | None]]) -> list[list[object]]:
    return [
        [UUID(int=seq), TIME, seq, "s", "INFO", message, "c", other, "r", TIME, TIME, "w", late, late_by, reason]
        + ([seq % 3, str(UUID(int=seq + 1))] if seq % 3 else [0, None])
        for seq, (message, other, reason, late, late_by) in enumerate(rows)
    ]


@settings(deadline=None)
@given(ROWS, st.integers(1, 300), st.integers(1, 3000))
def test_what_is_read_back_is_what_came_wherever_it_was_cut(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str | None, bool, int | None]],
    block: int,
    group: int,
) -> None:
    given_rows = whole_rows(rows)
    path = tmp_path_factory.mktemp("parquet") / "a"
    with patch.multiple(parquet, _BLOCK_BYTES=block, _GROUP_BYTES=group), path.open("w+b") as file:
        content = parquet.write(io.BytesIO(as_copy_writes(given_rows)), file)
        file.seek(0)
        assert parquet.read_back(file) == content
        file.seek(0)
        assert parquet.said(file) == (len(rows), sum(range(len(rows))))
    found = [list(row.values()) for row in files.read_table(path).to_pylist()]
    assert found == [[str(row[0]), *row[1:]] for row in given_rows]


def test_however_rows_are_grouped_the_digest_is_that_of_the_values(tmp_path: Path) -> None:
    def digest(rows: list[tuple[str, str, str | None, bool, int | None]], block: int) -> str:
        with patch.multiple(parquet, _BLOCK_BYTES=block, _GROUP_BYTES=1), (tmp_path / "a").open("w+b") as file:
            source = io.BufferedReader(io.BytesIO(as_copy_writes(whole_rows(rows))))
            return parquet.write(source, file).digest

    rows = [("ab", "c", None, True, 1), ("", "d", "", False, None), ("e", "f", "g", True, -3)]
    assert len({digest(rows, block) for block in (1, 50, 10_000)}) == 1
    changed = [
        [("a", "bc", None, True, 1), *rows[1:]],
        [*rows[:1], ("", "d", None, False, None), *rows[2:]],
        rows[:2],
        rows[::-1],
    ]
    assert len({digest(rows, 50), *(digest(each, 50) for each in changed)}) == 5


@pytest.mark.parametrize("harm", ["cut", "changed", "another"])
def test_a_file_that_was_harmed_does_not_read_as_it_was_written(tmp_path: Path, harm: str) -> None:
    rows = [(f"message {n}", "c", None, True, n) for n in range(500)]
    with (tmp_path / "a").open("w+b") as file:
        content = parquet.write(io.BytesIO(as_copy_writes(whole_rows(rows))), file)
        if harm == "cut":
            file.truncate(1000)
        elif harm == "another":
            file.seek(0)
            file.truncate()
            parquet.write(io.BytesIO(as_copy_writes(whole_rows(rows[:-1]))), file)
        else:
            file.seek(600)
            file.write(b"\xff" * 20)
        file.seek(0)
        try:
            found = parquet.read_back(file)
        except (ArrowInvalid, OSError):
            return
        assert found != content


def test_what_is_no_file_of_ours_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"PAR1 or not")
    with (tmp_path / "a").open("rb") as file:
        assert parquet.said(file) is None
