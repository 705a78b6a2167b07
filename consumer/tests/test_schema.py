"""`python -m consumer.schema`: what it makes of its settings. What it makes of a database is in integration-tests."""

import pytest

from consumer.schema import SchemaSettings
from shared.process.settings import SettingsError


def test_passwords_are_read_by_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_ROLE_PASSWORDS", "logs_consumer=a-b_c,exporter=x=y")
    monkeypatch.setenv("POSTGRES_PASSWORD", "of people")

    assert SchemaSettings.read().passwords == {"logs_consumer": "a-b_c", "exporter": "x=y", "logs": "of people"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("logs_owner=x", "there is no role logs_owner"),
        ("logs_consumer", "must be written as NAME=PASSWORD"),
        ("exporter=é", "the password of exporter is not ASCII"),
    ],
)
def test_passwords_of_other_roles_are_refused(given: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_ROLE_PASSWORDS", given)

    with pytest.raises(SettingsError, match=sentence) as refused:
        SchemaSettings.read()
    assert "=x" not in str(refused.value)


def test_a_password_that_postgresql_cannot_be_given_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "größe")

    with pytest.raises(SettingsError, match="the password is not ASCII") as refused:
        SchemaSettings.read()
    assert "größe" not in str(refused.value)
