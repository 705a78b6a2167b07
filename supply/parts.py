"""The parts that the project's lock files name: each with its version and what it must hash to."""

import re

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from supply.images import FILES, named

# In this order: a package counts as what the first file that names it makes of it.
LOCKS: Final = ("requirements.lock", "requirements-otel.lock", "requirements-archive.lock", "requirements-dev.lock")
JARS: Final = "mirrormaker/jars.sha256"
GO_MODULES: Final = "native/toxiproxy"

_PACKAGE: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_JAR: Final = re.compile(r"^# ([^:\s]+):([^:\s]+):([^:\s]+)\n([0-9a-f]{64})  \S+$", re.MULTILINE)
_MODULE: Final = re.compile(r"^\s+(\S+) (v\S+)", re.MULTILINE)


class Need(Enum):
    """When a part is needed."""

    ALWAYS = "always"
    IF_CONFIGURED = "if configured"
    FOR_TESTS = "for tests and tools"


@dataclass(frozen=True, slots=True)
class Part:
    """
    A part that comes from elsewhere.

    Attributes:
        kind: Where it is from, as package URLs say it: `pypi`, `maven`, `golang` or `docker`.
        group: What stands before the name, such as a Maven group. May be empty.
        name: Its name.
        version: Its exact version, or an image's tag.
        need: When it is needed.
        sha256: What its files may hash to, in hexadecimal. A Python package has one file for each kind of machine.
        registry: The host of an image's registry, if it is not Docker Hub.
        go_sum: Go's own sum of a module.
    """

    kind: str
    group: str
    name: str
    version: str
    need: Need
    sha256: tuple[str, ...] = field(default=())
    registry: str = ""
    go_sum: str = ""


def all_parts(root: Path) -> list[Part]:
    """Return the parts of a checkout, in an order that depends on nothing else."""
    parts = [*_python(root), *_jars(root), *_go(root), *_images(root)]
    return sorted(parts, key=lambda part: (part.kind, part.group, part.name, part.version))


def _python(root: Path) -> Iterator[Part]:
    seen = set()
    for lock in LOCKS:
        need = {LOCKS[0]: Need.ALWAYS, LOCKS[-1]: Need.FOR_TESTS}.get(lock, Need.IF_CONFIGURED)
        text = (root / lock).read_text()
        begins = list(_PACKAGE.finditer(text))
        for begin, following in zip(begins, [*begins[1:], None], strict=True):
            package = begin[1], begin[2]
            entry = text[begin.end() : following.start() if following else None]
            if package not in seen:
                yield Part("pypi", "", *package, need, tuple(sorted(re.findall(r"sha256:([0-9a-f]{64})", entry))))
            seen.add(package)


def _jars(root: Path) -> Iterator[Part]:
    for group, name, version, digest in _JAR.findall((root / JARS).read_text()):
        yield Part("maven", group, name, version, Need.ALWAYS, (digest,))


def _go(root: Path) -> Iterator[Part]:
    sums = dict(re.findall(r"^(\S+ v\S+) (h1:\S+)$", (root / GO_MODULES / "go.sum").read_text(), re.MULTILINE))
    for path, version in _MODULE.findall((root / GO_MODULES / "go.mod").read_text()):
        group, _, name = path.rpartition("/")
        yield Part("golang", group, name, version, Need.FOR_TESTS, go_sum=sums[f"{path} {version}"])


def _images(root: Path) -> Iterator[Part]:
    seen = set()
    for file in FILES:
        for image in named((root / file).read_text()):
            if image.name in seen:
                continue
            seen.add(image.name)
            group, _, name = image.repository.rpartition("/")
            need = Need.ALWAYS if file in ("Dockerfile", "docker-compose.yml") else Need.FOR_TESTS
            digest = (image.digest.removeprefix("sha256:"),) if image.digest else ()
            registry = "" if image.registry == "docker.io" else image.registry
            yield Part("docker", group, name, image.tag, need, digest, registry)
