"""
Whose an event is. PURE.

The default tenant has no name on the wire: None here, and no field in a record. So a fleet without tenants writes what it always
wrote. An id is its tenant's own: the same identity in two tenants is two events.
"""

import re

from typing import Annotated, Final

from pydantic import AfterValidator

DEFAULT: Final = "default"
"""What people call the tenant of events without one."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
NO_NAME: Final = "must be the name of a tenant: 1 to 63 of a to z, 0 to 9, - and _, and no - or _ in front"
# No id of a client's has it, as U+0000 is refused.
_BORDER: Final = "\0"


def tenant_of(name: str | None) -> str | None:
    """
    Return the tenant of a name, None for the default one.

    Raises:
        ValueError: It can be none; says what to change.
    """
    if name is None or name == DEFAULT:
        return None
    if _NAME.fullmatch(name) is None:
        raise ValueError(NO_NAME)
    return name


def kafka_key(tenant: str | None, correlation_id: str) -> str:
    """Return the key of an event's record, which says its partition: that of a tenant's own is in no other tenant."""
    return correlation_id if tenant is None else f"{tenant}{_BORDER}{correlation_id}"


def tenant_of_key(key: bytes | None) -> str | None:
    """Return the tenant that a record's key names: whose it is where its value cannot be read."""
    name, border, _ = (key or b"").partition(_BORDER.encode())
    return name.decode(errors="replace") if border else None


Tenant = Annotated[str | None, AfterValidator(tenant_of)]
