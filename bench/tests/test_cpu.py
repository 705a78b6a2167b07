import os
import subprocess
import sys

from bench.cpu import Meter, Process, family, parse_stat, peak_resident_mib, ticks


def test_a_name_with_parentheses_and_spaces_moves_no_field() -> None:
    stat = "12 (a (b) c) S 7 12 12 0 -1 4194304 100 200 0 0 30 4 5 6 20 0 1 0 100 1000 10 18446744073709551615"

    assert parse_stat(stat) == Process(parent=7, ticks=45)


def test_grandchildren_belong_to_the_family_and_strangers_do_not() -> None:
    processes = {1: Process(0, 1), 2: Process(1, 10), 3: Process(2, 100), 4: Process(0, 1000)}

    assert family(1, processes) == {1, 2, 3}
    assert ticks([1], processes) == 111


def test_who_descends_from_two_roots_is_counted_once() -> None:
    processes = {1: Process(0, 1), 2: Process(1, 10), 3: Process(2, 100)}

    assert ticks([1, 2], processes) == 111


def test_a_process_that_is_gone_has_used_nothing() -> None:
    assert ticks([5], {1: Process(0, 1)}) == 0


def test_what_a_child_used_counts_after_its_end() -> None:
    meter = Meter({"this": os.getpid()})

    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)

    assert meter.seconds()["this"] >= 0.25  # the kernel counts in ticks


def test_a_process_occupies_memory() -> None:
    assert 1 < peak_resident_mib(os.getpid()) < 100_000
