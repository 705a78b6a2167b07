"""The audit log: what was appended is there and chained, whatever fails; what was changed is found, with its line."""

import asyncio
import errno
import json
import os
import stat

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from hypothesis import given
from hypothesis import strategies as st

from fleet.jobs.audit import run
from shared.access.audit_head import Head, read_head, signed
from shared.access.audit_sums import LINES, WINDOW_S, Sums
from shared.process import audit as audit_module
from shared.process.audit import Audit
from shared.process.audit_check import AuditError, check
from shared.process.audit_file import AuditFile, files_of, head_of, lines_of, path_of

SECRET: Final = b"p" * 40
BIG: Final = 1 << 20


class Counted:
    def __init__(self) -> None:
        self.lines = self.missing = 0
        self.states: list[bool] = []
        self.changed = asyncio.Event()

    def written(self, acts: int) -> None:
        self.lines += acts

    def lost(self, acts: int) -> None:
        self.missing += acts

    def writable(self, now: bool) -> None:  # noqa: FBT001
        self.states.append(now)
        self.changed.set()


class Disk(AuditFile):
    """A log whose disk can be full."""

    full = False

    def append(self, acts: Any) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(acts)


def a_log(folder: Path, max_bytes: int = BIG, max_files: int = 8) -> Disk:
    return Disk(folder, "gateway", SECRET, max_bytes=max_bytes, max_files=max_files)


def append(folder: Path, *acts: dict[str, object], max_bytes: int = BIG, max_files: int = 8) -> None:
    """Append as one service does, from its start to its end."""
    log = a_log(folder, max_bytes, max_files)
    log.append(acts)
    log.close()


def filled(folder: Path, number: int = 6) -> Path:
    append(folder, *({"act": "start", "number": place} for place in range(number)))
    return path_of(folder, "gateway", 1)


def problems(folder: Path) -> tuple[str, ...]:
    return check(folder, "gateway", SECRET).problems


def test_what_was_appended_is_there_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    path = filled(folder, 3)

    assert [json.loads(line)["number"] for line in lines_of(path)] == [0, 1, 2]
    assert [json.loads(line)["n"] for line in lines_of(path)] == [1, 2, 3]
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert check(folder, "gateway", SECRET).lines == 3
    assert problems(folder) == ()


