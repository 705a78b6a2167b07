"""What changed from one key file to the next, for the audit log: ids alone. Pure."""

from collections.abc import Iterable
from typing import Final

from shared.access.keys import StoredKey

_SHOWN: Final = 50


def changes(old: Iterable[StoredKey], new: Iterable[StoredKey]) -> dict[str, list[str] | int]:
    """Return which keys were made, revoked, changed otherwise, or are gone; of many the first, and how many."""
    before, after = ({key.principal.key_id: key for key in keys} for keys in (old, new))
    both = [key_id for key_id in after if key_id in before and after[key_id] != before[key_id]]
    revoked = [key_id for key_id in both if after[key_id].revoked is not None and before[key_id].revoked is None]
    found = {
        "made": [key_id for key_id in after if key_id not in before],
        "revoked": revoked,
        "changed": [key_id for key_id in both if key_id not in revoked],
        "gone": [key_id for key_id in before if key_id not in after],
    }
    told: dict[str, list[str] | int] = {kind: ids[:_SHOWN] for kind, ids in found.items() if ids}
    return told | {f"{kind}_all": len(ids) for kind, ids in found.items() if len(ids) > _SHOWN}
