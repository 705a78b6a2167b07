"""Servers as processes of this machine: Kafka from its jars, the others from packages of the distribution."""

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from testbed.patience import Deadline, patience
from testbed.reaper import children_of, forget, watch_process
from testbed.report import watch_log
from testbed.server import (
    JVM_OPTIONS,
    POLL_S,
    POSTGRES_OPTIONS,
    STOP_TIMEOUT_S,
    Check,
    Server,
    ServerFailedError,
    ServersUnavailableError,
    check_kafka,
    check_postgres,
    check_redis,
    free_port,
    kafka_properties,
    started,
    wait_until_it_answers,
)

REPOSITORY: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Program:
    """
    How a server runs as a process.

    Attributes:
        name: Its name in messages.
        arguments: The command line.
        check: Raises while the server does not answer.
        stop_signal: The signal for an orderly shutdown.
        executable: The file to execute, if it is not the first of `arguments`.
        user: Account to run under. None means the caller's own.
    """

    name: str
    arguments: Sequence[str]
    check: Check
    stop_signal: signal.Signals = signal.SIGTERM
    executable: str | None = None
    user: str | None = None


class LocalServer(Server):
    """A server as a process of this machine, with its data in a directory of its own."""

    def __init__(self, address: str, program: Program, directory: Path) -> None:
        self.address = address
        self._program = program
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @override
    def start(self) -> None:
        assert self._process is None, f"{self._program.name} is running already"
        program = self._program
        watch_log(program.name, self._log_file)
        with self._log_file.open("ab") as log:
            process = self._process = subprocess.Popen(
                program.arguments,
                executable=program.executable,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C must not reach the server, since the tests still use it while they end.
                start_new_session=True,
                **_run_as(program.user),
            )
        watch_process(process.pid, self._directory)
        try:
            wait_until_it_answers(program.check, program.name, lambda: process.poll() is None, self._log_tail)
        except BaseException:
            self.kill()
            raise

    @override
    def stop(self) -> None:
        if self._process:
            self._process.send_signal(self._program.stop_signal)
            self._ended()

    @override
    def kill(self) -> None:
        if self._process:
            self._signal_all(signal.SIGKILL)
            self._ended()

    @override
    def suspend(self) -> None:
        self._signal_all(signal.SIGSTOP)
        # After the signal, a running thread may still answer once.
        deadline = Deadline(STOP_TIMEOUT_S)
        while not all(_stands_still(pid) for pid in (self.pid, *children_of(self.pid))):
            assert not deadline.passed, f"{self._program.name} goes on after SIGSTOP"
            time.sleep(POLL_S / 10)

    @override
    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    @override
    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Id of the server's first process, the parent of its other ones."""
        assert self._process, f"{self._program.name} is not running"
        return self._process.pid

    @property
    def _log_file(self) -> Path:
        return self._directory / "server.log"

    def _log_tail(self) -> str:
        return self._log_file.read_text(errors="replace")[-3000:]

    def _ended(self) -> None:
        assert self._process
        self._process.wait(patience(STOP_TIMEOUT_S))
        forget(self._process.pid)
        self._process = None

    def _signal_all(self, number: signal.Signals) -> None:
        # PostgreSQL's backends are children in their own sessions, so a signal to the process group would miss them.
        assert self._process, f"{self._program.name} is not running"
        for pid in (self._process.pid, *children_of(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _stands_still(pid: int) -> bool:
    """Return whether each thread of a process is stopped or gone."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):
            if stat.read_text(errors="replace").rpartition(")")[2].split()[0] not in "TtZX":
                return False
    return True


def _run_as(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}


def new_directory(name: str) -> Path:
    """Make a directory for a server's data."""
    return Path(tempfile.mkdtemp(prefix=f"test-{name}-"))


def _run(arguments: Sequence[str], *, timeout_s: float, **options: Any) -> None:
    done = subprocess.run(arguments, timeout=timeout_s, capture_output=True, check=False, **options)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise ServerFailedError(f"{arguments[0]} ended with {done.returncode}:\n{said}")


def start_local_kafka(jvm_options: Sequence[str] = JVM_OPTIONS) -> LocalServer:
    """Start a broker from jars, a cluster of its own."""
    clients, internal, controller = (f"127.0.0.1:{free_port()}" for _ in range(3))
    return start_local_broker(
        clients,
        lambda data: kafka_properties(clients, clients, internal, controller, data),
        new_cluster_id(),
        jvm_options,
    )


def start_local_broker(
    clients: str,
    properties: Callable[[str], Mapping[str, str]],
    cluster_id: str,
    jvm_options: Sequence[str] = JVM_OPTIONS,
) -> LocalServer:
    """
    Start one broker from jars.

    Args:
        clients: `host:port` under which clients reach it.
        properties: Returns its configuration for a data directory.
        cluster_id: Id of the cluster, the same for all its brokers.
        jvm_options: Options for its Java.
    """
    java, classpath = find_java(), f"{find_kafka_jars()}/*"
    directory = new_directory("kafka")
    configuration = directory / "server.properties"
    configuration.write_text("".join(f"{key}={value}\n" for key, value in properties(str(directory / "data")).items()))
    virtual_machine = [java, *jvm_options, "-Dlog4j2.level=WARN", "-cp", classpath]
    storage = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(configuration)]
    server = LocalServer(
        clients,
        Program(
            "Kafka", [*virtual_machine, "kafka.Kafka", str(configuration)], lambda: check_kafka(clients), signal.SIGTERM
        ),
        directory,
    )
    return started(server, lambda: _run([*virtual_machine, *storage], timeout_s=patience(60)))


def new_cluster_id() -> str:
    """Return an id for a Kafka cluster."""
    # Kafka's tool would read a leading dash as an option.
    return f"A{secrets.token_urlsafe(16)[1:]}"


def find_java() -> str:
    """Return the Java to run Kafka with."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        raise ServersUnavailableError("there is no Java: install a JRE 17 or later, like openjdk-17-jre-headless")
    return java


def find_kafka_jars() -> Path:
    """Return the folder of Kafka's jars. If it is the default one and empty, Maven fills it."""
    chosen = os.environ.get("KAFKA_LIBS")
    libs = Path(chosen) if chosen else REPOSITORY / ".run" / "kafka" / "libs"
    libs.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes, and the first one that gets here fills the folder.
    with (libs / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if any(libs.glob("kafka_2.13-*.jar")):
            return libs
        maven, pom = shutil.which("mvn"), REPOSITORY / "mirrormaker" / "pom.xml"
        if chosen or maven is None or not pom.exists():
            raise ServersUnavailableError(
                f"Kafka's jars are not in {libs}: run ./setup.sh --native once, "
                "or install Maven, or set KAFKA_LIBS to a directory that has them"
            )
        with tempfile.TemporaryDirectory(dir=libs.parent) as build:
            copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={build}/libs"]
            _run([maven, "-q", "-B", "--strict-checksums", "-f", str(pom), *copy], timeout_s=600)
            _run(["bash", str(pom.with_name("jars.sh")), "check", build, "libs"], timeout_s=patience(60))
            # The one that is looked for comes last.
            for jar in sorted(Path(build, "libs").iterdir(), key=lambda jar: jar.name.startswith("kafka_2.13-")):
                jar.rename(libs / jar.name)
    return libs


def start_local_postgres(options: Sequence[str] = POSTGRES_OPTIONS) -> LocalServer:
    """Start PostgreSQL on a fresh data directory."""
    initdb, postgres = _postgres_program("initdb"), _postgres_program("postgres")
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        try:
            account = pwd.getpwnam(user)
        except KeyError:
            raise ServersUnavailableError(
                "PostgreSQL does not run as root, and there is no user `postgres`: run the tests as another user"
            ) from None
    directory = new_directory("postgres")
    if user:
        os.chown(directory, account.pw_uid, account.pw_gid)
    port = free_port()
    dsn = f"postgresql://test@127.0.0.1:{port}/postgres"
    data = directory / "data"
    program = Program(
        "PostgreSQL",
        [postgres, "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(directory), *options],
        lambda: check_postgres(dsn),
        # Fast shutdown, which does not wait until clients disconnect.
        signal.SIGINT,
        user=user,
    )
    create = [initdb, "-D", str(data), "-U", "test", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    return started(
        LocalServer(dsn, program, directory),
        lambda: _run(create, timeout_s=patience(60), cwd=directory, **_run_as(user)),
    )


def _postgres_program(name: str) -> str:
    def version(path: Path) -> int:
        return int(path.parent.parent.name) if path.parent.parent.name.isdigit() else 0

    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=version)
    found = str(packaged[-1]) if packaged else shutil.which(name)
    if found is None:
        raise ServersUnavailableError(f"there is no {name}: install the package postgresql, 15 or later")
    return found


def start_local_redis(options: Sequence[str] = ()) -> LocalServer:
    """Start Redis without persistence."""
    # In Debian, `redis-server` is a link to `redis-check-rdb` of the package redis-tools, which is the same program.
    executable = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if executable is None:
        raise ServersUnavailableError("there is no redis-server: install the package redis-server or redis-tools")
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    usual = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    program = Program("Redis", ["redis-server", *usual, *options], lambda: check_redis(url), executable=executable)
    return started(LocalServer(url, program, new_directory("redis")))
