"""When the one-shot of access lists takes MirrorMaker's notes for those of a fleet that was open."""

from pathlib import Path

import pytest

from aiokafka.errors import TopicAuthorizationFailedError

from fleet.jobs import acls
from fleet.jobs.acls import AclSettings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What Kafka is asked for: whether the notes go."""
    orders: list[bool] = []

    async def noted(_settings: AclSettings, *, from_open: bool = False) -> None:
        orders.append(from_open)

    monkeypatch.setattr(acls, "wait_and_ensure", noted)
    monkeypatch.setenv("ACLS_REGION", "region-a")
    monkeypatch.setenv("ACLS_REGIONS", "region-a,region-b")
    return orders


def test_the_notes_of_an_open_fleet_go_once(asked: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "secured-a"
    monkeypatch.setattr("sys.argv", ["acls", "--mark", str(mark)])
    for _ in range(2):
        assert acls.main() == 0
    # An open fleet takes the mark away.
    mark.unlink()
    acls.main()

    assert asked == [True, False, True]
    assert mark.exists()


def test_there_is_no_mark_before_the_list_is_there(
    asked: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_settings: AclSettings, *, from_open: bool = False) -> None:
        asked.append(from_open)
        raise TopicAuthorizationFailedError

    monkeypatch.setattr(acls, "wait_and_ensure", refused)
    monkeypatch.setattr("sys.argv", ["acls", "--mark", str(tmp_path / "secured-a")])

    assert acls.main() == 1
    assert asked == [True]
    assert not (tmp_path / "secured-a").exists()
