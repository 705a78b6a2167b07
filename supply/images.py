"""The images that files of the project name, and how a digest is written beside a tag."""

import re

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
# All files that name images of others. A contract test looks for more.
FILES: Final = ("Dockerfile", "docker-compose.yml", "docker-compose.faults.yml", "testbed/container_servers.py")
DOCKER_HUB: Final = "docker.io"

# A name has a tag: one without is a stage of the Dockerfile, or an image that the project builds.
_REFERENCE: Final = re.compile(
    r"""(?P<before>^FROM[ ]|[ ]--from=|^[ ]+image:[ ]|_IMAGE:[ ]Final[ ]=[ ]")
        (?P<name>[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})
        (?P<digest>@sha256:[0-9a-f]{64})?(?=[\s"])""",
    re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True, order=True)
class Image:
    """
    An image as a file names it.

    Attributes:
        name: Repository and tag, as written, such as `redis:8.10.1-trixie`.
        digest: `sha256:...`, if the file has one.
    """

    name: str
    digest: str | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a name with or without a digest."""
        name, _, digest = text.partition("@")
        return cls(name, digest or None)

    @property
    def tag(self) -> str:
        """The tag alone."""
        return self.name.rpartition(":")[2]

    @property
    def registry(self) -> str:
        """Host, and port if there is one, of the registry that has it."""
        return self._parts[0]

    @property
    def repository(self) -> str:
        """Its name in that registry."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, str]:
        # By Docker's rule, a first part with a dot or a port is a host.
        path = self.name.rpartition(":")[0]
        host, slash, rest = path.partition("/")
        if slash and ("." in host or ":" in host or host == "localhost"):
            return host, rest
        return DOCKER_HUB, path if slash else f"library/{path}"


def named(text: str) -> list[Image]:
    """Return the images that a file names, in its order."""
    return [Image.read(match["name"] + (match["digest"] or "")) for match in _REFERENCE.finditer(text)]


def pinned(text: str, digests: Mapping[str, str]) -> str:
    """Return the text of a file with these digests beside the names; names that are not in `digests` lose theirs."""

    def write(match: re.Match[str]) -> str:
        digest = digests.get(match["name"])
        return match["before"] + match["name"] + (f"@{digest}" if digest else "")

    return _REFERENCE.sub(write, text)
