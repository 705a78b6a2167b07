"""
`python -m fleet.jobs.healthcheck [--show] [--identity FOLDER] URL`: exit 0 when URL answers 2xx within two seconds.

Images need no curl for it. With `--show` it prints the answer, and the status behind it. FOLDER has the certificate to show: `cert.pem`, `key.pem`, and `ca.pem`
of the authority that the other one's has to be of.
"""

import argparse
import ssl
import sys
import urllib.error
import urllib.request

from pathlib import Path


def opener(identity: Path | None) -> urllib.request.OpenerDirector:
    """Return what asks, without a proxy: Docker's configuration may set some, and none can reach the container's loopback."""
    direct: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if identity is not None:
        context = ssl.create_default_context(cafile=str(identity / "ca.pem"))
        context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
        direct.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*direct)


def main() -> int:
    """Ask the URL given as the last argument."""
    arguments = argparse.ArgumentParser(prog="python -m fleet.jobs.healthcheck")
    arguments.add_argument("--show", action="store_true")
    arguments.add_argument("--identity", type=Path, metavar="FOLDER")
    arguments.add_argument("url", metavar="URL")
    asked = arguments.parse_args()
    show = asked.show
    try:
        with opener(asked.identity).open(asked.url, timeout=2) as answer:
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
