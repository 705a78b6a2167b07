import pytest

from consumer.settings import ConsumerSettings
from shared.process.settings import SettingsError


@pytest.fixture(autouse=True)
def _required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_REGION", "region-a")
    monkeypatch.setenv("CONSUMER_REGIONS", "region-a,region-b")


def test_nothing_is_dropped_and_nothing_archived_unless_it_is_asked_for() -> None:
    settings = ConsumerSettings.read()

    assert (settings.retention_days, settings.archive_dir) == (0, "none")


@pytest.mark.parametrize("folder", ["archives", "./archives", ""])
def test_a_folder_that_depends_on_where_the_process_was_started_is_refused(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_ARCHIVE_DIR", folder)
    with pytest.raises(SettingsError, match=r"APP_ARCHIVE_DIR.* absolute path of a folder, like /var/archives"):
        ConsumerSettings.read()


def test_a_disk_that_is_missing_is_no_reason_not_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ARCHIVE_DIR", "/nowhere/archives")
    assert ConsumerSettings.read().archive_dir == "/nowhere/archives"


def test_without_the_extra_a_folder_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ARCHIVE_DIR", "/archives")
    monkeypatch.setattr("consumer.settings.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install \.\[archive\]"):
        ConsumerSettings.read()


@pytest.mark.parametrize("days", ["-1", "1.5", "all"])
def test_a_retention_that_is_no_number_of_days_is_refused(days: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_RETENTION_DAYS", days)
    with pytest.raises(SettingsError, match="APP_RETENTION_DAYS"):
        ConsumerSettings.read()
