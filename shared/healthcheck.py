"""`python -m shared.healthcheck URL`: exit 0 when URL answers 2xx within two seconds; images need no curl."""

import sys
import urllib.request


def main() -> int:
    """Ask the URL given as the only argument."""
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=2):  # noqa: S310 - the URL comes from the compose file
            return 0
    except OSError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
