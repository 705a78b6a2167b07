"""
`setup.sh` and what surrounds it: proxies, umask, shells, locales, paths, passwords, a second checkout.

Needs no server and no engine: where a program would do something to the machine, another one of its name notes what it was told.
"""

import ast
import hashlib
import http.server
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading

from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Final

import pytest
import yaml

from shell import ROOT, copy_of_the_checkout, environment, put_on_path, run_bash

ODD_PATH: Final = "a b'c\"%d$e&f|g#h[i]*é=,"
SETTLED: Final = "settle; MODE=native; make_run_dir; make_folders; "
# What render_all wants to know from an installation.
INSTALLED: Final = (
    "JAVA=/java POSTGRES_BIN=/postgres; mkdir -p $KAFKA_HOME $VENV; touch $KAFKA_HOME/stamp $VENV/stamp; render_all; "
)


# ---------------------------------------------------------------- proxies


class Service(http.server.ThreadingHTTPServer):
    """A service that is ready, or a proxy; it records its requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.paths: list[str] = []


class Asked(http.server.BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="service")
def a_service() -> Iterator[Service]:
    yield from serving()


@pytest.fixture(name="proxy")
def a_proxy() -> Iterator[Service]:
    yield from serving()


def serving() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server: Service) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def through(proxy: Service) -> dict[str, str]:
    return {name: address(proxy) for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")}


@pytest.mark.parametrize("question", ["native.health gateway={}/ready", "fleet.jobs.healthcheck {}/ready"])
def test_a_part_is_asked_without_a_proxy(question: str, service: Service, proxy: Service) -> None:
    command = [sys.executable, "-m", *question.format(address(service)).split()]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(**through(proxy)), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done
    assert service.paths == ["/ready"]
    assert proxy.paths == []


def test_setup_asks_the_fleet_without_a_proxy_and_without_somebodys_curlrc(
    service: Service, proxy: Service, tmp_path: Path
) -> None:
    (tmp_path / ".curlrc").write_text(f"proxy = {address(proxy)}\n")
    env = environment(**through(proxy), GATEWAY_PORT=str(service.server_port), PROMETHEUS_PORT=str(service.server_port))

    done = run_bash(
        "settle; say_replication || true; say_unseen; post_event region-a '{}' || true",
        env=env | {"HOME": str(tmp_path)},
    )

    assert done.returncode == 0, done.stderr
    assert [path.partition("?")[0] for path in service.paths] == ["/api/replication", "/api/v1/query"]
    assert proxy.paths == []


HTTP_CLIENTS: Final = {
    f"{library}.{name}"
    for library, names in {
        "httpx": ("AsyncClient", "Client", "AsyncHTTPTransport", "HTTPTransport", "get", "post"),
        "aiohttp": ("ClientSession",),
        "urllib.request": ("urlopen",),
    }.items()
    for name in names
}


def test_no_part_asks_another_one_in_a_way_that_a_proxy_could_be_in() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in listed.stdout.decode().splitlines() if not re.search(r"\btest", name)]
    # Registries of images are outside.
    names.remove("supply/registry.py")
    calls = [
        (name, call)
        for name in names
        if name.endswith(".py")
        for call in ast.walk(ast.parse((ROOT / name).read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in HTTP_CLIENTS
    ]
    curls = [
        f"{name}: {line}"
        for name in names
        if name.endswith(".sh")
        for line in re.findall(r".*(?:\$\(|^ *)curl --.*", (ROOT / name).read_text(), re.MULTILINE)
    ]

    assert len(calls) >= 3
    assert [f"{name}: {ast.unparse(call)}" for name, call in calls if "trust_env=False" not in ast.unparse(call)] == []
    assert [line for line in curls if "--disable --noproxy" not in line] == []


def test_the_fleet_itself_is_never_behind_a_proxy_and_what_was_said_before_stays() -> None:
    script = 'settle; go_direct 192.0.2.7; printf "%s\\n" "$no_proxy" "$NO_PROXY"'

    lower, upper = run_bash(script, env=environment(no_proxy=".corp")).stdout.split()
    everything = run_bash(script, env=environment(no_proxy="*", NO_PROXY="*")).stdout.split()

    assert set(lower.split(",")) >= {".corp", "localhost", "127.0.0.1", "::1", "192.0.2.7"}
    assert set(upper.split(",")) >= {"localhost", "127.0.0.1", "::1", "192.0.2.7"}
    assert everything == ["*", "*"]


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({}, []),
        ({"http_proxy": "http://p:1", "HTTP_PROXY": "http://q:2"}, ["http_proxy=http://p:1"]),
        ({"HTTPS_PROXY": "http://u:p@p:1", "NO_PROXY": "a,b"}, ["https_proxy=http://u:p@p:1", "no_proxy=a,b"]),
        ({"ALL_PROXY": "http://p:1"}, ["http_proxy=http://p:1", "https_proxy=http://p:1"]),
    ],
)
def test_packages_are_got_through_the_proxy_also_by_root(
    given: dict[str, str], lines: list[str], tmp_path: Path
) -> None:
    (tmp_path / "native").mkdir()
    (tmp_path / "native/apt-install.sh").write_text('echo "$@" >"$SEEN"; cat >>"$SEEN"')
    script = 'mkdir -p "$1/logs"; RUN_DIR=$1 ROOT=$1; enabled_units() { :; }; sudo() { "$@"; }; may_sudo() { :; }; apt_install curl'

    done = run_bash(script, str(tmp_path), env=environment(**given, SEEN=str(tmp_path / "seen")))

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text().splitlines() == ["--proxies curl", *lines]


def test_maven_is_told_of_the_proxy_in_its_own_words() -> None:
    lines = "http_proxy=http://us%40er:p%3Ass@proxy.example:3128/\nhttps_proxy=proxy.example:8080\nno_proxy=localhost, .corp\n"
    command = ["bash", str(ROOT / "mirrormaker/java-proxies.sh")]

    told = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout.split()
    nothing = subprocess.run(command, input="http_proxy=\nno_proxy=a\n", capture_output=True, text=True, check=True)

    assert set(told) >= {
        "-Dhttp.proxyHost=proxy.example",
        "-Dhttp.proxyPort=3128",
        "-Dhttp.proxyUser=us@er",
        "-Dhttp.proxyPassword=p:ss",
        "-Dhttps.proxyHost=proxy.example",
        "-Dhttps.proxyPort=8080",
        "-Dhttp.nonProxyHosts=localhost|*.corp",
    }
    assert nothing.stdout == ""


# ---------------------------------------------------------------- shells, locales, paths


HOSTILE_SHELL: Final = """
set -o noclobber -o noglob -o allexport
shopt -s nocasematch nullglob failglob
grep() { echo 'not the real one'; }
cd() { builtin cd "$@" && echo "now in $PWD"; }
die() { echo 'not ours'; }
"""


@pytest.fixture(name="oddly_placed", scope="module")
def an_oddly_placed_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_checkout(tmp_path_factory.mktemp("oddly") / "one" / ODD_PATH)


@pytest.mark.parametrize(
    "surroundings",
    [
        {},
        {"CDPATH": ".:/tmp"},
        {"POSIXLY_CORRECT": "1"},
        {"GREP_OPTIONS": "--invert-match", "GREP_COLORS": "mt=1;31"},
        {"LC_ALL": "tr_TR.UTF-8"},
        {"LC_ALL": "de_DE.ISO-8859-1", "LANGUAGE": "de"},
        {"LC_ALL": "POSIX", "TZ": "Pacific/Apia"},
        {"PGHOST": "elsewhere", "PGSERVICE": "other", "PGSSLMODE": "verify-full", "PGTZ": "Asia/Tokyo"},
        {"PYTHONPATH": "/elsewhere", "PYTHONHOME": "/elsewhere", "PYTHONSAFEPATH": "1"},
        {"BASH_ENV": "hostile"},
        {"HOME": ""},
    ],
    ids=lambda names: "-".join(names) or "plain",
)
@pytest.mark.parametrize("where", ["by its path", "from its folder", "through a link"])
def test_setup_does_the_same_in_any_surroundings(
    surroundings: dict[str, str], where: str, oddly_placed: Path, tmp_path: Path
) -> None:
    (tmp_path / "hostile").write_text(HOSTILE_SHELL)
    (tmp_path / "link").symlink_to(oddly_placed / "setup.sh")
    env = environment(**surroundings)
    if "BASH_ENV" in env:
        env["BASH_ENV"] = str(tmp_path / "hostile")
    if not env["HOME"]:
        del env["HOME"]
    cwd, command = {
        "by its path": (oddly_placed.parent.parent, f"one/{ODD_PATH}/setup.sh"),
        "from its folder": (oddly_placed, "./setup.sh"),
        "through a link": (tmp_path, "./link"),
    }[where]

    done = subprocess.run(
        ["bash", command, "status"], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=60
    )

    # bash itself warns of a locale that is not installed, before it reads a script.
    said = [line for line in done.stderr.splitlines() if "warning: setlocale" not in line]
    assert (done.stdout, said) == ("native mode: not running (./setup.sh starts it)\n", [])
    assert done.returncode == 1


@pytest.fixture(name="rendered", scope="module")
def a_rendered_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render the configuration of a fleet in a checkout with an odd path, after umask 022, with odd passwords."""
    checkout = copy_of_the_checkout(tmp_path_factory.mktemp("rendered") / ODD_PATH)
    env = environment(GRAFANA_PASSWORD=" p@ss \"wo'rd$%= ", BIND_ADDRESS="127.0.0.1")
    done = run_bash(SETTLED + 'remember "$RUN_DIR/settings"; ' + INSTALLED, root=checkout, env=env)
    assert done.returncode == 0, done.stderr
    return checkout