CHANGES: Final[dict[str, tuple[Callable[[list[bytes]], list[bytes]], int]]] = {
    "a line that was changed": (lambda lines: [*lines[:2], lines[2].replace(b"start", b"begin"), *lines[3:]], 4),
    "a line that was removed": (lambda lines: [*lines[:2], *lines[3:]], 3),
    "two lines that were swapped": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], 3),
    "a line that was added": (lambda lines: [*lines[:2], b'{"prev":"x"}', *lines[2:]], 3),
    "a line that is none": (lambda lines: [*lines[:2], b"", *lines[2:]], 3),
    "a last line that was changed": (lambda lines: [*lines[:-1], lines[-1].replace(b"start", b"begin")], 7),
    "an end that was cut off": (lambda lines: lines[:4], 5),
    "all that was cut off": (lambda _: [], 1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("goes_on", [False, True], ids=["at rest", "and the service starts again"])
def test_a_check_names_the_line_where_the_log_was_changed(tmp_path: Path, change: str, *, goes_on: bool) -> None:
    path = filled(tmp_path)
    changed, line = CHANGES[change]
    path.write_bytes(b"".join(one + b"\n" for one in changed(lines_of(path))))
    if goes_on:
        append(tmp_path, {"act": "start"})

    found = problems(tmp_path)

    assert any(problem.startswith(f"gateway-000001.jsonl, line {line}: ") for problem in found), found


@pytest.mark.parametrize("head", [None, b"", b"[]", b"{}", b'{"mac": 3}', signed(Head(), b"another secret")])
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_head_that_is_gone_or_was_changed_is_found_for_good(
    tmp_path: Path, head: bytes | None, *, goes_on: bool
) -> None:
    filled(tmp_path)
    if head is None:
        head_of(tmp_path, "gateway").unlink()
    else:
        head_of(tmp_path, "gateway").write_bytes(head)
    if goes_on:
        append(tmp_path, {"act": "start"})

    assert problems(tmp_path) != ()


def test_a_file_that_is_gone_is_found_and_a_log_that_never_was_is_said(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="there is no audit log of gateway"):
        check(tmp_path, "gateway", SECRET)
    log = a_log(tmp_path, max_bytes=100)
    for number in range(5):
        log.append([{"act": "start", "number": number}])
    log.close()
    path_of(tmp_path, "gateway", 2).unlink()

    assert problems(tmp_path)[0] == "gateway-000002.jsonl: the file is gone"


@given(st.binary(max_size=200))
def test_a_head_is_read_or_refused_with_a_sentence(text: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        read_head(text, SECRET)
    assert read_head(signed(Head(1, "a", 2, 3, 4, "b"), SECRET), SECRET) == Head(1, "a", 2, 3, 4, "b")


def test_the_oldest_files_go_and_the_rest_is_whole(tmp_path: Path) -> None:
    log = a_log(tmp_path, max_bytes=1000, max_files=3)
    for number in range(80):
        log.append([{"act": "start", "number": number}])
        assert len(list(files_of(tmp_path, "gateway"))) <= 3
    log.close()

    assert problems(tmp_path) == ()
    assert min(number for number, _ in files_of(tmp_path, "gateway")) > 5
    append(tmp_path, {"act": "start"}, max_bytes=1000, max_files=3)
    assert problems(tmp_path) == ()


def test_an_end_between_the_lines_and_their_head_changes_nothing(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    head = head_of(tmp_path, "gateway").read_bytes()
    append(tmp_path, {"act": "read"})
    head_of(tmp_path, "gateway").write_bytes(head)
    with path_of(tmp_path, "gateway", 1).open("ab") as file:
        file.write(b'{"prev":"half a li')
    assert check(tmp_path, "gateway", SECRET).newer == 1

    append(tmp_path, {"act": "start"})

    assert problems(tmp_path) == ()
    assert [json.loads(line)["act"] for line in lines_of(path_of(tmp_path, "gateway", 1))][2:] == ["read", "start"]


def test_two_processes_do_not_write_the_same_log(tmp_path: Path) -> None:
    first, second = a_log(tmp_path), a_log(tmp_path)
    first.append([{"act": "start"}])
    with pytest.raises(OSError, match="another process"):
        second.append([{"act": "start"}])
    first.close()
    second.append([{"act": "start"}])
    second.close()

    assert problems(tmp_path) == ()


@pytest.mark.parametrize("fails_at", range(1, 8))
def test_a_disk_that_fills_up_within_a_write_leaves_no_half_line(
    tmp_path: Path, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = a_log(tmp_path, max_bytes=100)
    log.append([{"act": "start"}])
    log.append([{"act": "start"}])
    calls = 0

    def failing(of: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return of(*arguments)

        return call

    for name in ("fsync", "open"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    for number in range(4):
        act = [{"act": "read", "number": number}]
        try:
            log.append(act)
        except OSError:
            log.append(act)
    log.close()

    assert calls > fails_at
    assert problems(tmp_path) == ()
    lines = [line for _, path in sorted(files_of(tmp_path, "gateway")) for line in lines_of(path)]
    assert [json.loads(line).get("number") for line in lines] == [None, None, 0, 1, 2, 3]


@given(st.lists(st.tuples(st.sampled_from([*LINES, "start"]), st.integers(0, 300)), max_size=600))
def test_each_act_has_a_line_or_is_in_a_sum(acts: list[tuple[str, int]]) -> None:
    sums = Sums()
    sums.due(1000.0)
    lines = sum(sums.admits(act, str(subject)) for act, subject in acts)

    assert sums.due(1000.0 + WINDOW_S - 1) == []
    summed = sums.due(1000.0 + WINDOW_S)
    assert lines + sum(one.acts for one in summed) == len(acts)
    assert all(one.since == 1000.0 for one in summed)
    assert sums.due(1000.0 + 2 * WINDOW_S) == []


async def test_a_flood_is_a_few_lines_and_a_sum(tmp_path: Path) -> None:
    counts, log = Counted(), a_log(tmp_path)
    audit = Audit(log, counts, lambda: 1_800_000_000.0)
    for number in range(100_000):
        audit.note("key refused", "missing", path=f"/{number}")
    await audit.close()

    assert counts.lines == LINES["key refused"] + 1
    last = json.loads(lines_of(path_of(tmp_path, "gateway", 1))[-1])
    assert (last["act"], last["of"], last["subject"], last["acts"]) == ("sum", "key refused", "missing", 100_000 - 20)
    assert problems(tmp_path) == ()


async def test_a_full_disk_is_told_and_what_waits_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "MAX_WAITING", 10)
    monkeypatch.setattr(audit_module, "_AGAIN_S", 0.01)
    counts, log = Counted(), a_log(tmp_path)
    log.full = True
    audit = Audit(log, counts, lambda: 1_800_000_000.0)
    writing = asyncio.create_task(audit.run())
    for number in range(15):
        audit.note("start", number=number)
    await counts.changed.wait()
    counts.changed.clear()
    assert "No space left on device" in (audit.problem or "")
    assert (counts.missing, counts.states) == (5, [False])

    log.full = False
    await counts.changed.wait()
    writing.cancel()
    await asyncio.wait([writing])
    await audit.close()

    assert counts.states == [False, True]
    found = [json.loads(line) for line in lines_of(path_of(tmp_path, "gateway", 1))]
    assert [act.get("number") for act in found] == [*range(10), None]
    assert (found[-1]["act"], found[-1]["acts"]) == ("lost", 5)


async def test_a_service_that_ends_while_the_disk_is_full_does_not_wait(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    log.full = True
    audit = Audit(log, Counted(), lambda: 0.0)
    audit.note("stop")
    await audit.close()

    assert audit.problem is not None


def test_the_verb_says_which_log_is_whole_and_ends_with_an_error_else(tmp_path: Path) -> None:
    pepper = tmp_path / "pepper"
    pepper.write_bytes(SECRET + b"\n")
    path = filled(tmp_path / "audit", 3)
    arguments = ["--folder", str(tmp_path / "audit"), "--pepper-file", str(pepper), "gateway"]
    [(is_good, line)] = run(arguments)
    path.write_bytes(b"".join(one + b"\n" for one in lines_of(path)[:2]))
    found = list(run(arguments))

    assert is_good
    assert line.startswith("gateway: 3 lines, whole; the last one is ")
    assert [good for good, _ in found] == [False, False]
    assert found[0][1].startswith("gateway: gateway-000001.jsonl, line 3: ")
    with pytest.raises(AuditError, match="cannot be read"):
        list(run([*arguments[:3], str(tmp_path / "none"), "gateway"]))
