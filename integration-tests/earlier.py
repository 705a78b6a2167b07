"""Earlier releases, unpacked where a test can run them and read their schema."""

import tarfile

from pathlib import Path
from typing import Final

RELEASES: Final = Path(__file__).parent / "releases"


def unpacked(release: str, into: Path) -> Path:
    """Unpack a release; return the folder that its packages are in."""
    with tarfile.open(RELEASES / f"{release}.tar.xz") as archive:
        archive.extractall(into, filter="data")
    return into
