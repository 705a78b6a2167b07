"""Settings that are secret: given as a value or as a file, and shown by nothing."""

from pathlib import Path

import pytest

from hypothesis import given
from hypothesis import strategies as st
from pydantic_settings import SettingsConfigDict

from shared.process import settings
from shared.process.settings import ServiceSettings, SettingsError, secret, with_password


class Guarded(ServiceSettings):
    """Settings with secrets."""

    model_config = SettingsConfigDict(env_prefix="TEST_", frozen=True)

    key: str = secret("", description="A key.")
    other: str = secret("", alias="OTHER_KEY", description="Read under a name of its own.")
    plain: str = "as usual"


def a_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("text", ["k e y", "k e y\n", "k e y\r\n"])
def test_a_secret_is_what_a_file_holds_without_the_line_break_at_its_end(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY_FILE", a_file(tmp_path, text))
    monkeypatch.setenv("OTHER_KEY_FILE", a_file(tmp_path, text))

    read = Guarded.read()

    assert (read.key, read.other, read.plain) == ("k e y", "k e y", "as usual")
    assert "k e y" not in repr(read)


def test_a_secret_that_is_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "hidden")
    monkeypatch.setenv("TEST_KEY_FILE", a_file(tmp_path, "hidden too"))

    with pytest.raises(SettingsError, match="TEST_KEY: is there, and TEST_KEY_FILE too; set one of them") as refused:
        Guarded.read()
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("k", 0o644, "every user may read .*: chmod 600 "),
        ("", 0o600, "must hold one line"),
        ("a\nb", 0o600, "must hold one line"),
        ("k\n\n", 0o600, "must hold one line"),
    ],
)
def test_a_file_that_is_no_secret_is_refused(
    text: str, mode: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY_FILE", a_file(tmp_path, text, mode))

    with pytest.raises(SettingsError, match=f"TEST_KEY_FILE: .*{sentence}"):
        Guarded.read()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY_FILE", str(tmp_path / "gone"))

    with pytest.raises(SettingsError, match=r"TEST_KEY_FILE: .* cannot be read: No such file"):
        Guarded.read()


def test_what_is_mounted_for_one_container_may_have_any_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SECRETS_OF_A_CONTAINER", tmp_path)
    monkeypatch.setenv("TEST_KEY_FILE", a_file(tmp_path, "k", 0o444))

    assert Guarded.read().key == "k"


def test_a_setting_that_is_no_secret_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PLAIN_FILE", a_file(tmp_path, "k"))

    assert Guarded.read().plain == "as usual"
    assert list(Guarded.read_from()) == [
        *("TEST_LOG_LEVEL", "TEST_KEY", "TEST_KEY_FILE", "OTHER_KEY", "OTHER_KEY_FILE", "TEST_PLAIN")
    ]


@given(st.text(min_size=1))
def test_a_password_in_a_url_is_quoted(password: str) -> None:
    url = with_password("postgresql://me:before@127.0.0.1:5432/logs?host=/a", password)

    begin, _, rest = url.removeprefix("postgresql://me:").partition("@")
    assert rest == "127.0.0.1:5432/logs?host=/a"
    assert set(begin).isdisjoint(":/?#[]")
    assert with_password(url, "") == url