def test_in_any_path_prometheus_finds_its_rules(rendered: Path) -> None:
    config = yaml.safe_load((rendered / ".run/etc/prometheus.yml").read_text())
    checked = subprocess.run(
        ["promtool", "check", "config", ".run/etc/prometheus.yml"],
        cwd=rendered,
        capture_output=True,
        text=True,
        check=False,
    )

    assert config["rule_files"] == ["../../prometheus/rules/*.yml"]
    assert checked.returncode == 0, checked.stderr
    assert f"{len(list(ROOT.glob('prometheus/rules/*.yml')))} rule files found" in checked.stdout


def test_in_any_path_nothing_that_reads_a_file_of_ours_meets_its_odd_characters(rendered: Path) -> None:
    supervisor = RawConfigParser()
    supervisor.read(rendered / ".run/etc/supervisord.conf")
    sockets = run_bash('printf "%s\\n" "$SOCKET_DIR"', root=rendered).stdout.strip()

    for name in ("redis.conf", "postgresql.conf", "supervisord.conf", "kafka-a.properties"):
        text = (rendered / ".run/etc" / name).read_text()
        assert ODD_PATH not in text, name
        assert f"{sockets}/postgres" in text or name != "postgresql.conf"
    assert re.fullmatch(r"/tmp/multi-region-logs-[\w-]+", sockets)
    assert supervisor["supervisord"]["umask"] == "077"


