"""
Installs the clients of other make, each kit with exactly the files that its lock names.

`python integration-tests/clients/install.py [KIT...]` installs the named kits, or all but those of deep tests; a test installs
the kit that it needs.
A kit's folder in `.run/clients` has a digest of all that goes into it in its name, so a folder that exists is up to date.
Several processes may ask for a kit at once: the first one installs it, the others wait. `TEST_CLIENTS` names another folder.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PROGRAMS: Final = HERE.parent / "client-programs"
JAVA_RELEASE: Final = "17"
# A registry that does not answer must not hold up a test run for ever.
_LIMIT_S: Final = 900
# Compiling a collector takes four minutes of two cores, and more where they are shared.
_COMPILE_S: Final = 3600
_BUILDER: Final = "go.opentelemetry.io/collector/cmd/builder@v0.165.0"


class InstallError(Exception):
    """A kit cannot be installed. The message says which one, why, and what to change."""


@dataclass(frozen=True)
class Kit:
    """
    What some of the programs need, installed together.

    Attributes:
        name: Its name, and the beginning of its folder's name.
        made_from: The files that decide what is installed.
        make: Installs it into an empty folder.
        also: What decides beside these files, such as the version of Python.
        deep: Whether deep tests alone need it.
    """

    name: str
    made_from: Sequence[Path]
    make: Callable[[Path], None]
    also: str = ""
    deep: bool = False

    @property
    def digest(self) -> str:
        """What identifies the content of the kit."""
        content = hashlib.sha256(self.also.encode())
        for path in self.made_from:
            content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return content.hexdigest()[:12]


def installed(name: str) -> Path:
    """
    Return the folder of a kit, and install it before if it is not there.

    Raises:
        InstallError: It cannot be installed.
    """
    kit = KITS[name]
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"{name}-{kit.digest}"
    if folder.exists():
        return folder
    with (home / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _install(kit, folder)
    return folder


def _install(kit: Kit, folder: Path) -> None:
    """Make the kit beside its place, so that a folder with its name is always whole."""
    making = Path(tempfile.mkdtemp(prefix=f".{kit.name}-", dir=folder.parent))
    try:
        kit.make(making)
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _home() -> Path:
    chosen = os.environ.get("TEST_CLIENTS")
    return Path(chosen) if chosen else HERE.parent.parent / ".run" / "clients"


def _run(
    what: str,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    limit_s: float = _LIMIT_S,
) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InstallError(f"{what}: `{' '.join(command)}` did not end within {limit_s:g} s") from None
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise InstallError(f"{what}: `{' '.join(command)}` ended with {done.returncode}:\n{said}")


def _tool(name: str, packages: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise InstallError(f"there is no {name}, which the tests' clients need: install {packages}")
    return found


def _python(name: str, folder: Path) -> None:
    """Install wheels and nothing else, into a folder that `PYTHONPATH` will name."""
    lock = str(PROGRAMS / "python" / f"{name}.lock")
    options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--target", str(folder)]
    _run(f"clients for Python, {name}", [sys.executable, "-m", "pip", "install", *options, "-r", lock], folder)


def _javascript(folder: Path) -> None:
    """Install exactly what the lock names, and run no script of a package."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PROGRAMS / "javascript" / name, folder)
    npm = _tool("npm", "the packages nodejs (18.19 or later) and npm")
    _run("clients for JavaScript", [npm, "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _java(folder: Path) -> None:
    """Copy the jars, compare each with its known checksum, and compile the programs."""
    source, jars, classes = PROGRAMS / "java", folder / "jars", folder / "classes"
    maven = _tool("mvn", "the package maven")
    # Maven writes `target` beside the file that it is given.
    shutil.copy(source / "pom.xml", folder)
    _run(
        "clients for Java",
        [maven, "-q", "-B", "-f", "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"],
        folder,
    )
    compare(jars, (source / "SHA256SUMS").read_text())
    programs = sorted(map(str, source.glob("*.java")))
    compiler = _tool("javac", "the package default-jdk-headless")
    _run(
        "clients for Java",
        [compiler, "--release", JAVA_RELEASE, "-Werror", "-cp", f"{jars}/*", "-d", str(classes), *programs],
        folder,
    )


def _collector(folder: Path) -> None:
    """Let the collector's own builder write its source, and compile that with exactly the modules that the lock names."""
    what, go, source = "OpenTelemetry's collector", _tool("go", "Go 1.26 or later"), PROGRAMS / "collector"
    shutil.copy(source / "builder.yaml", folder)
    _run(what, [go, "install", _BUILDER], folder, {"GOBIN": str(folder / "bin")}, _COMPILE_S)
    options = ["--config", "builder.yaml", "--skip-get-modules", "--skip-compilation"]
    _run(what, [str(folder / "bin/builder"), *options], folder)
    made = folder / "made"
    for name in ("go.mod", "go.sum"):
        shutil.copy(source / name, made)
    program = str(folder / "collector")
    _run(
        what,
        [go, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-o", program, "."],
        made,
        limit_s=_COMPILE_S,
    )
    shutil.rmtree(made)
    shutil.rmtree(folder / "bin")


def _debian(packages: Sequence[str], folder: Path) -> None:
    """Unpack packages of the distribution, and what they need and this machine lacks; apt verifies their signatures."""
    apt, archives = _tool("apt-get", "nothing: this needs Debian or Ubuntu"), folder / "archives"
    (archives / "partial").mkdir(parents=True)
    options = ["-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"]
    download = [
        apt,
        "-q",
        "-y",
        *options,
        "--no-install-recommends",
        "--download-only",
        "--reinstall",
        "install",
        *packages,
    ]
    try:
        _run(packages[0], download, folder)
    except InstallError:
        # The list of packages may be old, or not there yet.
        _run(packages[0], [apt, "-q", "update"], folder)
        _run(packages[0], download, folder)
    for package in sorted(archives.glob("*.deb")):
        _run(packages[0], ["dpkg", "-x", str(package), str(folder)], folder)
    shutil.rmtree(archives)


def compare(folder: Path, sums: str) -> None:
    """
    Compare the files of a folder with lines of `sha256sum`.

    Raises:
        InstallError: A file differs, is missing, or has no line. The message names all of them.
    """
    wanted = {name: digest for digest, name in (line.split() for line in sums.splitlines())}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        raise InstallError(
            f"{', '.join(wrong)}: not as in SHA256SUMS. If the versions in pom.xml were changed on purpose, "
            f"write it anew: (cd {folder} && sha256sum *)"
        )


def _python_kit(name: str) -> Kit:
    running = f"{sys.implementation.cache_tag} {sys.platform}"
    return Kit(f"python-{name}", [PROGRAMS / "python" / f"{name}.lock"], partial(_python, name), running)


def _debian_kit(name: str, packages: Sequence[str]) -> Kit:
    return Kit(name, [Path("/etc/os-release")], partial(_debian, packages), " ".join(packages))


KITS: Final[Mapping[str, Kit]] = {
    kit.name: kit
    for kit in (
        *(_python_kit(name) for name in ("otlp", "elasticsearch-9", "elasticsearch-8", "others", "reading")),
        Kit(
            "javascript",
            [PROGRAMS / "javascript" / name for name in ("package.json", "package-lock.json")],
            _javascript,
        ),
        Kit(
            "java",
            [
                PROGRAMS / "java" / "pom.xml",
                PROGRAMS / "java" / "SHA256SUMS",
                *sorted((PROGRAMS / "java").glob("*.java")),
            ],
            _java,
            JAVA_RELEASE,
        ),
        _debian_kit("syslog-ng", ["syslog-ng-core", "syslog-ng-mod-http", "syslog-ng-scl"]),
        _debian_kit("rsyslog", ["rsyslog", "rsyslog-openssl"]),
        Kit(
            "collector",
            [PROGRAMS / "collector" / name for name in ("builder.yaml", "go.mod", "go.sum")],
            _collector,
            _BUILDER,
            deep=True,
        ),
    )
}


def main(names: Sequence[str]) -> None:
    """Install kits, side by side, and print their folders."""
    unknown = sorted(set(names) - KITS.keys())
    if unknown:
        sys.exit(f"{', '.join(unknown)}: no such kit; there are {', '.join(KITS)}")
    with ThreadPoolExecutor() as pool:
        try:
            for folder in pool.map(installed, names or [name for name, kit in KITS.items() if not kit.deep]):
                print(folder)  # noqa: T201 - the program's output
        except InstallError as exc:
            sys.exit(str(exc))


if __name__ == "__main__":
    main(sys.argv[1:])
