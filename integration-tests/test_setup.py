"""
`setup.sh` and what surrounds it: proxies, umask, shells, locales, paths, passwords, a second checkout.

Needs no server and no engine: where a program would do something to the machine, another one of its name notes what it was told.
"""

import ast
import http.server
import os
import re
import stat
import subprocess
import sys
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
    load = run[run.index("load() {") : run.index("# Pid and start time")]
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

    subprocess.run(
        ["bash", "native/run.sh", "toxiproxy"], cwd=rendered, env=given, check=True, preexec_fn=lambda: os.umask(0)
    )

    first, *seen = (tmp_path / "seen").read_text().splitlines()
    assert first == "0077"
    assert "LC_ALL=C.UTF-8" in seen
    assert not [line for line in seen if line.startswith(("JAVA_TOOL_OPTIONS", "PG", "PYTHON"))]


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

    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".xz"]
    assert len(files) > 300
    assert [path for path in files if b"\r\n" in path.read_bytes()] == []


# ---------------------------------------------------------------- addresses and passwords


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"BIND_ADDRESS": "localhost"},
        {"BIND_ADDRESS": "127.0.0.2"},
        {"BIND_ADDRESS": "[::1]"},
        {"BIND_ADDRESS": "0.0.0.0", "POSTGRES_PASSWORD": "s3cret", "GRAFANA_PASSWORD": "other"},
    ],
)
def test_an_address_that_shows_nothing_to_others_with_a_default_password_is_agreed_to(given: dict[str, str]) -> None:
    assert run_bash("settle; check_exposure", env=environment(**given)).returncode == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"BIND_ADDRESS": "0.0.0.0"}, "Set POSTGRES_PASSWORD"),
        ({"BIND_ADDRESS": "0.0.0.0", "POSTGRES_PASSWORD": "s3cret"}, "Set GRAFANA_PASSWORD"),
        ({"BIND_ADDRESS": "192.0.2.7", "GRAFANA_PASSWORD": "s3cret"}, "Set POSTGRES_PASSWORD"),
        ({"BIND_ADDRESS": "[::]"}, "Set POSTGRES_PASSWORD"),
        ({"BIND_ADDRESS": "::1"}, "give an IPv4 address"),
        ({"BIND_ADDRESS": "fe80::1"}, "give an IPv4 address"),
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

    def start(self, password: str) -> list[str]:
        """Do what comes before a start, and the start; return what the program received."""
        self._told.unlink(missing_ok=True)
        more = {"GF_PATHS_DATA": str(self.data), "GF_PATHS_HOME": "/home", "GF_SECURITY_ADMIN_PASSWORD": password}
        script = ROOT / "grafana/set-password.sh"
        subprocess.run(["sh", script], env=environment() | more | {"PATH": self._path}, check=True)
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


def test_a_grafana_of_an_earlier_release_gets_the_password_that_is_asked_for_and_no_default(tmp_path: Path) -> None:
    grafana = Grafana(tmp_path)
    (grafana.data / "grafana.db").write_text("a database")

    assert grafana.start("logs") == []
    (grafana.data / "admin-password.sha256").unlink()
    assert grafana.start("other")[1:] == ["other"]


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