def test_a_folder_for_sockets_that_is_a_link_of_another_user_is_refused(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / ODD_PATH)
    (tmp_path / "elsewhere").mkdir()
    link = Path(run_bash('printf "%s" "$SOCKET_DIR"', root=checkout).stdout)
    link.symlink_to(tmp_path / "elsewhere")

    refused = run_bash("make_socket_dir", root=checkout)
    link.unlink()
    made = run_bash("make_socket_dir", root=checkout)
    made_mode = mode(link)
    link.rmdir()

    assert refused.returncode == 1
    assert "belongs to another user" in refused.stderr
    assert made.returncode == 0
    assert made_mode & 0o066 == 0


def test_in_any_path_redis_has_its_configuration_and_no_path_that_it_takes_for_a_pattern(
    rendered: Path, tmp_path: Path
) -> None:
    path = put_on_path(tmp_path, "redis-server", f'echo "$@" >{tmp_path}/seen; cat >>{tmp_path}/seen')

    subprocess.run(["bash", "native/run.sh", "redis"], cwd=rendered, env=environment() | {"PATH": path}, check=True)

    arguments, _, read_by_redis = (tmp_path / "seen").read_text().partition("\n")
    assert arguments == "-"
    assert read_by_redis == (rendered / ".run/etc/redis.conf").read_text()


def test_in_native_mode_a_path_with_a_colon_is_refused(tmp_path: Path) -> None:
    done = run_bash("settle; check_native", root=copy_of_the_checkout(tmp_path / "a:b"))

    assert done.returncode == 1
    assert "has a colon or a line break in it; move the checkout" in done.stderr


