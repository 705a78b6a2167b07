"""What is known of a request besides its body, and needed to give its records identities. Pure."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from shared.event.sealed import Intake
from shared.event.times import EPOCH

_NO_DIGEST: Final = bytes(16)


def _no_id() -> UUID:
    raise AssertionError("only a protocol whose events may come without an identity asks for one")


class Receipt(Intake):
    """
    How one request arrived.

    Args:
        now: When, aware UTC.
        new_id: See `Intake`.
        path: Of its URL.
        tenant: Whose it says to be (`X-Scope-OrgID`); empty if it does not say.
        key: Its `Idempotency-Key`; empty if it has none.
        digest: Of its body, decompressed.
        untimed_at: Time of its records that have none: that of the first receipt of the same bytes, while they are not
            acknowledged.
        salt: Tells it from another request of the same bytes that is under way; empty if there is none.
        owner: See `Intake`; what a request says of itself in `tenant` decides nothing.
        spread: Over how many names a source's records are spread, a second on each.

    Attributes:
        now: As above, and so are all others.
    """

    def __init__(
        self,
        now: datetime,
        new_id: Any = _no_id,
        *,
        path: str = "",
        tenant: str = "",
        key: str = "",
        digest: bytes = _NO_DIGEST,
        untimed_at: datetime | None = None,
        salt: bytes = b"",
        owner: str | None = None,
        spread: int = 1,
    ) -> None:
        super().__init__(now, new_id, owner=owner)
        self.now = now
        self.path = path
        self.tenant = tenant
        self.key = key
        self.digest = digest
        self.untimed_at = untimed_at or now
        self.salt = salt
        self.spread = spread


def example(path: str = "/", now: datetime = EPOCH, **known: Any) -> Receipt:
    """Return a receipt for tests and benchmarks."""
    return Receipt(now, path=path, **known)
