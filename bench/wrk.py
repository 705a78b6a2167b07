"""The load client: wrk, which needs so little processor time that it hardly slows what is measured."""

import json
import resource
import shutil
import subprocess

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bench.report import BrokenRunError

Form = Literal["single", "ndjson", "array"]
BATCH: Final = 1000
_SCRIPT: Final = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """
    What wrk did.

    Attributes:
        requests: Answers that it got.
        seconds: How long it sent.
        refused: Answers other than 2xx and 3xx.
        broken: Connections and answers that broke or took too long.
        p50_ms: Of the answers.
        p99_ms: Likewise.
        cpu_s: Processor time of wrk itself.
    """

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Answers with 2xx a second."""
        return (self.requests - self.refused) / self.seconds


def load(
    url: str, form: Form | Path, *, connections: int, seconds: float, acknowledged: Path | None = None, key: str = ""
) -> Load:
    """
    Send as much as is answered, over connections that stay open; blocks.

    Args:
        url: Where to.
        form: What; see `load.lua`. A file is the body of each request.
        connections: How many.
        seconds: For how long.
        acknowledged: File for the ids that were acknowledged.
        key: What each request shows, for a gateway that asks for one.

    Raises:
        BrokenRunError: wrk is not there or failed.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise BrokenRunError("there is no wrk: install the package wrk")
    before = _children_cpu_s()
    command = [wrk, "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--timeout", "20s", "-s", str(_SCRIPT), url]
    done = subprocess.run(  # noqa: S603 - no part of it is anybody's input
        [*command, "--", str(form), str(acknowledged or ""), key],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BrokenRunError(f"wrk: {done.stdout}{done.stderr}")
    return Load(**json.loads(done.stdout.splitlines()[-1]), cpu_s=_children_cpu_s() - before)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
