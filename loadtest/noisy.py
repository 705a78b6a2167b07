"""
The scenario `noisy-tenant`: what one tenant sends beyond its quota costs another one nothing, and no acknowledged event. PURE.

Two tenants send batches, the noisy one ten times what its quota allows. None sends anything again: what was refused must not
become a row, and what was acknowledged must become one.
"""

import tomllib

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

NAME: Final = "noisy-tenant"
WHAT: Final = "Two tenants of a fleet with keys; one sends ten times its quota, the other one must not notice"
NOISY: Final = "load-noisy"
QUIET: Final = "load-quiet"
TIMES: Final = 10
QUIET_RATE: Final = 100.0
_SHOWN: Final = 5


class CannotJudgeError(Exception):
    """The fleet is not one on which the scenario means anything. The message says what to do."""


@dataclass(slots=True)
class Sender:
    """
    What one tenant sent, and what it was told.

    Attributes:
        tenant: Its name.
        acknowledged: Ids of events that were.
        refused: Ids of events of requests that got 429.
        unknown: Ids of all others.
        answers: Answers by status, or by the error of the connection.
        strange: Answers that break the contract, each a finding.
        waits_s: Of acknowledged batches.
    """

    tenant: str
    acknowledged: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)
    unknown: set[bytes] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)

    def told(self, ids: Sequence[bytes], status: int, headers: Any, wait_s: float) -> None:
        """Note the answer to a batch of valid events."""
        self.answers[str(status)] += 1
        if status == HTTPStatus.ACCEPTED:
            self.acknowledged.update(ids)
            self.waits_s.append(wait_s)
        elif status == HTTPStatus.TOO_MANY_REQUESTS:
            self.refused.update(ids)
            after = headers.get("retry-after", "")
            if not (after.isdecimal() and int(after) >= 1):
                self.strange.append(f"429 to {self.tenant} with Retry-After {after!r}")
            if "ratelimit" not in headers or "ratelimit-policy" not in headers:
                self.strange.append(f"429 to {self.tenant} without RateLimit and RateLimit-Policy")
        else:
            self.unknown.update(ids)

    def cut_off(self, ids: Sequence[bytes], error: str) -> None:
        """Note that there was no answer."""
        self.answers[error] += 1
        self.unknown.update(ids)


def quota_of_noisy(security: str, file: str, text: str | None) -> float:
    """
    Return how many events a second the noisy tenant may send.

    Args:
        security: The fleet's `FLEET_SECURITY`.
        file: Its `FLEET_TENANTS_FILE`.
        text: What that holds; None if it cannot be read.

    Raises:
        CannotJudgeError: The fleet knows one tenant, or sets this one no limit.
    """
    if security != "on":
        raise CannotJudgeError(
            f"{NAME} needs two tenants, and a fleet without keys has one, `default`: start it with FLEET_SECURITY=on"
        )
    wanted = f"a file with\n\n[tenant.{NOISY}]\nevents_per_second = 200\n\nand nothing about {QUIET}"
    if text is None:
        raise CannotJudgeError(f"{NAME} needs a quota, and FLEET_TENANTS_FILE is {file}: let it name {wanted}")
    try:
        tenants = tomllib.loads(text).get("tenant", {})
    except tomllib.TOMLDecodeError as exc:
        raise CannotJudgeError(f"{file} is no TOML: {exc}") from None
    rate = tenants.get(NOISY, {}).get("events_per_second")
    if not isinstance(rate, int | float) or rate <= 0 or QUIET in tenants:
        raise CannotJudgeError(f"{NAME} needs a quota for {NOISY} alone: let {file} be {wanted}")
    return float(rate)


def judge(noisy: Sender, quiet: Sender, rows: Iterable[bytes]) -> list[str]:
    """
    Return what is wrong.

    Args:
        noisy: What the noisy tenant sent.
        quiet: What the other one sent.
        rows: Ids of all rows of both.
    """
    stored = Counter(rows)
    failures = [*noisy.strange, *quiet.strange]
    if others := {status: number for status, number in quiet.answers.items() if status != "202"}:
        failures.append(f"the quiet tenant was refused or cut off: {_listed(others)}")
    if others := {status: number for status, number in noisy.answers.items() if status not in {"202", "429"}}:
        failures.append(f"the noisy tenant got other answers than 202 and 429: {_listed(others)}")
    if not noisy.answers["429"]:
        failures.append("the noisy tenant was never refused; is the quota in force?")
    if not quiet.acknowledged or not noisy.acknowledged:
        failures.append("a tenant got nothing acknowledged")
    for sender in (noisy, quiet):
        if lost := sender.acknowledged - stored.keys():
            failures.append(f"{len(lost)} acknowledged events of {sender.tenant} are no rows: {_shown(lost)}")
        if sent := sender.refused & stored.keys():
            failures.append(
                f"{len(sent)} events of {sender.tenant} were refused with 429, and are rows: {_shown(sent)}"
            )
    if doubled := [one for one, number in stored.items() if number > 1]:
        failures.append(f"{len(doubled)} events have more than one row: {_shown(doubled)}")
    if (
        strangers := stored.keys()
        - noisy.acknowledged
        - quiet.acknowledged
        - noisy.unknown
        - quiet.unknown
        - noisy.refused
    ):
        failures.append(f"{len(strangers)} rows were never sent: {_shown(strangers)}")
    return failures


def _listed(answers: dict[str, int]) -> str:
    return ", ".join(f"{number} times {status}" for status, number in sorted(answers.items()))


def _shown(ids: Iterable[bytes]) -> str:
    return ", ".join(one.hex() for one in sorted(ids)[:_SHOWN])