def test_what_is_remembered_is_what_was_said_to_the_last_character(rendered: Path) -> None:
    told = run_bash('recall "$RUN_DIR/settings"; printf "%s" "$GRAFANA_PASSWORD"', root=rendered, env=environment())
    run = (rendered / "native/run.sh").read_text()
    load = run[run.index("load() {") : run.index("# learn FILE")]
    given = subprocess.run(
        [
            "bash",
            "-c",
            load + 'load "$1"; printf "%s" "$GF_SECURITY_ADMIN_PASSWORD"',
            ".",
            rendered / ".run/etc/grafana.env",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout == given.stdout == " p@ss \"wo'rd$%= "


@pytest.mark.parametrize("name", ["GRAFANA_PASSWORD", "CONSUMER_GROUP"])
def test_a_line_break_in_a_value_is_refused(name: str, tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")

    done = run_bash(SETTLED + INSTALLED, root=checkout, env=environment(**{name: "a\nb"}))

    assert done.returncode == 1
    assert f"{name} holds a line break; give it a value of one line" in done.stderr


# ---------------------------------------------------------------- who may read


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_native_mode_makes_is_nobody_elses_business(rendered: Path) -> None:
    # PostgreSQL's own user passes through, where root starts the fleet, and sees nothing on the way.
    through = 0o711 if os.geteuid() == 0 else 0o700

    assert {path.name: mode(path) for path in (rendered / ".run/etc").iterdir() if mode(path) != 0o600} == {}
    assert [mode(rendered / ".run" / name) for name in (".", "data")] == [through] * 2
    assert [mode(rendered / ".run" / name) for name in ("etc", "logs", "pid")] == [0o700] * 3
    assert mode(rendered / ".run/settings") == 0o600


def test_what_an_earlier_release_left_open_is_closed(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    for name in ("data/kafka-a", "logs", "etc"):
        (checkout / ".run" / name).mkdir(parents=True, mode=0o755)

    assert run_bash(SETTLED + INSTALLED, root=checkout).returncode == 0
    assert {mode(checkout / ".run" / name) for name in ("data/kafka-a", "logs", "etc")} == {0o700}


def test_each_process_of_native_mode_makes_files_for_itself_alone(rendered: Path, tmp_path: Path) -> None:
    toxiproxy = tmp_path / "toxiproxy"
    put_on_path(tmp_path, "toxiproxy", f"umask >{tmp_path}/seen; env >>{tmp_path}/seen")
    env = (rendered / ".run/etc/run.env").read_text()
    (rendered / ".run/etc/run.env").write_text(
        re.sub(r"^TOXIPROXY=.*$", f"TOXIPROXY={toxiproxy}", env, flags=re.MULTILINE)
    )
    given = environment(JAVA_TOOL_OPTIONS="-Xmx1m", PGSSLMODE="require", PYTHONPATH="/elsewhere", LC_ALL="tr_TR.UTF-8")
    given |= {"GRAFANA_PASSWORD": "s3cret", "AWS_SECRET_ACCESS_KEY": "s3cret", "CONSUMER_GROUP": "x", "no_proxy": "a"}

    subprocess.run(
        ["bash", "native/run.sh", "toxiproxy"], cwd=rendered, env=given, check=True, preexec_fn=lambda: os.umask(0)
    )

    first, *seen = (tmp_path / "seen").read_text().splitlines()
    assert first == "0077"
    assert "LC_ALL=C.UTF-8" in seen
    assert {line.split("=")[0] for line in seen} - {"_", "PWD", "SHLVL", "OLDPWD"} == {
        *("PATH", "HOME", "LC_ALL", "no_proxy", "NO_PROXY")
    }


def test_setup_opens_to_containers_what_they_mount_and_nothing_else(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    (checkout / ".env").write_text("POSTGRES_PASSWORD=secret")
    for path in checkout.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)

    done = run_bash("open_mounts; open_mounts", root=checkout)

    assert done.stdout.count("can be read by the containers' users now") == 1
    for folder in ("prometheus", "grafana", "toxiproxy"):
        for path in [checkout / folder, *(checkout / folder).rglob("*")]:
            assert mode(path) & 0o055 == (0o055 if path.is_dir() else 0o044), path
    assert mode(checkout / ".env") == 0o600


# ---------------------------------------------------------------- the user that the parts run as

IS_ROOT: Final = os.geteuid() == 0


def test_the_parts_run_as_the_caller_or_as_a_user_made_for_them_and_never_as_root(tmp_path: Path) -> None:
    # A machine without that user, where one is made.
    path = put_on_path(tmp_path, "useradd", f'echo "$@" >{tmp_path}/made')
    id_ = f"""
        case "$*" in
          *multi-region-logs) [[ -e {tmp_path}/made ]] && echo 10001 ;;
          *) exec /usr/bin/id "$@" ;;
        esac
    """
    put_on_path(tmp_path, "id", id_)

    done = run_bash('settle; choose_user; echo "$RUN_AS"', env=environment() | {"PATH": path})

    assert done.returncode == 0, done.stderr
    if IS_ROOT:
        assert done.stdout.splitlines()[-1] == "multi-region-logs"
        assert "--system" in (tmp_path / "made").read_text()
        assert "--shell /usr/sbin/nologin" in (tmp_path / "made").read_text()
    else:
        assert (
            done.stdout.strip()
            == subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        )
        assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "to_root", "to_others"),
    [
        ("root", "the parts of the fleet do not run as root", "only root can start the parts as another user"),
        ("no-such-user", "there is no such user", "only root can start the parts as another user"),
    ],
)
def test_a_user_that_cannot_be_is_refused(name: str, to_root: str, to_others: str) -> None:
    done = run_bash("settle; choose_user", env=environment(FLEET_RUN_AS=name))

    assert done.returncode == 1
    assert (to_root if IS_ROOT else to_others) in done.stderr


@pytest.mark.parametrize(
    ("folder", "said"), [("there", ""), ("missing", "cannot write to APP_ARCHIVE_DIR"), (None, "")]
)
def test_a_folder_for_archives_that_the_parts_cannot_write_to_is_told_of(
    folder: str | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    archives = {} if folder is None else {"APP_ARCHIVE_DIR": str(tmp_path / folder)}

    done = run_bash("settle; RUN_AS=$(id -un); check_archive_folder", env=environment(**archives))

    assert done.returncode == 0
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)


# For a user of the parts whose rights are those of the caller; what the others may read is told by `can_read_code`.
SEATED: Final = (
    'settle; SEATS=$1/seats; RUN_AS=$(id -un); as_part() { "$@"; }; make_run_dir; echo kept >"$RUN_DIR/kept"; '
)


def test_where_the_parts_cannot_read_the_checkout_state_and_code_are_where_they_can(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / ODD_PATH)
    # It begins anew as itself; here that says only what it was given.
    (checkout / "setup.sh").write_text('echo "again: $* $POSTGRES_PASSWORD"\n')

    moved = run_bash(
        SEATED + 'exec 9>>"$RUN_DIR/lock"; move_state',
        str(tmp_path),
        root=checkout,
        env=environment(POSTGRES_PASSWORD="s3cret"),
    )
    [seat] = (tmp_path / "seats").iterdir()
    copied = run_bash("copy_code; copy_code; printf '%s' \"$SEAT\"", root=checkout)
    (checkout / "native/run.sh").write_text("changed")
    run_bash("copy_code", root=checkout)

    assert moved.stdout.splitlines()[-1] == "again: --native s3cret", moved.stderr
    assert (checkout / ".run").is_symlink()
    assert (checkout / ".run/kept").read_text() == "kept\n"
    assert (seat / "checkout").read_text() == f"{checkout}\n"
    assert (copied.returncode, copied.stdout) == (0, str(seat)), copied.stderr
    assert (seat / "native/run.sh").read_text() == "changed"
    assert mode(seat) == 0o755
    assert {mode(path) & 0o555 for path in (seat / "consumer").rglob("*.py")} == {0o444}


def test_a_program_where_the_parts_cannot_go_is_none_of_theirs() -> None:
    # Outside of the tests' folder, which other users cannot enter.
    with tempfile.TemporaryDirectory(dir="/tmp") as open_to_all:
        folder = Path(open_to_all)
        folder.chmod(0o755)
        (folder / "closed").mkdir(mode=0o755)
        # No script: its interpreter would not find it anyway.
        shutil.copy("/bin/echo", folder / "closed/program")
        (folder / "link").symlink_to(folder / "closed/program")
        opened = run_bash('RUN_AS=$1; as_part "$2" ran', "daemon", str(folder / "link"))
        (folder / "closed").chmod(0o700)
        closed = run_bash('RUN_AS=$1; as_part "$2" ran', "daemon", str(folder / "link"))

    assert opened.stdout == "ran\n", opened.stderr
    assert closed.stdout == ("" if IS_ROOT else "ran\n")


def test_a_part_is_found_a_python_that_it_may_run(tmp_path: Path) -> None:
    shim = tmp_path / "shim"
    path = put_on_path(shim, "python3.11", "exit 1")
    put_on_path(tmp_path / "real", "python3.11", "exit 0")

    done = run_bash("find_python", env=environment() | {"PATH": f"{shim}:{tmp_path}/real:{path}"})

    assert done.stdout.strip().endswith("real/python3.11") or done.stdout.strip().endswith(("python3.13", "python3.12"))


def test_secrets_are_made_once_and_the_fleets_alone(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    script = SETTLED + 'read_secrets; printf "%s\\n" "$SECRET_EXPORTER" "$HASH_REDIS_ADMIN"; role_passwords; env'

    first, second = (run_bash(script, root=checkout) for _ in range(2))
    files = {path.name: path.read_text() for path in (checkout / ".run/secrets").iterdir()}

    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[:3] == second.stdout.splitlines()[:3]
    assert first.stdout.splitlines()[0] == files["exporter"]
    assert hashlib.sha256(files["redis_admin"].encode()).hexdigest() == first.stdout.splitlines()[1]
    assert {mode(path) for path in (checkout / ".run/secrets").iterdir()} == {0o600}
    assert mode(checkout / ".run/secrets") == 0o700
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", text) for text in files.values())
    assert len(set(files.values())) == len(files)
    environment_of_programs = "\n".join(first.stdout.splitlines()[3:])
    assert not [name for name, text in files.items() if text in environment_of_programs]


def test_a_fleet_that_asks_for_keys_makes_two_and_keeps_them_and_another_makes_none(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    python = f"mkdir -p $VENV/bin; ln -sf {sys.executable} $VENV/bin/python; RUN_AS=$FLEET_USER; "
    script = SETTLED + python + "make_keys; key_line write; key_option read; native_key list"

    opened = run_bash(SETTLED + python + INSTALLED + "make_keys; key_line write; key_option read", root=checkout)
    assert (opened.returncode, opened.stdout) == (0, "")
    assert not (checkout / ".run/keys").exists()
    assert "GATEWAY_KEYS_FILE=\n" in (checkout / ".run/etc/gateway.env").read_text()

    first, second = (run_bash(script, root=checkout, env=environment(FLEET_SECURITY="on")) for _ in range(2))
    key = (checkout / ".run/secrets/key-write").read_text().strip()

    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.startswith(f'header = "Authorization: Bearer {key}"\n-H "Authorization: Bearer $(cat ')
    assert [line.split()[1:4] for line in first.stdout.splitlines()[-2:]] == [
        ["key-write", "default", "write"],
        ["key-read", "default", "read"],
    ]
    assert mode(checkout / ".run/secrets/key-write") == 0o600
    assert mode(checkout / ".run/keys/keys.json") & 0o007 == 0

    rendered = run_bash(SETTLED + INSTALLED, root=checkout, env=environment(FLEET_SECURITY="on"))
    read = (checkout / ".run/secrets/key-read").read_text().strip()
    assert rendered.returncode == 0, rendered.stderr
    assert f"FLEET_CONSOLE_KEY={read}\n" in (checkout / ".run/etc/grafana.env").read_text()
    assert f"CONSOLE_KEYS_FILE={checkout}/.run/keys/keys.json\n" in (checkout / ".run/etc/console.env").read_text()


@pytest.mark.parametrize(
    ("text", "file_mode", "more", "said"),
    [
        ("s3cret\n", 0o600, {}, "s3cret"),
        ("s3cret", 0o644, {}, "every user may read"),
        ("s3cret", 0o600, {"POSTGRES_PASSWORD": "x"}, "POSTGRES_PASSWORD is set, and POSTGRES_PASSWORD_FILE too"),
        ("a\nb", 0o600, {}, "must hold one line"),
        ("", 0o600, {}, "must hold one line"),
    ],
)
def test_the_passwords_of_people_can_be_files(
    text: str, file_mode: int, more: dict[str, str], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(text)
    file.chmod(file_mode)

    done = run_bash(
        'settle; printf "%s" "$POSTGRES_PASSWORD"', env=environment(POSTGRES_PASSWORD_FILE=str(file), **more)
    )

    assert said in (done.stdout if not done.returncode else done.stderr)
    assert done.returncode == (0 if said == "s3cret" else 1)


def test_no_program_that_setup_starts_in_native_mode_has_the_passwords_of_people(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    given = environment(POSTGRES_PASSWORD="s3cret", GRAFANA_PASSWORD="s3cret too")

    native = run_bash("settle; keep_passwords native; env", root=checkout, env=given)
    compose = run_bash("settle; keep_passwords compose; env", root=checkout, env=given)

    assert "s3cret" not in native.stdout
    assert "POSTGRES_PASSWORD=s3cret" in compose.stdout


# ---------------------------------------------------------------- line ends


def test_a_checkout_that_makes_windows_line_ends_has_those_of_linux(tmp_path: Path) -> None:
    command = [
        "git",
        "-c",
        "core.autocrlf=true",
        "-c",
        "core.eol=crlf",
        "checkout-index",
        "--all",
        f"--prefix={tmp_path}/",
    ]
    subprocess.run(command, cwd=ROOT, check=True)

    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in {".xz", ".png"}]
    assert len(files) > 300
    assert [path for path in files if b"\r\n" in path.read_bytes()] == []


# ---------------------------------------------------------------- addresses and passwords

EXPOSED: Final = {"BIND_ADDRESS": "0.0.0.0", "FLEET_SECURITY": "on"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"BIND_ADDRESS": "localhost"},
        {"BIND_ADDRESS": "127.0.0.2"},
        {"BIND_ADDRESS": "127.255.255.255"},
        {"BIND_ADDRESS": "[::1]"},
        {"FLEET_SECURITY": "on"},
        EXPOSED | {"POSTGRES_PASSWORD": "s3cret", "GRAFANA_PASSWORD": "other"},
    ],
)
def test_an_address_that_shows_nothing_to_others_with_a_default_password_is_agreed_to(given: dict[str, str]) -> None:
    assert run_bash("settle; check_exposure", env=environment(**given)).returncode == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"BIND_ADDRESS": "0.0.0.0"}, "set FLEET_SECURITY=on"),
        (
            {"BIND_ADDRESS": "192.0.2.7", "POSTGRES_PASSWORD": "s3cret", "GRAFANA_PASSWORD": "other"},
            "set FLEET_SECURITY=on",
        ),
        ({"FLEET_SECURITY": "off"}, "say open or on"),
        (EXPOSED, "Set POSTGRES_PASSWORD"),
        (EXPOSED | {"POSTGRES_PASSWORD": "s3cret"}, "Set GRAFANA_PASSWORD"),
        (EXPOSED | {"BIND_ADDRESS": "192.0.2.7", "GRAFANA_PASSWORD": "s3cret"}, "Set POSTGRES_PASSWORD"),
        (EXPOSED | {"BIND_ADDRESS": "[::]"}, "Set POSTGRES_PASSWORD"),
        ({"BIND_ADDRESS": "::1"}, "give an IPv4 address"),
        ({"BIND_ADDRESS": "fe80::1"}, "give an IPv4 address"),
        ({"BIND_ADDRESS": "127.example.org"}, "give an IPv4 address"),
        ({"BIND_ADDRESS": "127.0.0.1.example.org"}, "give an IPv4 address"),
        ({"BIND_ADDRESS": "127.0.0.256"}, "give an IPv4 address"),
        ({"BIND_ADDRESS": "127.1"}, "give an IPv4 address"),
        ({"POSTGRES_PASSWORD": "p@ss:w/rd%#?"}, "use letters, digits and . _ ~ - only"),
        ({"POSTGRES_PASSWORD": "with blank"}, "use letters, digits and . _ ~ - only"),
    ],
)
def test_what_would_is_refused_and_it_is_said_what_to_change(given: dict[str, str], sentence: str) -> None:
    done = run_bash("settle; check_exposure", env=environment(**given))

    assert done.returncode == 1
    assert sentence in done.stderr


