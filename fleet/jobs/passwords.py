"""
`python -m fleet.jobs.passwords FOLDER DATASOURCES`: make the passwords by which the parts of a compose fleet know each other.

They are made once, and kept in `FOLDER/all`. Each service gets what it needs in `FOLDER/SERVICE`, a volume that no other service
mounts, so every user of its container may read it. Grafana reads its password in the file of its data sources, of which
DATASOURCES is the template. Native mode has the same in native/secrets.sh.
"""

import argparse
import hashlib
import json
import os
import secrets
import sys
import time

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from fleet.jobs.keys import KeyBook

ROLES: Final = ("logs_consumer", "logs_api", "grafana_reader", "exporter")
NAMES: Final = (
    *ROLES,
    "redis_consumer",
    "redis_exporter",
    "redis_admin",
    "grafana_secret_key",
    "postgres_first",
    "keys_pepper",
)
# As in native/templates/redis.conf. Keys that a script reads are looked at as well. The exporter counts, and reads no key.
REDIS_USERS: Final = {
    "consumer": "resetchannels ~ids* -@all +get +set +eval +evalsha +script|load +ping +hello +client|setname",
    "exporter": "resetchannels -@all +info +ping +config|get +client|list +client|setname +slowlog|len +slowlog|get +latency|latest +latency|histogram",
    "admin": "~* &* +@all",
}
# In the template.
PLACE: Final = "$FLEET_POSTGRES_PASSWORD"
KEY_PLACE: Final = "$FLEET_CONSOLE_KEY"
_BYTES: Final = 32


def learn(folder: Path) -> Mapping[str, str]:
    """Return all passwords by name; those that are missing are made."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return {name: _learn(folder / name) for name in NAMES}


def _learn(file: Path) -> str:
    known = file.read_text() if file.exists() else ""
    if not known:
        known = secrets.token_urlsafe(_BYTES)
        _put(file, known, 0o600)
    return known


def redis_users(passwords: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of Redis' list of users. It knows a password by its hash."""
    yield "user default off"
    for user, rights in REDIS_USERS.items():
        yield f"user {user} on #{hashlib.sha256(passwords[f'redis_{user}'].encode()).hexdigest()} {rights}"


def shares(passwords: Mapping[str, str], datasources: str, key: str = "") -> Mapping[str, Mapping[str, str]]:
    """Return for each service its files."""
    of_redis = passwords["redis_exporter"]
    return {
        "consumer": {name: passwords[name] for name in ("logs_consumer", "redis_consumer")},
        "gateway": {"keys_pepper": passwords["keys_pepper"]},
        "console": {name: passwords[name] for name in ("logs_api", "keys_pepper")},
        "schema": {"role_passwords": ",".join(f"{role}={passwords[role]}" for role in ROLES)},
        "postgres": {"postgres_first": passwords["postgres_first"]},
        "grafana": {
            "grafana_secret_key": passwords["grafana_secret_key"],
            "fleet.yml": datasources.replace(PLACE, passwords["grafana_reader"]).replace(KEY_PLACE, key),
        },
        "postgres-exporter": {"exporter": passwords["exporter"]},
        "redis": {"users.acl": "".join(f"{line}\n" for line in redis_users(passwords))},
        # By address, as it was given and as the exporter completes it.
        "redis-exporter": {
            "passwords.json": json.dumps(
                {
                    f"{scheme}://{user}redis:6379": of_redis
                    for scheme in ("redis", "rediss")
                    for user in ("", "exporter@")
                }
            )
        },
    }


def hand_out(folder: Path, datasources: str) -> None:
    """Make what is missing, and give each service its share."""
    key = folder / "all/key-read"
    known = learn(folder / "all")
    for service, files in shares(known, datasources, key.read_text().strip() if key.exists() else "").items():
        (folder / service).mkdir(mode=0o755, exist_ok=True)
        for name, text in files.items():
            file = folder / service / name
            if not file.exists() or file.read_text() != text:
                _put(file, text, 0o444)


def _put(file: Path, text: str, mode: int) -> None:
    """Write it at once: a service that starts meanwhile finds all of it or what was there before."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    new.chmod(mode)
    new.replace(file)


def main() -> int:
    """Run once."""
    arguments = argparse.ArgumentParser(prog="python -m fleet.jobs.passwords")
    arguments.add_argument("folder", type=Path, metavar="FOLDER")
    arguments.add_argument("datasources", type=Path, metavar="DATASOURCES")
    arguments.add_argument("--keys", type=Path, metavar="FILE", default=Path("/keys/keys.json"))
    arguments.add_argument("--marks", type=Path, metavar="FOLDER", default=Path("/marks"))
    given = arguments.parse_args()
    if os.environ.get("FLEET_SECURITY") == "on":
        pepper = learn(given.folder / "all")["keys_pepper"]
        KeyBook(given.keys, pepper).first(given.folder / "all", time.time())
    else:
        # From now on Kafka's data is of an open fleet; see fleet/jobs/acls.py.
        for mark in given.marks.glob("*"):
            mark.unlink()
    hand_out(given.folder, given.datasources.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
