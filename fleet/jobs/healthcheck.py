"""
`python -m fleet.jobs.healthcheck [--show] URL`: exit 0 when URL answers 2xx within two seconds. Images need no curl for it.

With `--show` it prints the answer, and the status behind it.
"""

import sys
import urllib.error
import urllib.request

from typing import Final

# Docker's configuration may set proxies in every container, and a proxy cannot reach the container's loopback.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> int:
    """Ask the URL given as the last argument."""
    *options, url = sys.argv[1:]
    show = "--show" in options
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            if show:
                sys.stdout.write(f"{answer.read().decode()} ({answer.status})\n")
            return 0
    except urllib.error.HTTPError as exc:
        sys.stderr.write(f"{exc.read().decode(errors='replace')} ({exc.code})\n" if show else f"{exc}\n")
        return 1
    except OSError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
