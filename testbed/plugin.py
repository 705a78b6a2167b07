"""
How all tests are run and reported.

* Unit tests of the services run on simulated time. Sleeps and timeouts end at once, and exactly at their simulated moment.
* A failure is kept with the logs of that moment. A test that then passes is flaky: it is reported and fails the run.
* SIGTERM ends the tests as Ctrl-C does, so the fixtures end the processes that they started.
* Objects that exist after collection live until the end, so the garbage collector does not visit them again.
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

# Tests of these folders wait for no socket, thread or process, unless a test has the marker.
_SIMULATED = ("gateway/", "producer/", "consumer/", "console/", "shared/tests/test_connections.py")
# Number of new objects before a collection.
_YOUNG_OBJECTS = 10_000


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Treat SIGTERM as Ctrl-C, which tears fixtures down, and stop a worker's requests to its controller."""
    signal.signal(signal.SIGTERM, _interrupt)
    counts = getattr(config, "failures_db", None)
    if hasattr(config, "workerinput") and counts is not None:
        # Two requests to the controller for each test cost more than most tests. They only serve to rerun a test whose
        # process has crashed, and such a test fails the run anyway.
        counts.sock.close()
        vars(config)["failures_db"] = StatusDB()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give the services' unit tests an event loop on simulated time."""
    if item.nodeid.startswith(_SIMULATED) and item.get_closest_marker("real_time") is None:
        return {"simulated": partial(looptime.new_event_loop, _enabled=True)}
    return {"real": asyncio.new_event_loop}


def pytest_collection_finish() -> None:
    """Exempt the objects that stay from collection: each full one would visit a quarter of a million of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the logs when a test fails, before fixtures remove them."""
    report = yield
    if report.failed:
        place = reports.keep(
            report, fleet=any(item.get_closest_marker(name) is not None for name in ("fleet", "chaos"))
        )
        report.sections.append(("kept", str(place)))
    return report


def pytest_runtest_logreport(report: Any) -> None:
    """Note each test that failed at first and passed when it was run again. Others are in pytest's summary."""
    if report.outcome == "rerun":
        _failed_once.add(report.nodeid)
    elif report.when == "call" and report.passed and report.nodeid in _failed_once:
        _flaky.append(report.nodeid)


_failed_once: set[str] = set()
_flaky: list[str] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the flaky tests."""
    if hasattr(config, "workerinput"):
        return  # the controller gets the reports of all workers
    for nodeid in _flaky:
        terminalreporter.write_line(f"FLAKY {nodeid}", red=True)
        reports.note_flaky(nodeid)