@pytest.mark.parametrize(("given", "listens", "docker"), [("localhost", "localhost", "127.0.0.1"), ("127.0.0.2",) * 3])
def test_localhost_is_both_loopbacks_for_native_mode_and_a_number_for_docker(
    given: str, listens: str, docker: str, tmp_path: Path
) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")

    done = run_bash(
        SETTLED + INSTALLED + 'printf "%s" "$BIND_ADDRESS"', root=checkout, env=environment(BIND_ADDRESS=given)
    )

    assert (done.returncode, done.stdout) == (0, docker)
    assert f"GATEWAY_HOST={listens}\n" in (checkout / ".run/etc/gateway.env").read_text()


def test_only_the_gateway_listens_where_bind_address_says(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    passwords = {"POSTGRES_PASSWORD": "s3cret", "GRAFANA_PASSWORD": "s3cret"}
    given = environment(BIND_ADDRESS="192.0.2.7", FLEET_SECURITY="on", **passwords)

    assert run_bash(SETTLED + INSTALLED, root=checkout, env=given).returncode == 0

    named = {
        path.name: re.findall(r"^\S*192\.0\.2\.7\S*", path.read_text(), re.MULTILINE)
        for path in (checkout / ".run/etc").iterdir()
    }
    assert {name: lines for name, lines in named.items() if lines} == {
        "gateway.env": ["GATEWAY_HOST=192.0.2.7"],
        "run.env": ["BIND_ADDRESS=192.0.2.7"],
    }
    assert "192.0.2.7:8080" in (checkout / ".run/etc/prometheus.yml").read_text()


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ({}, "8180 8182 8183"),
        ({"GATEWAY_PORT": "9000", "CONSUMER_A_PORT": "9002"}, "9100 9102 8183"),
        ({"GATEWAY_PORT": "9000", "GATEWAY_INTERNAL_PORT": "9500", "PRODUCER_B_INTERNAL_PORT": "1"}, "9500 8182 1"),
        ({"GATEWAY_PORT": "none"}, "8180 8182 8183"),
    ],
)
def test_an_internal_port_moves_along_with_the_port_of_its_service(given: dict[str, str], ports: str) -> None:
    show = 'settle; settle; echo "$GATEWAY_INTERNAL_PORT $CONSUMER_A_INTERNAL_PORT $PRODUCER_B_INTERNAL_PORT"'

    assert run_bash(show, env=environment(**given)).stdout.strip() == ports


