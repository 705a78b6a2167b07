import errno
import fcntl
import os

from pathlib import Path

import pytest

from consumer.adapters.whole_file import whole_file
from consumer.retention import ArchiveError


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with whole_file(path) as file:
        file.write(b"half")
        assert left(tmp_path) == ["a.partial"]
        file.write(b" and half")
    assert left(tmp_path) == ["a"]
    assert path.read_bytes() == b"half and half"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full: make room there, or name another folder"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "is full: make room there, or name another folder"),
        (OSError(errno.EIO, "Input/output error"), "cannot be written: Input/output error"),
        (ArchiveError("another reason"), "another reason"),
    ],
)
def test_what_goes_wrong_leaves_nothing_and_says_a_sentence(tmp_path: Path, error: Exception, said: str) -> None:
    def write() -> None:
        with whole_file(tmp_path / "a") as file:
            file.write(b"half")
            raise error

    with pytest.raises(ArchiveError, match=said):
        write()
    assert left(tmp_path) == []


def test_a_file_that_is_there_stays_whenever_it_came(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def write() -> None:
        with whole_file(path) as file:
            file.write(b"ours")
            path.write_bytes(b"another's")

    with pytest.raises(ArchiveError, match="a is there already: name another file"):
        write()
    with pytest.raises(ArchiveError, match="a is there already: name another file"), whole_file(path):
        pytest.fail("it is refused before it is written")
    assert path.read_bytes() == b"another's"
    assert left(tmp_path) == ["a"]


def test_it_works_where_a_file_can_have_one_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(_from: Path, _to: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "a"
    with whole_file(path) as file:
        file.write(b"whole")
    assert left(tmp_path) == ["a"]
    with pytest.raises(ArchiveError, match="already"), whole_file(path):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ArchiveError, match=r"there is no folder .*nowhere: make it"),
        whole_file(tmp_path / "nowhere/a"),
    ):
        pass


def test_two_that_write_to_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with whole_file(path) as file:
        file.write(b"first")
        file.flush()
        with pytest.raises(ArchiveError, match="another archive is being written"), whole_file(path):
            pass
    assert path.read_bytes() == b"first"


def test_what_a_killed_one_left_is_removed_and_never_written_to(tmp_path: Path) -> None:
    """It was killed between giving the file its name and taking the other one away; then a user moved the file."""
    partial, moved = tmp_path / "a.partial", tmp_path / "moved"
    partial.write_bytes(b"whole")
    moved.hardlink_to(partial)
    with whole_file(tmp_path / "a") as file:
        file.write(b"new")
    assert (moved.read_bytes(), (tmp_path / "a").read_bytes()) == (b"whole", b"new")
    assert left(tmp_path) == ["a", "moved"]


def test_a_file_that_another_one_ended_meanwhile_is_not_taken_for_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "a", fcntl.flock
    opened: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        # Another one ends between our opening its file and our lock on it.
        if not opened:
            opened.append(descriptor)
            os.write(descriptor, b"another's")
            (tmp_path / "a.partial").rename(tmp_path / "other")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with whole_file(path) as file:
        file.write(b"ours")
    assert (tmp_path / "other").read_bytes() == b"another's"
    assert path.read_bytes() == b"ours"
