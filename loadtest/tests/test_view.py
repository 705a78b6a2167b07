"""A terminal and a log show the same progress."""

import io

import pytest

from rich.console import Console

from loadtest.scenarios import Phase
from loadtest.tests.recordings import sample
from loadtest.view import LiveView, View, watching


def tell(view: View) -> None:
    view.phase(Phase.STEADY, 15)
    view.sample(sample(3))
    view.say("cut a-to-b: a-to-b is cut")
    view.phase(Phase.SPLIT, 20)
    view.sample(sample(14))


def test_a_log_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with watching("load test", plain=True) as view:
        tell(view)
    lines = capsys.readouterr().out.splitlines()

    assert [line[8:] for line in lines if "28 acknowledged" not in line and "6 acknowledged" not in line] == [
        "load test",
        "--- steady, 15 s",
        "cut a-to-b: a-to-b is cut",
        "--- split, 20 s",
    ]
    assert "lag a-to-b 9.0 s (9 records), b-to-a unknown" in lines[-1]
    assert "failed attempts 503 2" in lines[-1]


def test_a_terminal_gets_a_picture() -> None:
    written = io.StringIO()
    with LiveView("load test", Console(file=written, force_terminal=True, width=110, height=40)) as view:
        tell(view)
    picture = written.getvalue()

    for word in ("load test", "split", "region-a", "a-to-b", "unknown", "delayed 2", "503 2"):
        assert word in picture