def test_native_mode_refuses_an_address_that_it_cannot_listen_on() -> None:
    done = run_bash("settle; check_native", env=environment(BIND_ADDRESS="[::1]"))

    assert done.returncode == 1
    assert "native mode listens on IPv4 addresses only" in done.stderr


def test_what_users_are_told_to_open_is_where_the_fleet_listens() -> None:
    """`localhost` is ::1 first on many machines, and some clients try no other."""
    files = [ROOT / "README.md", ROOT / "setup.sh", *(ROOT / "native").glob("*.sh"), *(ROOT / "docs").rglob("*.md")]

    assert [path for path in files if re.search(r"(://|@)localhost[:/]", path.read_text())] == []


class Grafana:
    """The data folder of a Grafana, and a program that notes which password it was told."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self._told = folder / "told"
        self._path = put_on_path(folder / "bin", "grafana", f'echo "$@" >>{self._told}; cat >>{self._told}')

    def start(self, password: str, **variables: str) -> list[str]:
        """Do what comes before a start, and the start; return what the program received."""
        self._told.unlink(missing_ok=True)
        more = {"GF_PATHS_DATA": str(self.data), "GF_PATHS_HOME": "/home", "GF_SECURITY_ADMIN_PASSWORD": password}
        script = ROOT / "grafana/set-password.sh"
        subprocess.run(["sh", script], env=environment() | more | variables | {"PATH": self._path}, check=True)
        (self.data / "grafana.db").write_text("a database")
        return self._told.read_text().splitlines() if self._told.exists() else []


@pytest.mark.parametrize("password", ["other", " p@ss \"wo'rd$%= "])
def test_grafanas_password_is_set_when_it_was_changed_and_only_then(password: str, tmp_path: Path) -> None:
    grafana = Grafana(tmp_path)

    assert grafana.start("logs") == []
    assert grafana.start("logs") == []
    assert grafana.start(password) == [
        "cli --homepath /home admin reset-admin-password --password-from-stdin",
        password,
    ]
    assert grafana.start(password) == []
    assert grafana.start("logs")[1:] == ["logs"]
    assert not any(password in path.read_text() for path in grafana.data.iterdir())


@pytest.mark.parametrize("is_old", [False, True], ids=["new", "of an earlier release"])
def test_a_new_grafana_encrypts_by_a_key_of_its_own(tmp_path: Path, *, is_old: bool) -> None:
    grafana = Grafana(tmp_path)
    key = tmp_path / "key"
    key.write_text("of the fleet\n")
    if is_old:
        (grafana.data / "grafana.db").write_text("a database")

    for _ in range(2):
        grafana.start("logs", FLEET_SECRET_KEY_FILE=str(key))

    # By this one, which all Grafanas have, an old database is encrypted.
    assert (grafana.data / "secret-key").read_text().strip() == ("SW2YcwTIb9zpOOhoPsMm" if is_old else "of the fleet")
    assert (grafana.data / "own-key").exists() is not is_old


def test_a_grafana_of_an_earlier_release_gets_the_password_that_is_asked_for_and_no_default(tmp_path: Path) -> None:
    grafana = Grafana(tmp_path)
    (grafana.data / "grafana.db").write_text("a database")

    assert grafana.start("logs") == []
    (grafana.data / "admin-password.sha256").unlink()
    assert grafana.start("other")[1:] == ["other"]


@pytest.mark.parametrize(
    ("logged", "times"), [("the tables of an earlier release are handed over to their owner", 1), ("schema", 0)]
)
def test_compose_mode_says_that_a_database_of_an_earlier_release_was_moved_over(
    logged: str, times: int, tmp_path: Path
) -> None:
    path = put_on_path(tmp_path, "docker", f'[[ $2 != logs ]] || echo "{logged}"')

    done = run_bash(
        "settle; claim_project() { :; }; open_mounts() { :; }; heal_links() { :; }; compose_up",
        env=environment() | {"PATH": path},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("an earlier release's database") == times


# ---------------------------------------------------------------- a second checkout


DOCKER: Final = """
case "$1 $2" in
  'ps --all') cat "$STATE/containers" ;;
  'volume inspect') cat "$STATE/claim" ;;
  'volume ls') cat "$STATE/volumes" ;;
  'volume create') echo "${4#*=}" >"$STATE/claim" ;;
  'volume rm') : >"$STATE/claim" ;;
  'compose down') echo "$COMPOSE_PROJECT_NAME: $*" >>"$STATE/done" ;;
