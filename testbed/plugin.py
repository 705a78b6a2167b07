"""
How all tests are run and reported.

* Unit tests of the services run on simulated time: what sleeps or times out does so at once, and exactly when it should.
* A failure is kept with the logs of that moment; a test that then passes is flaky, which is told and fails the run.
* SIGTERM ends the tests as Ctrl-C does: what they have started is taken down.
* What is there once all tests are collected stays until the end, so the garbage collector need not look at it again.
"""

import asyncio
import gc
import signal

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any

import looptime
import pytest

from pytest_rerunfailures import StatusDB

from testbed import report as reports

# Here nobody waits for a socket, a thread or a process, unless a test is marked so.
_SIMULATED = ("gateway/", "producer/", "consumer/", "shared/tests/test_connections.py")
# So many new ones before the garbage collector looks at them.
_YOUNG_OBJECTS = 10_000


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Take a request to end for a Ctrl-C, which takes fixtures down; keep what a worker counts in the worker."""
    signal.signal(signal.SIGTERM, _interrupt)
    counts = getattr(config, "failures_db", None)
    if hasattr(config, "workerinput") and counts is not None:
        # Two questions to the controller for each test cost more than most tests. They only serve to run a test again
        # whose process has crashed, and such a test fails the run as it is.
        counts.sock.close()
        vars(config)["failures_db"] = StatusDB()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Put simulated time under the services' unit tests."""
    if item.nodeid.startswith(_SIMULATED) and item.get_closest_marker("real_time") is None:
        return {"simulated": partial(looptime.new_event_loop, _enabled=True)}
    return {"real": asyncio.new_event_loop}


def pytest_collection_finish() -> None:
    """Set apart what stays: a quarter of a million objects, and each full collection would visit all of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what is there when a test fails, while it is there."""
    report = yield
    if report.failed:
        place = reports.keep(
            report, fleet=any(item.get_closest_marker(name) is not None for name in ("fleet", "chaos"))
        )
        report.sections.append(("kept", str(place)))
    return report


def pytest_runtest_logreport(report: Any) -> None:
    """Note each test that failed at first; those that fail again are no flakes and stand in the summary anyway."""
    if report.outcome == "rerun":
        _failed_once.add(report.nodeid)
    elif report.when == "call" and report.passed and report.nodeid in _failed_once:
        _flaky.append(report.nodeid)


_failed_once: set[str] = set()
_flaky: list[str] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the flaky ones."""
    if hasattr(config, "workerinput"):
        return  # whoever gave the work out hears of all of them
    for nodeid in _flaky:
        terminalreporter.write_line(f"FLAKY {nodeid}", red=True)
        reports.note_flaky(nodeid)
