"""`./setup.sh key`: keys are made, shown, changed for others and ended, and services never see half a file."""

import stat

from pathlib import Path

import pytest

from fleet.jobs.keys import KeysError, run, span_s
from shared.access.key_file import ring_of
from shared.access.keys import KeyRefusedError, KeyRing
from shared.access.scopes import Scope

NOW = 1_795_700_000.0
DAY = 86_400.0
PEPPER = "p" * 43


class Setup:
    """The verbs, on files of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "keys").mkdir(mode=0o750)
        (folder / "pepper").write_text(f"{PEPPER}\n")
        self.file = folder / "keys/keys.json"

    def key(self, *arguments: str, now: float = NOW) -> list[str]:
        options = ["--file", str(self.file), "--pepper-file", str(self.folder / "pepper")]
        return list(run([*options, *arguments], now))

    @property
    def ring(self) -> KeyRing:
        return ring_of(self.file.read_bytes(), PEPPER.encode())

    def is_good(self, key: str, now: float = NOW) -> bool:
        try:
            self.ring.verify(key, now, "192.0.2.1")
        except KeyRefusedError:
            return False
        return True


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    made = Setup(tmp_path)
    made.key("first", str(tmp_path))
    return made


def test_the_first_start_makes_two_keys_and_later_ones_keep_them(setup: Setup) -> None:
    write, read = [(setup.folder / f"key-{scope}").read_text().strip() for scope in ("write", "read")]
    before = setup.file.read_bytes()
    setup.key("first", str(setup.folder))

    assert setup.file.read_bytes() == before
    assert setup.ring.verify(write, NOW).scopes == {Scope.WRITE}
    assert setup.ring.verify(read, NOW).scopes == {Scope.READ}
    assert stat.S_IMODE((setup.folder / "key-write").stat().st_mode) == 0o600
    assert stat.S_IMODE(setup.file.stat().st_mode) == 0o640
    assert write.encode() not in before


def test_a_new_key_is_good_until_it_expires_and_for_its_tenant(setup: Setup) -> None:
    [key] = setup.key("new", "shipper 1", "--scope", "write,ops", "--tenant", "acme", "--expires", "90d")
    who = setup.ring.verify(key, NOW)

    assert who.tenant == "acme"
    assert who.scopes == {Scope.WRITE, Scope.OPS}
    assert setup.is_good(key, NOW + 90 * DAY - 1)
    assert not setup.is_good(key, NOW + 90 * DAY)
    assert len(setup.ring) == 3


def test_scopes_that_are_named_one_by_one_are_all_there(setup: Setup) -> None:
    [key] = setup.key("new", "both", "--scope", "write", "--scope", "read,ops")

    assert setup.ring.verify(key, NOW).scopes == {Scope.WRITE, Scope.READ, Scope.OPS}


def test_the_list_shows_no_key(setup: Setup) -> None:
    [key] = setup.key("new", "shipper", "--scope", "write")
    lines = setup.key("list")

    assert lines[0].split() == ["ID", "NAME", "TENANT", "SCOPES", "STATE"]
    assert lines[-1].split() == [key[4:14], "shipper", "default", "write", "good"]
    assert key not in "".join(lines)


def test_a_revoked_key_is_good_for_nothing(setup: Setup) -> None:
    [key] = setup.key("new", "shipper", "--scope", "write")
    setup.key("revoke", key[4:14])
    once = setup.file.read_bytes()
    setup.key("revoke", key[4:14], now=NOW + DAY)

    assert not setup.is_good(key)
    assert setup.file.read_bytes() == once
    assert "revoked 2026-" in setup.key("list")[-1]


def test_a_rotated_key_and_its_successor_are_both_good_for_a_while(setup: Setup) -> None:
    [old] = setup.key(
        "new", "s", "--scope", "write", "--tenant", "acme", "--expires", "30d", "--address", "192.0.2.0/24"
    )
    [new] = setup.key("rotate", old[4:14], "--overlap", "2d", now=NOW + DAY)

    assert setup.ring.verify(new, NOW + DAY, "192.0.2.1").tenant == "acme"
    assert setup.is_good(old, NOW + 3 * DAY - 1)
    assert not setup.is_good(old, NOW + 3 * DAY)
    assert setup.is_good(new, NOW + 31 * DAY - 1)
    assert not setup.is_good(new, NOW + 31 * DAY)
    with pytest.raises(KeysError, match="no longer good"):
        setup.key("rotate", old[4:14], now=NOW + 4 * DAY)


def test_a_tenants_key_may_read(setup: Setup) -> None:
    [key] = setup.key("new", "s", "--scope", "write,read", "--tenant", "acme")

    assert setup.is_good(key, NOW)


def test_a_rotation_never_lets_a_key_live_longer(setup: Setup) -> None:
    [old] = setup.key("new", "s", "--scope", "read", "--expires", "1d")
    setup.key("rotate", old[4:14])

    assert not setup.is_good(old, NOW + DAY)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["new", "n"], "--scope"),
        (["new", "n", "--scope", "all"], "'all' is no scope"),
        (["new", "n", "--scope", "read", "--tenant", "A B"], "no name of a tenant"),
        (["new", "n", "--scope", "read", "--expires", "soon"], "write it like 90d"),
        (["new", "a\nb", "--scope", "read"], "can be printed"),
        (["nothing"], "invalid choice"),
    ],
)
def test_what_makes_no_sense_is_told(
    setup: Setup, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = setup.file.read_bytes()
    with pytest.raises(SystemExit):
        setup.key(*arguments)

    assert sentence in capsys.readouterr().err
    assert setup.file.read_bytes() == before


def test_what_cannot_be_done_is_told(setup: Setup) -> None:
    with pytest.raises(KeysError, match="there is no key abcdefghij"):
        setup.key("revoke", "abcdefghij")
    setup.file.write_bytes(b"{")
    with pytest.raises(KeysError, match="cannot be used"):
        setup.key("new", "n", "--scope", "read")
    assert setup.file.read_bytes() == b"{"


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("30m", 1800), ("12h", 43_200), ("90d", 90 * DAY)])
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert span_s(text) == seconds