esac
"""


class Machine:
    """Two checkouts, and an engine that keeps what they do to their project."""

    def __init__(self, folder: Path) -> None:
        self.a, self.b = (copy_of_the_checkout(folder / name) for name in "ab")
        self._state = folder / "state"
        self._state.mkdir()
        self._path = put_on_path(folder / "bin", "docker", DOCKER)
        for name in ("containers", "claim", "volumes", "done"):
            self.has(name)

    def has(self, what: str, *lines: object) -> None:
        """Let the engine answer that."""
        (self._state / what).write_text("".join(f"{line}\n" for line in lines))

    def run(self, checkout: Path, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script in one of them."""
        return run_bash(f"settle; make_run_dir; {script}", root=checkout, env=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """Where that engine is found."""
        return environment(STATE=str(self._state)) | {"PATH": self._path}

    @property
    def taken_down(self) -> str:
        """What Compose was told to take down."""
        return (self._state / "done").read_text().strip()


@pytest.fixture(name="machine")
def a_machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("told_by", ["containers", "claim"])
@pytest.mark.parametrize("verb", ["refuse_other_checkout", "compose_down", "compose_down -v"])
def test_a_fleet_of_another_checkout_is_left_alone_and_it_is_said_whose_it_is(
    machine: Machine, told_by: str, verb: str
) -> None:
    machine.has(told_by, machine.a)
    machine.has("volumes", "multi-region-logs_postgres")

    done = machine.run(machine.b, verb)

    assert done.returncode == 1
    assert f"that of another checkout, {machine.a}." in done.stderr
    assert f"COMPOSE_PROJECT_NAME=multi-region-logs-2 into {machine.b}/.env" in done.stderr
    assert not machine.taken_down


def test_who_claimed_a_project_may_do_all_and_gives_it_up_with_its_data(machine: Machine) -> None:
    machine.run(machine.a, "claim_project")
    machine.has("containers", machine.a)
    assert machine.run(machine.a, "refuse_other_checkout").returncode == 0
    assert machine.run(machine.a, "compose_down").returncode == 0

    machine.has("containers")
    machine.has("volumes", "multi-region-logs_postgres")
    assert machine.run(machine.b, "refuse_other_checkout").returncode == 1

    assert machine.run(machine.a, "compose_down -v").returncode == 0
    machine.has("volumes")
    assert machine.run(machine.b, "refuse_other_checkout").returncode == 0


def test_a_fleet_from_before_there_were_claims_stays_its_checkouts(machine: Machine) -> None:
    machine.has("volumes", "multi-region-logs_postgres")
    (machine.a / ".run").mkdir()
    (machine.a / ".run/settings").write_text("")

    assert machine.run(machine.a, "refuse_other_checkout").returncode == 0
    unknown = machine.run(machine.b, "refuse_other_checkout")

    assert unknown.returncode == 1
    assert "no label says of which checkout" in unknown.stderr


def test_a_claim_on_data_that_is_gone_holds_nobody_up(machine: Machine) -> None:
    machine.has("claim", machine.a)

    assert machine.run(machine.b, "refuse_other_checkout").returncode == 0


def test_a_project_that_an_earlier_release_left_to_compose_is_found_again(machine: Machine) -> None:
    (machine.a / ".run").mkdir()
    (machine.a / ".run/settings").write_text("POSTGRES_PASSWORD=logs\n")
    (machine.a / ".run/mode").write_text("compose\n")
    (machine.a / ".env").write_text("COMPOSE_PROJECT_NAME=mine # since ever\n")

    done = subprocess.run(
        [machine.a / "setup.sh", "down"], env=machine.environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert machine.taken_down == "mine: compose down"


@pytest.mark.parametrize("before", [None, "native"])
def test_a_fleet_that_compose_has_started_by_itself_is_known_to_be_one(machine: Machine, before: str | None) -> None:
    machine.has("containers", machine.a)
    if before is not None:
        (machine.a / ".run").mkdir()
        (machine.a / ".run/mode.last").write_text(f"{before}\n")

    for checkout in (machine.a, machine.b):
        done = subprocess.run(
            [checkout / "setup.sh", "down"], env=machine.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    # That of the other checkout is none of b's business.
    assert machine.taken_down == "multi-region-logs: compose down"


@pytest.mark.parametrize(
    ("faults", "first", "said"),
    [
        ("off", ("down",), "compose down"),
        ("off", ("down", "-v"), "compose down -v"),
        # Its data goes by itself, and the ordinary one's stays until it is asked for once more.
        ("on", ("down",), "compose down"),
        ("on", ("down", "-v"), "compose down"),
    ],
)
def test_after_down_another_one_removes_the_data_of_the_mode_that_was(
    machine: Machine, faults: str, first: tuple[str, ...], said: str
) -> None:
    (machine.a / ".run").mkdir()
    (machine.a / ".run/settings").write_text(f"FLEET_FAULTS={faults}\nCOMPOSE_PROJECT_NAME=mine\n")
    (machine.a / ".run/mode").write_text("compose\n")

    for words in (first, ("down", "-v")):
        done = subprocess.run(
            [machine.a / "setup.sh", *words], env=machine.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    assert machine.taken_down.splitlines() == [f"mine: {said}", "mine: compose down -v"]


def test_a_checkout_that_is_gone_or_was_moved_claims_nothing(machine: Machine) -> None:
    machine.has("containers", machine.a.parent / "moved")

    assert machine.run(machine.b, "refuse_other_checkout").returncode == 0
