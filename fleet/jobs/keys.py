"""
`python -m fleet.jobs.keys --file FILE --pepper-file FILE VERB`: make, show and end the keys of a fleet; `./setup.sh key` calls it.

Services read the file again within a second. It is replaced at once, so none of them ever sees half of it.
"""

import argparse
import fcntl
import os
import re
import secrets
import stat
import sys
import time

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from math import inf, isinf
from pathlib import Path
from typing import Final

from shared.access.key_file import KeyFileError, read_keys, write_keys
from shared.access.keys import StoredKey, day_of, digest, id_of, new_key
from shared.access.principal import DEFAULT_TENANT, Principal, is_tenant
from shared.access.scopes import Scope, scopes_of

FIRST: Final = (Scope.WRITE, Scope.READ)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_MIN_PEPPER_CHARS: Final = 32
_DAY_S: Final = 86400
_SHOWN: Final = "{:<11} {:<20} {:<16} {:<18} {}"


class KeysError(Exception):
    """What was asked for cannot be done; the message says why."""


class KeyBook:
    """
    The key file.

    Args:
        path: Where it is.
        pepper: What keys are hashed with.
    """

    def __init__(self, path: Path, pepper: str) -> None:
        self._path = path
        self._pepper = pepper.encode()

    def first(self, folder: Path, now: float) -> None:
        """Make two keys, in files of `folder`, if there is no key file yet."""
        with self._locked():
            if self._path.exists():
                return
            made = []
            for scope in FIRST:
                key, stored = self._make(f"key-{scope}", frozenset({scope}), now)
                _put(folder / f"key-{scope}", f"{key}\n".encode(), 0o600)
                made.append(stored)
            self._write(made)

    def new(self, tenant: str, name: str, scopes: frozenset[Scope], now: float, **facts: object) -> str:
        """Make a key, and return it: nothing can show it again."""
        key, stored = self._make(name, scopes, now)
        principal = replace(stored.principal, tenant=tenant)
        with self._locked():
            self._write([*self.keys(), replace(stored, principal=principal, **facts)])  # type: ignore[arg-type]
        return key

    def revoke(self, key_id: str, now: float) -> None:
        """Let a key be good for nothing from now on."""
        with self._locked():
            keys = self.keys()
            place = _place(keys, key_id)
            if keys[place].revoked is None:
                keys[place] = replace(keys[place], revoked=now)
                self._write(keys)

    def rotate(self, key_id: str, overlap_s: float, now: float) -> str:
        """Make a key that may do what another one may, and let that one end after a time; return the new one."""
        with self._locked():
            keys = self.keys()
            place = _place(keys, key_id)
            old = keys[place]
            if old.revoked is not None or old.expires <= now:
                raise KeysError(f"key {key_id} is no longer good: make a new one with ./setup.sh key new")
            key, stored = self._make(old.name, old.principal.scopes, now)
            lasts_s = old.expires - old.created
            new = replace(
                stored,
                principal=replace(stored.principal, tenant=old.principal.tenant),
                networks=old.networks,
                expires=inf if isinf(lasts_s) else now + lasts_s,
            )
            keys[place] = replace(old, expires=min(old.expires, now + overlap_s))
            self._write([*keys, new])
        return key

    def keys(self) -> list[StoredKey]:
        """
        Return all keys.

        Raises:
            KeysError: The file cannot be used.
        """
        try:
            return read_keys(self._path.read_bytes())
        except (OSError, KeyFileError) as exc:
            raise KeysError(f"{self._path} cannot be used: {getattr(exc, 'strerror', None) or exc}") from exc

    def _make(self, name: str, scopes: frozenset[Scope], now: float) -> tuple[str, StoredKey]:
        key = new_key(secrets.token_bytes)
        key_id = id_of(key) or ""
        return key, StoredKey(Principal(key_id, DEFAULT_TENANT, scopes), digest(key, self._pepper), name, created=now)

    def _write(self, keys: Sequence[StoredKey]) -> None:
        # Services may be another user, of the folder's group; in containers, any.
        seen_by = self._path.parent.stat()
        _put(self._path, write_keys(keys), 0o600 | (stat.S_IMODE(seen_by.st_mode) & 0o044), seen_by.st_gid)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._path.with_name(f"{self._path.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _place(keys: Sequence[StoredKey], key_id: str) -> int:
    for place, key in enumerate(keys):
        if key.principal.key_id == key_id:
            return place
    raise KeysError(f"there is no key {key_id}; ./setup.sh key list shows all")


def _put(path: Path, text: bytes, mode: int, group: int | None = None) -> None:
    """Write a file at once."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_bytes(text)
    if group is not None and new.stat().st_gid != group:
        os.chown(new, -1, group)
    new.chmod(mode)
    new.replace(path)


def listed(keys: Sequence[StoredKey], now: float) -> Iterator[str]:
    """Yield a line a key, and a head."""
    yield _SHOWN.format("ID", "NAME", "TENANT", "SCOPES", "STATE")
    for key in keys:
        who = key.principal
        scopes = ",".join(scope.value for scope in Scope if scope in who.scopes)
        yield _SHOWN.format(who.key_id, key.name, who.tenant, scopes, state_of(key, now))


def state_of(key: StoredKey, now: float) -> str:
    """Say whether a key is good, and until when."""
    if key.revoked is not None:
        return f"revoked {day_of(key.revoked)}"
    if key.expires <= now:
        return f"expired {day_of(key.expires)}"
    if now < key.not_before:
        return f"good from {day_of(key.not_before)}"
    return "good" if isinf(key.expires) else f"good until {day_of(key.expires)}"


def span_s(text: str) -> float:
    """Read a length of time, like 90d."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time: write it like 90d, 12h, 30m or 45s")
    return float(int(found[1]) * _SECONDS[found[2]])


