"""
What a client is told whose tenant sent too much: a sentence, and the headers `RateLimit` and `RateLimit-Policy`.

The headers are those of the IETF's draft-ietf-httpapi-ratelimit-headers, version 10. Pure.
"""

from collections.abc import Mapping, Sequence
from math import ceil, inf
from typing import Final

from gateway.quotas.tenant import Policy, Quota, Refusal
from shared.wire.problem import TooManyRequestsError

_UNITS: Final[Mapping[Quota, str]] = {
    Quota.REQUESTS: "concurrent-requests",
    Quota.EVENTS: "events",
    Quota.BYTES: "content-bytes",
    Quota.DAY: "content-bytes",
}
_WHAT: Final[Mapping[Quota, str]] = {
    Quota.REQUESTS: "has as many requests under way",
    Quota.EVENTS: "sent as many events",
    Quota.BYTES: "sent as many bytes",
    Quota.DAY: "sent as many bytes today",
}


def error_of(tenant: str, refusal: Refusal, policies: Sequence[Policy], most_s: float = inf) -> TooManyRequestsError:
    """
    Return the error.

    Args:
        tenant: Whose quota is spent.
        refusal: Which one, and for how long.
        policies: All of them.
        most_s: `Retry-After` has no more seconds; the header `RateLimit` tells how many there are.
    """
    seconds = max(ceil(refusal.wait_s), 1)
    after = int(min(seconds, most_s))
    return TooManyRequestsError(
        f"tenant {tenant} {_WHAT[refusal.quota]} as its quota allows; nothing of this request was taken, "
        f"send the same again in {seconds} s",
        headers={
            "Retry-After": str(after),
            "RateLimit": ", ".join(
                f'"{policy.quota}";r={policy.left}' + (f";t={seconds}" if policy.quota is refusal.quota else "")
                for policy in policies
            ),
            "RateLimit-Policy": ", ".join(map(_policy, policies)),
        },
        extra={"tenant": tenant, "quota": refusal.quota.value},
    )


def _policy(policy: Policy) -> str:
    window = f";w={policy.window_s}" if policy.window_s else ""
    return f'"{policy.quota}";q={policy.limit}{window};qu="{_UNITS[policy.quota]}"'
