"""Processes that a benchmark runs beside its servers: the services as they are deployed, and what they are held against."""

import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from bench.report import BrokenRunError
from bench.stage import ROOT
from testbed.server import free_port

_OURS: Final = ("GATEWAY_", "PRODUCER_", "CONSUMER_", "CONSOLE_", "TOPICS_", "APP_", "FLEET_")
_START_S: Final = 60.0
_STOP_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """
    A process that answers.

    Attributes:
        url: Where.
        pid: The process.
        internal_url: Where it answers other services; empty if it does not.
    """

    url: str
    pid: int
    internal_url: str = ""


@contextmanager
def process(name: str, command: Sequence[str], **environment: str) -> Iterator["Process"]:
    """
    Run a process until the block ends.

    Args:
        name: For messages.
        command: Command line.
        environment: Its variables; those of services that this process has are not handed down.
    """
    kept = {variable: value for variable, value in os.environ.items() if not variable.startswith(_OURS)}
    with tempfile.TemporaryFile() as log:
        popen = subprocess.Popen(  # noqa: S603 - no part of it is anybody's input
            command, cwd=ROOT, env={**kept, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield Process(name, popen, log.fileno())
        finally:
            popen.send_signal(signal.SIGTERM)
            try:
                popen.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()


@dataclass(frozen=True, slots=True)
class Process:
    """
    A process that was started here.

    Attributes:
        name: For messages.
        popen: The process.
        log: Descriptor of the file with what it says.
    """

    name: str
    popen: subprocess.Popen[bytes]
    log: int

    @property
    def pid(self) -> int:
        """The process."""
        return self.popen.pid

    def demand_alive(self) -> None:
        """
        Make sure that it has not ended.

        Raises:
            BrokenRunError: It has; tells the end of what it said.
        """
        if self.popen.poll() is not None:
            raise BrokenRunError(f"{self.name} has ended with {self.popen.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what it said."""
        return os.pread(self.log, 1_000_000, 0).decode(errors="replace")[-2000:]


@contextmanager
def service(
    name: str,
    arguments: Sequence[str],
    port: int,
    *,
    internal_port: int | None = None,
    ready: str = "/ready",
    trusted: ssl.SSLContext | None = None,
    **environment: str,
) -> Iterator[Service]:
    """
    Run a process that serves HTTP on `port` of the loopback.

    Args:
        name: For messages.
        arguments: Command line; of Python, if it begins with an option.
        port: Where it will answer.
        internal_port: Where it will answer other services.
        ready: Path that is answered with less than 400 once it can work.
        trusted: By which its certificate is known, if it has one.
        environment: Its variables.

    Raises:
        BrokenRunError: It ends, or is not ready in time.
    """
    command = [sys.executable, *arguments] if arguments[0].startswith("-") else list(arguments)
    with process(name, command, **environment) as started:
        scheme = "http" if trusted is None else "https"
        url = f"{scheme}://127.0.0.1:{port}"
        if not _answers(started, f"{url}{ready}", trusted):
            raise BrokenRunError(f"{name} is not ready: {started.last_words()}")
        yield Service(url, started.pid, f"{scheme}://127.0.0.1:{internal_port}" if internal_port else "")


def _answers(started: Process, url: str, trusted: ssl.SSLContext | None) -> bool:
    deadline = time.monotonic() + _START_S
    while started.popen.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5, trust_env=False, verify=trusted or True).status_code < httpx.codes.BAD_REQUEST:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    return False


def module(
    name: str, port: int, *, trusted: ssl.SSLContext | None = None, **environment: str
) -> AbstractContextManager[Service]:
    """Run one of the services, `python -m NAME`, on `port`, and on a free one for other services."""
    inside = free_port()
    ports = {f"{name.upper()}_PORT": str(port), f"{name.upper()}_INTERNAL_PORT": str(inside)}
    return service(name, ["-m", name], port, internal_port=inside, trusted=trusted, **environment, **ports)