def _scopes(text: str) -> frozenset[Scope]:
    try:
        return scopes_of(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _tenant(text: str) -> str:
    if not is_tenant(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a tenant: up to 63 of a to z, 0 to 9, - and _, the first one a letter or digit"
        )
    return text


def _name(text: str) -> str:
    if not text.isprintable() or not 0 < len(text) <= 200:  # noqa: PLR2004 - as the file's form has it
        raise argparse.ArgumentTypeError("a NAME has 1 to 200 characters that can be printed")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./setup.sh key", usage="./setup.sh key VERB …", add_help=False)
    parser.add_argument("--file", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--pepper-file", type=Path, required=True, help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("first")
    first.add_argument("folder", type=Path)
    new = verbs.add_parser("new", prog="./setup.sh key new")
    new.add_argument("name", type=_name, metavar="NAME")
    new.add_argument(
        "--scope",
        type=_scopes,
        action="append",
        required=True,
        help="write, read, ops, admin; several with commas, or one by one",
    )
    new.add_argument("--tenant", type=_tenant, default=DEFAULT_TENANT)
    new.add_argument("--expires", type=span_s, default=inf, metavar="90d")
    new.add_argument("--address", type=ip_network, action="append", default=[], metavar="192.0.2.0/24")
    verbs.add_parser("list", prog="./setup.sh key list")
    revoke = verbs.add_parser("revoke", prog="./setup.sh key revoke")
    revoke.add_argument("id", metavar="ID")
    rotate = verbs.add_parser("rotate", prog="./setup.sh key rotate")
    rotate.add_argument("id", metavar="ID")
    rotate.add_argument("--overlap", type=span_s, default=7.0 * _DAY_S, metavar="7d")
    return parser


def run(arguments: Sequence[str], now: float) -> Iterator[str]:
    """
    Do what is asked, and yield what is to be printed.

    Raises:
        KeysError: It cannot be done.
    """
    given = _parser().parse_args(arguments)
    try:
        pepper = given.pepper_file.read_text().strip()
    except OSError as exc:
        raise KeysError(f"{given.pepper_file} cannot be read: {exc.strerror}") from exc
    if len(pepper) < _MIN_PEPPER_CHARS:
        raise KeysError(f"{given.pepper_file} must hold {_MIN_PEPPER_CHARS} characters at least")
    book = KeyBook(given.file, pepper)
    match given.verb:
        case "first":
            book.first(given.folder, now)
        case "new":
            facts = {"expires": now + given.expires, "networks": tuple(given.address)}
            yield book.new(given.tenant, given.name, frozenset().union(*given.scope), now, **facts)
        case "list":
            yield from listed(book.keys(), now)
        case "revoke":
            book.revoke(given.id, now)
        case _:
            yield book.rotate(given.id, given.overlap, now)


def main() -> int:
    """Run once."""
    try:
        for line in run(sys.argv[1:], time.time()):
            sys.stdout.write(f"{line}\n")
    except KeysError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
