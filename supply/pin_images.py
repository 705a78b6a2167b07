"""
Writes into the files that name images which digest each tag has now: `name:tag` becomes `name:tag@sha256:...`.

    python -m supply.pin_images           asks each registry; writes all files, or none if a registry does not answer
    python -m supply.pin_images --undo    takes the digests away again

With a digest, an engine takes these bytes or none. A tag can be moved by the image's owner.
"""

import argparse
import sys

from collections.abc import Mapping
from pathlib import Path

from supply.images import FILES, ROOT, Image, named, pinned
from supply.registry import RegistryError, current_digest


def main(arguments: list[str]) -> int:
    """Pin or unpin all images; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m supply.pin_images", description=__doc__.strip().splitlines()[0])
    parser.add_argument("--undo", action="store_true", help="take the digests away")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to change, if it is not this one")
    options = parser.parse_args(arguments)
    texts = {options.root / name: (options.root / name).read_text() for name in FILES}
    known = {image.name: image.digest for text in texts.values() for image in named(text)}
    digests, problems = ({}, []) if options.undo else _ask_for(sorted(known))
    if problems:
        sys.stderr.writelines(f"{problem}\n" for problem in problems)
        sys.stderr.write("Nothing was changed: either all images are pinned, or none.\n")
        return 1
    _write(texts, digests)
    sys.stdout.writelines(_line(name, before, digests.get(name)) for name, before in sorted(known.items()))
    return 0


def _line(name: str, before: str | None, now: str | None) -> str:
    if not now:
        return f"by tag   {name}\n"
    word = "same" if now == before else "renewed" if before else "pinned"
    return f"{word:8} {name}@{now}\n"


def _ask_for(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the digest of each name, and a sentence for each that has none."""
    digests, problems = {}, []
    for name in names:
        try:
            digests[name] = current_digest(Image.read(name))
        except RegistryError as exc:
            problems.append(str(exc))
    return digests, problems


def _write(texts: Mapping[Path, str], digests: Mapping[str, str]) -> None:
    """Write the files that change. First all of them beside their places, so that a full disk changes none."""
    changed = {path: after for path, text in texts.items() if (after := pinned(text, digests)) != text}
    for path, after in changed.items():
        beside = _beside(path)
        beside.write_text(after)
        beside.chmod(path.stat().st_mode)
    for path in changed:
        _beside(path).replace(path)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
