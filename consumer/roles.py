"""
Who may log in to PostgreSQL, and as what: one role a service, none of them a superuser or the owner of a table.

Pure: statements to run, and what PostgreSQL keeps of a password. `adapters/postgres_roles.py` runs them, and `grants.sql` says
what each role may do with the tables.
"""

import base64
import hashlib
import hmac
import re
import secrets

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

ADMIN: Final = "postgres"
OWNER: Final = "logs_owner"
MIGRATOR: Final = "logs_migrator"
# Of earlier releases; each of its users has a role of its own now.
OUTDATED: Final = "logs_reader"
_SCRAM: Final = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
_ITERATIONS: Final = 4096
_SALT_BYTES: Final = 16
# A session changes the first three if it likes. The others are the superuser's alone to change: the disk keeps its room, and what a
# reader asks for long is logged.
_READS: Final = {
    "default_transaction_read_only": "on",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "temp_file_limit": "256MB",
    "log_min_duration_statement": "10s",
}


@dataclass(frozen=True, slots=True)
class Login:
    """
    A role that logs in with a password.

    Attributes:
        name: Of the role, and of the file with its password.
        connections: How many it may have at once. All of them together leave room for the superuser.
        settings: What its sessions begin with.
        member_of: PostgreSQL's own roles that it needs.
    """

    name: str
    connections: int
    settings: Mapping[str, str] = field(default_factory=dict)
    member_of: tuple[str, ...] = ()


# People search for longer than a dashboard, think, and sort what they find.
_OF_PEOPLE: Final = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "30min", "temp_file_limit": "4GB"}
PEOPLE: Final = Login("logs", 20, _READS | _OF_PEOPLE)
LOGINS: Final = (
    PEOPLE,
    # A dozen of them, three connections each, and one that archives.
    Login("logs_consumer", 38),
    Login("logs_api", 12, _READS),
    Login("grafana_reader", 5, _READS),
    Login("exporter", 5, _READS, member_of=("pg_monitor",)),
)
SERVICES: Final = tuple(login.name for login in LOGINS if login is not PEOPLE)


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """
    Return what PostgreSQL keeps of a password (RFC 5803), so that the password itself stays out of its log and statistics.

    Args:
        password: ASCII; SASLprep changes nothing of it.
        salt: A new one by default.
    """
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    return _verifier(password, salt, _ITERATIONS)


def _verifier(password: str, salt: bytes, iterations: int) -> str:
    if not password.isascii():
        raise ValueError("a password of PostgreSQL must be ASCII here")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    coded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{coded[0]}${coded[1]}:{coded[2]}"


def is_of(password: str, kept: str | None) -> bool:
    """Tell whether PostgreSQL keeps this of that password."""
    found = _SCRAM.fullmatch(kept or "")
    if found is None:
        return False
    ours = _verifier(password, base64.b64decode(found[2]), int(found[1]))
    return hmac.compare_digest(ours, found[0])


def statements(kept: Mapping[str, str | None], passwords: Mapping[str, str], database: str) -> Iterator[str]:
    """
    Yield what makes the roles as they should be; of a database where they are, nothing of it changes anything.

    Args:
        kept: The roles that there are, each with what PostgreSQL keeps of its password.
        passwords: By role. One that has none here keeps the one it has.
        database: The one that they may connect to.
    """
    if OWNER not in kept:
        yield f"CREATE ROLE {OWNER} NOLOGIN"
    if MIGRATOR not in kept:
        yield f"CREATE ROLE {MIGRATOR} LOGIN"
    # Without a password: it comes in through the socket alone.
    yield f"ALTER ROLE {MIGRATOR} {_LESSER} CONNECTION LIMIT 4 PASSWORD NULL"
    yield f"GRANT {OWNER} TO {MIGRATOR}"
    # A migration names the session that is in its way.
    yield f"GRANT pg_read_all_stats TO {OWNER}"
    for login in LOGINS:
        if login.name not in kept:
            yield f"CREATE ROLE {login.name} LOGIN"
        yield f"ALTER ROLE {login.name} LOGIN {_LESSER} CONNECTION LIMIT {login.connections}"
        for name, value in login.settings.items():
            yield f"ALTER ROLE {login.name} SET {name} = '{value}'"
        for group in login.member_of:
            yield f"GRANT {group} TO {login.name}"
        password = passwords.get(login.name)
        if password and not is_of(password, kept.get(login.name)):
            yield f"ALTER ROLE {login.name} PASSWORD '{scram_verifier(password)}'"
    quoted = '"' + database.replace('"', '""') + '"'
    yield f"ALTER DATABASE {quoted} OWNER TO {OWNER}"
    yield f"REVOKE ALL ON DATABASE {quoted} FROM PUBLIC"
    yield f"GRANT CONNECT ON DATABASE {quoted} TO {', '.join([MIGRATOR, *(login.name for login in LOGINS)])}"
    yield f"GRANT TEMPORARY ON DATABASE {quoted} TO logs_consumer"
    # An earlier release's restore made it anew, and who owns it may drop it with all that is in it.
    yield "ALTER SCHEMA public OWNER TO pg_database_owner"
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"


_LESSER: Final = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
