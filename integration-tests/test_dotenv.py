"""`.env`: `setup.sh` reads it as Docker Compose does, or says which line it cannot read. Needs no server."""

from pathlib import Path
from typing import Final

import pytest

from shell import environment, run_bash

# What Compose makes of a value, tried on Compose's own reader.
READ: Final = {
    "plain": ("8090", "8090"),
    "comment": ("8090   # mine", "8090"),
    "comment without a blank is none": ("80#90", "80#90"),
    "tab is no blank": ("80\t#90", "80\t#90"),
    "number sign first": ("#90", "#90"),
    "blanks around": ("   8090  \t", "8090"),
    "windows": ("8090\r", "8090"),
    "windows, quoted": ('"8090"\r', "8090"),
    "empty": ("", ""),
    "empty quotes": ('""', ""),
    "double quotes": ('"a # b"  # c', "a # b"),
    "single quotes": ("'a # $b \\n'", "a # $b \\n"),
    "quote in quotes": ('"a\\"b"', 'a"b'),
    "single quote in quotes": ("'it\\'s'", "it's"),
    "backslash": ('"a\\\\b"', "a\\b"),
    "backslash of nothing": ('"a\\yb"', "a\\yb"),
    "plain backslash": ("a\\nb", "a\\nb"),
    "tab": ('"a\\tb"', "a\tb"),
    "dollar": ('"a\\$OUTSIDE"', "a$OUTSIDE"),
    "two dollars": ("a$$OUTSIDE", "a$OUTSIDE"),
    "dollar of nothing": ("pa$5", "pa$5"),
    "equals signs": ("a=b==", "a=b=="),
    "quote inside": ("it's", "it's"),
    "variable": ("<$OUTSIDE>", "<from outside>"),
    "variable in braces": ("<${OUTSIDE}>", "<from outside>"),
    "earlier line": ("${EARLIER}2", "12"),
    "unknown": ("<${UNKNOWN}>", "<>"),
    "else": ("${UNKNOWN:-8090}", "8090"),
    "else, known": ("${EARLIER:-8090}", "1"),
    "else, empty": ("${BLANK:-8090}${BLANK-8091}", "8090"),
    "else within else": ("${UNKNOWN:-${EARLIER}}", "1"),
    "then": ("${EARLIER:+yes}${UNKNOWN:+no}${BLANK+set}", "yesset"),
    "needed and there": ("${EARLIER:?must be set}", "1"),
    "not ascii": ("größe", "größe"),
}
REFUSED: Final = {
    "no end of quotes": ('KEY="8090', "does not end with it on the same line"),
    "several lines": ('KEY="a\nb"', "does not end with it on the same line"),
    "after the quotes": ('KEY="a"b', "after the closing"),
    "line break": ('KEY="a\\nb"', "control character"),
    "blank in name": ("MY KEY=1", "is no name of a variable"),
    "no name": ("=1", "is no name of a variable"),
    "odd name": ("A%B=1", "is no name of a variable"),
    "no value and no name": ("what is this?", "is no NAME=VALUE"),
    "braces": ("KEY=${A", "braces do not match"),
    "odd variable": ("KEY=${1}", "write $$ for a dollar"),
    "needed": ("KEY=${UNKNOWN:?say where}", "UNKNOWN is needed: say where"),
}


def read(folder: Path, text: str, *names: str, **env: str) -> list[str]:
    file = folder / ".env"
    file.write_bytes(text.encode())
    script = 'read_dotenv "$1"; shift; for name; do printf "%s\\0" "${!name-unset}"; done'
    done = run_bash(script, str(file), *names, env=environment(OUTSIDE="from outside", **env))
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("case", READ)
def test_a_value_is_read_as_compose_reads_it(case: str, tmp_path: Path) -> None:
    written, value = READ[case]

    assert read(tmp_path, f"EARLIER=1\nBLANK=\nAPP_KEY={written}\nAPP_LAST=1\n", "APP_KEY", "APP_LAST") == [value, "1"]


@pytest.mark.parametrize(
    "line",
    [
        *("export APP_KEY=8090", "  APP_KEY = 8090", "APP_KEY: 8090", "\ufeffAPP_KEY=8090", "APP_KEY=1\nAPP_KEY=8090"),
    ],
)
def test_a_name_is_read_as_compose_reads_it(line: str, tmp_path: Path) -> None:
    assert read(tmp_path, line, "APP_KEY") == ["8090"]


def test_what_the_environment_has_wins_also_where_it_is_empty(tmp_path: Path) -> None:
    written = "APP_A=file\nAPP_B=file\nAPP_C=$APP_A"

    assert read(tmp_path, written, "APP_A", "APP_B", "APP_C", APP_A="outside", APP_B="") == ["outside", "", "outside"]


@pytest.mark.parametrize("name", ["UID", "SECONDS", "PATH", "IFS", "ROOT"])
def test_what_the_shell_holds_by_that_name_stays(name: str, tmp_path: Path) -> None:
    [after] = read(tmp_path, f"{name}=77777", name)

    assert after != "77777"


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_line(case: str, tmp_path: Path) -> None:
    written, sentence = REFUSED[case]
    file = tmp_path / ".env"
    file.write_text(f"# mine\n\n{written}\n")

    done = run_bash('read_dotenv "$1"', str(file))

    assert done.returncode == 1
    assert f"{file}, line 3: " in done.stderr
    assert sentence.lower() in done.stderr.lower()


def test_other_files_can_be_named_as_for_compose_and_the_last_one_wins(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("APP_A=1\nAPP_B=1\n")
    (tmp_path / "two").write_text("APP_B=2\nAPP_C=$APP_A")

    names = [f"APP_{letter}" for letter in "ABCD"]

    assert read(tmp_path, "APP_A=0\nAPP_D=0", *names, COMPOSE_ENV_FILES=f"{tmp_path}/one,{tmp_path}/two") == [
        *("1", "2", "1", "unset")
    ]
    assert read(tmp_path, "APP_A=0", "APP_A", COMPOSE_DISABLE_ENV_FILE="1") == ["unset"]


@pytest.mark.parametrize(
    ("name", "sentence"), [("gone", "there is no such file"), (".", "is a folder; it should be a file")]
)
def test_what_is_no_file_is_refused(name: str, sentence: str, tmp_path: Path) -> None:
    done = run_bash('read_dotenv "$1"', "", env=environment(COMPOSE_ENV_FILES=str(tmp_path / name)))

    assert done.returncode == 1
    assert sentence in done.stderr


def test_nothing_in_it_is_evaluated(tmp_path: Path) -> None:
    assert read(tmp_path, "APP_KEY=`id` $(id) ; id", "APP_KEY") == ["`id` $(id) ; id"]


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PGHOST", "JAVA_TOOL_OPTIONS", "CDPATH", "TMOUT", "GIT_DIR", "HELPER"])
def test_what_is_no_setting_reaches_no_program_and_can_be_used_in_other_lines(name: str, tmp_path: Path) -> None:
    assert read(tmp_path, f"{name}=77\nAPP_KEY=${name}", name, "APP_KEY") == ["unset", "77"]


@pytest.mark.parametrize(
    ("mode", "line", "warns"),
    [
        (0o644, "POSTGRES_PASSWORD=other", True),
        (0o600, "POSTGRES_PASSWORD=other", False),
        (0o644, "LOG_LEVEL=info", False),
    ],
)
def test_a_password_that_others_may_read_is_told(mode: int, line: str, *, warns: bool, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(line)
    file.chmod(mode)

    done = run_bash('read_dotenv "$1"', str(file))

    assert done.returncode == 0
    assert ("chmod 600" in done.stderr) is warns
