"""The passwords of a compose fleet: made once, and given to the service that needs them."""

import json
import stat

from pathlib import Path

from fleet.jobs.passwords import NAMES, PLACE, hand_out

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
