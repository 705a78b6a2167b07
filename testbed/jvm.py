"""The options with which the fleet runs Java."""

import re

from typing import Final

from testbed.local_servers import REPOSITORY

_HEAP: Final = re.compile(r"^  (KAFKA|MIRROR)_HEAP=(\S+)$", re.MULTILINE)


def jvm_options(part: str) -> list[str]:
    """Return the options with which `native/run.sh` runs Java for `KAFKA` or `MIRROR`."""
    heap = dict(_HEAP.findall((REPOSITORY / "native" / "settings.sh").read_text()))[part]
    own = ["-XX:TieredStopAtLevel=1"] if part == "MIRROR" else []
    return [
        f"-Xms{heap}",
        f"-Xmx{heap}",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:+ExitOnOutOfMemoryError",
        *own,
    ]
