"""
Tenants in the table: a secret from which the ids of their events are made, and a number for each name.

Both are learned with a claim. A database that was set back may have given a number to another name meanwhile; who claimed it before
is refused, with all that it writes (`postgres_progress.py`).
"""

from collections.abc import Collection, Mapping

import asyncpg

_ADD = """
    INSERT INTO tenants (name) SELECT n.name FROM unnest($1::text[]) AS n (name)
    WHERE NOT EXISTS (SELECT FROM tenants AS t WHERE t.name = n.name) ORDER BY n.name
    ON CONFLICT (name) DO NOTHING
"""


class Tenants:
    """
    What one consumer knows of them.

    Attributes:
        numbers: By name; the default tenant, which is 0, has none here.
    """

    def __init__(self) -> None:
        self.numbers: Mapping[str, int] = {}

    async def learn(self, connection: asyncpg.Connection) -> bytes:
        """Take all numbers anew; return the secret."""
        secret: bytes = await connection.fetchval("SELECT secret FROM tenant_secret")
        await self._look(connection)
        return secret

    async def number(self, connection: asyncpg.Connection, names: Collection[str]) -> None:
        """Have numbers given to those that have none."""
        if new := [name for name in names if name not in self.numbers]:
            await connection.execute(_ADD, new)
            await self._look(connection)

    async def _look(self, connection: asyncpg.Connection) -> None:
        rows = await connection.fetch("SELECT name, tenant_id FROM tenants WHERE tenant_id > 0")
        # At once: another thread encodes rows meanwhile.
        self.numbers = {row["name"]: row["tenant_id"] for row in rows}
