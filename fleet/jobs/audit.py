"""`python -m fleet.jobs.audit --folder FOLDER --pepper-file FILE SERVICE`: checks a service's log for `./setup.sh audit verify`."""

import argparse
import sys

from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.process.audit_check import AuditError, check


def run(arguments: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """
    Do what is asked, and yield what is to be said, and whether it is good.

    Raises:
        AuditError: It cannot be done.
    """
    parser = argparse.ArgumentParser(prog="./setup.sh audit verify", add_help=False)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--pepper-file", type=Path, required=True)
    parser.add_argument("service")
    given = parser.parse_args(arguments)
    try:
        secret = given.pepper_file.read_text().strip().encode()
    except OSError as exc:
        raise AuditError(f"{given.pepper_file} cannot be read: {exc.strerror}") from exc
    found = check(given.folder, given.service, secret)
    for problem in found.problems:
        yield False, f"{given.service}: {problem}"
    newer = f", {found.newer} of them newer than its head" if found.newer else ""
    last = f"whole; the last one is {found.digest}" if not found.problems else "not whole"
    yield not found.problems, f"{given.service}: {found.lines} lines{newer}, {last}"


def main() -> int:
    """Run once."""
    is_good = True
    try:
        for good, line in run(sys.argv[1:]):
            (sys.stdout if good else sys.stderr).write(f"{line}\n")
            is_good = is_good and good
    except AuditError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
