"""Whose rows a session reads: what PostgreSQL is told of it. PURE."""

from typing import Final

NO_TENANT: Final = -1
"""The number of a tenant that has none, as it has no events: it finds no rows."""
WHOSE: Final = """
    SELECT id, coalesce((SELECT tenant_id FROM tenants WHERE name = $1), -1), (SELECT count(*) FROM tenants) FROM store_identity
"""
NUMBER: Final = "SELECT coalesce((SELECT tenant_id FROM tenants WHERE name = $1), -1)"


def as_tenant(number: int) -> str:
    """Return what names the tenant to view `tenant_logs`, until the transaction ends."""
    return f"SET LOCAL app.tenant = '{number:d}'"
