"""`./setup.sh tail`: server-sent events become lines, and it goes on behind the last one."""

import json
import subprocess

from shell import run_bash

# The console answers twice; then the test is over.
CONSOLE = """
    console_url=http://127.0.0.1:8085
    asked=$(mktemp) answers=("$@")
    fleet_http() { echo "$@" >>"$asked"; printf '%b' "${answers[$(($(wc -l <"$asked") - 1))]}"; }
    sleep() { (($(wc -l <"$asked") < ${#answers[@]})) || { cat "$asked" >&2; rm "$asked"; exit 0; }; }
"""


def event(name: str, number: int, **data: object) -> str:
    return f"event: {name}\nid: t1.{number}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".replace(
        "\\", "\\\\"
    )


def log(number: int, message: str) -> str:
    names = {
        "eventId": "1",
        "timestamp": "2026-11-27T10:00:00Z",
        "serviceName": 'a "b"',
        "level": "WARN",
        "message": message,
    }
    return event("log", number, **names, attributes={"message": "no"})


def tail(arguments: str, *answers: str) -> subprocess.CompletedProcess[str]:
    return run_bash(f"{CONSOLE} follow_events {arguments}", *answers)


def test_events_are_lines_and_what_a_terminal_would_obey_is_shown() -> None:
    done = tail("", "retry: 1000\n\n" + log(1, 'x \x1b[1m \x9b \u202e "q" \\ ü') + log(2, "second") + "\nstatus: 200\n")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        '2026-11-27T10:00:00Z WARN  a "b" x \\u001b[1m ? ? "q" \\ ü',
        '2026-11-27T10:00:00Z WARN  a "b" second',
    ]


def test_it_goes_on_behind_the_last_whole_event() -> None:
    half = "event: log\nid: t1.9\ndata: {"
    first = log(1, "one") + event("at", 2, behindMs=0) + half + "\nstatus: 000\n"
    done = tail("-s checkout -l WARN -f -10m 'time out'", first, log(3, "two") + "\nstatus: 200\n")

    assert [line[-3:] for line in done.stdout.splitlines()] == ["one", "two"]
    wanted = "--data-urlencode service=checkout --data-urlencode level=WARN --data-urlencode text=time out"
    assert f"from=-10m {wanted}" in done.stderr
    assert f"from=t1.2 {wanted}" in done.stderr


def test_what_is_refused_is_told_and_ends_it() -> None:
    done = tail("-l LOUD", '{"title":"Bad Request","detail":"level=\'LOUD\' must be one of TRACE"}\nstatus: 400\n')

    assert done.returncode == 1
    assert "the console refused that: level='LOUD' must be one of TRACE" in done.stderr


def test_an_option_that_is_none_is_told() -> None:
    done = tail("-x")

    assert done.returncode == 1
    assert "tail takes -s SERVICE" in done.stderr
