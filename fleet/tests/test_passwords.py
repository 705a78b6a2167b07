"""The passwords of a compose fleet: made once, and given to the service that needs them."""

import json
import stat

from pathlib import Path

import pytest

from fleet.jobs import passwords
from fleet.jobs.passwords import KEY_PLACE, NAMES, PLACE, hand_out
from shared.access.key_file import ring_of
from shared.access.scopes import Scope

TEMPLATE = f"password: {PLACE}\n"


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_they_are_made_once_and_none_is_like_another(tmp_path: Path) -> None:
    hand_out(tmp_path, TEMPLATE)
    first = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    hand_out(tmp_path, TEMPLATE)

    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == first
    made = [(tmp_path / "all" / name).read_text() for name in NAMES]
    assert len(set(made)) == len(NAMES)
    assert min(map(len, made)) >= 43


def test_a_share_follows_what_was_changed_and_is_for_reading_only(tmp_path: Path) -> None:
    hand_out(tmp_path, TEMPLATE)
    (tmp_path / "all/exporter").write_text("changed")
    (tmp_path / "all/grafana_reader").unlink()
    hand_out(tmp_path, TEMPLATE)

    assert (tmp_path / "postgres-exporter/exporter").read_text() == "changed"
    assert "exporter=changed" in (tmp_path / "schema/role_passwords").read_text()
    reader = (tmp_path / "all/grafana_reader").read_text()
    assert (tmp_path / "grafana/fleet.yml").read_text() == f"password: {reader}\n"
    assert set(modes(tmp_path / "all").values()) == {0o600}
    assert set(modes(tmp_path / "grafana").values()) == {0o444}


def test_redis_knows_passwords_by_their_hash_and_refuses_who_has_no_name(tmp_path: Path) -> None:
    hand_out(tmp_path, TEMPLATE)
    users = (tmp_path / "redis/users.acl").read_text()

    assert users.startswith("user default off\n")
    assert not [name for name in NAMES if (tmp_path / "all" / name).read_text() in users]
    given = json.loads((tmp_path / "redis-exporter/passwords.json").read_text())
    assert set(given.values()) == {(tmp_path / "all/redis_exporter").read_text()}
    # The addresses of an open fleet and of a secured one.
    assert {"redis://redis:6379", "rediss://redis:6379"} <= given.keys()


@pytest.mark.parametrize("security", ["open", "on"])
def test_a_fleet_that_asks_for_keys_has_two_from_the_first_start_on(
    security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").mkdir()
    template = tmp_path / "template"
    template.write_text(f"password: {PLACE}\nkey: {KEY_PLACE}\n")
    file, secrets = tmp_path / "keys/keys.json", tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setenv("FLEET_SECURITY", security)
    mark = tmp_path / "marks/secured-a"
    mark.parent.mkdir()
    mark.touch()
    command = ["passwords", str(secrets), str(template), "--keys", str(file), "--marks", str(mark.parent)]
    monkeypatch.setattr("sys.argv", command)

    passwords.main()
    first = file.read_bytes() if file.exists() else None
    passwords.main()
    handed_out = (secrets / "grafana/fleet.yml").read_text().splitlines()[1]

    # Kafka's data is of a secured fleet until an open one has it.
    assert mark.exists() == (security == "on")
    if security == "open":
        assert (first, handed_out) == (None, "key: ")
        return
    assert file.read_bytes() == first
    assert first is not None
    key = (secrets / "all/key-read").read_text().strip()
    pepper = (secrets / "gateway/keys_pepper").read_bytes()
    assert ring_of(first, pepper).verify(key, 2e9).scopes == {Scope.READ}
    assert (secrets / "console/keys_pepper").read_bytes() == pepper
    assert handed_out == f"key: {key}"
    # Users of containers read it.
    assert modes(tmp_path / "keys")["keys.json"] == 0o644
