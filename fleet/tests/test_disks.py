"""The series about disks. Tests on the fleet check that both modes name the right disks."""

from pathlib import Path

import pytest

from prometheus_client import CollectorRegistry

from fleet.jobs.disks import Disks, DiskSettings
from shared.process.settings import SettingsError


def told(paths: dict[str, str]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Disks(paths))
    return registry


def test_a_disk_has_no_more_room_than_it_is_large(tmp_path: Path) -> None:
    registry = told({"postgres": str(tmp_path)})

    size = registry.get_sample_value("disk_size_bytes", {"disk": "postgres"})
    free = registry.get_sample_value("disk_free_bytes", {"disk": "postgres"})
    assert size is not None
    assert free is not None
    assert 0 <= free < size


def test_a_disk_that_cannot_be_asked_is_missing_and_hides_no_other(tmp_path: Path) -> None:
    registry = told({"gone": str(tmp_path / "nowhere"), "there": str(tmp_path)})

    assert registry.get_sample_value("disk_size_bytes", {"disk": "gone"}) is None
    assert registry.get_sample_value("disk_size_bytes", {"disk": "there"})


def test_paths_are_written_as_names_and_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISKS_PATHS", "postgres=/a/b, kafka-a=.run/data")

    assert DiskSettings.read().paths == {"postgres": "/a/b", "kafka-a": ".run/data"}


@pytest.mark.parametrize(("wrong", "said"), [("/a/b", "NAME=PATH"), ("a=/x,a=/y", "names a disk twice")])
def test_a_list_that_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str, said: str) -> None:
    monkeypatch.setenv("DISKS_PATHS", wrong)

    with pytest.raises(SettingsError, match=f"DISKS_PATHS: .*{said}"):
        DiskSettings.read()
