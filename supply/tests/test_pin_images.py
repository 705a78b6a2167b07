import os

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

import pytest

from hypothesis import given, settings
from hypothesis import strategies as st

from supply.images import FILES, ROOT, Image, named, pinned
from supply.pin_images import main
from supply.registry import RegistryError, current_digest
from supply.tests.fake_registry import Registry, serving

pytestmark = pytest.mark.real_time


@pytest.fixture(name="registry")
def a_registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


@pytest.fixture(name="checkout")
def a_checkout(registry: Registry, tmp_path: Path) -> Path:
    """Return a checkout whose images are all in the fake registry."""
    for file in FILES:
        target = tmp_path / file
        target.parent.mkdir(exist_ok=True)
        text = (ROOT / file).read_text()
        for image in set(named(text)):
            ours = f"{image.repository}:{image.tag}"
            text = text.replace(image.name, f"{registry.host}/{ours}")
            registry.put(ours, image.name)
        target.write_text(pinned(text, {}))
    return tmp_path


def contents(checkout: Path) -> dict[str, str]:
    return {file: (checkout / file).read_text() for file in FILES}


def pin(checkout: Path, *options: str) -> int:
    return main([*options, "--root", str(checkout)])


def test_each_image_gets_the_digest_of_its_tag_and_keeps_the_tag(registry: Registry, checkout: Path) -> None:
    before = contents(checkout)

    assert pin(checkout) == 0

    for file, text in contents(checkout).items():
        assert [image.name for image in named(text)] == [image.name for image in named(before[file])]
        for image in named(text):
            assert image.digest == current_digest(Image(image.name))
        assert pinned(text, {}) == before[file], "nothing but digests may change"
    assert len(registry.tags) == len({image.name for text in before.values() for image in named(text)})


def test_a_moved_tag_gets_its_new_digest_and_an_unmoved_one_stays(
    registry: Registry, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(checkout)
    redis = next(name for name in registry.tags if name.startswith("library/redis:"))
    digest = registry.put(redis, "of tomorrow")
    capsys.readouterr()

    assert pin(checkout) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("same ")] == [f"renewed  {registry.host}/{redis}@{digest}"]
    assert f"{redis}@{digest}" in (checkout / "docker-compose.yml").read_text()


def test_digests_can_be_taken_away_again_without_a_registry(checkout: Path, registry: Registry) -> None:
    before = contents(checkout)
    pin(checkout)
    registry.asked.clear()

    assert pin(checkout, "--undo") == 0

    assert contents(checkout) == before
    assert registry.asked == []


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (HTTPStatus.TOO_MANY_REQUESTS, "was asked too often"),
        (HTTPStatus.FORBIDDEN, "refuses to tell"),
        (HTTPStatus.BAD_GATEWAY, "answers 502"),
    ],
)
def test_a_registry_that_gives_no_digest_is_named_and_nothing_changes(
    status: HTTPStatus, told: str, registry: Registry, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(checkout)
    registry.status = status

    assert pin(checkout) == 1

    said = capsys.readouterr().err
    assert f"{registry.host} {told}" in said
    assert "Nothing was changed" in said
    assert contents(checkout) == before


def test_one_missing_tag_leaves_all_files_as_they_are(
    registry: Registry, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(checkout)
    gone = max(registry.tags)
    del registry.tags[gone]

    assert pin(checkout) == 1

    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"{registry.host}/{gone}: {registry.host} has no such image or tag"
    assert len(said) == 2
    assert contents(checkout) == before


def test_a_registry_that_cannot_be_reached_is_told_and_nothing_changes(
    registry: Registry, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(checkout)
    registry.shutdown()
    registry.server_close()

    assert pin(checkout) == 1

    assert f"{registry.host} cannot be reached" in capsys.readouterr().err
    assert contents(checkout) == before


def test_a_full_disk_changes_no_file(checkout: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
    before = contents(checkout)
    write = Path.write_text

    def write_some(path: Path, text: str) -> int:
        if path.name == "docker-compose.yml.new":
            raise OSError(28, os.strerror(28))
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", write_some)
    with pytest.raises(OSError, match="No space"):
        pin(checkout)

    assert contents(checkout) == before


# ---------------------------------------------------------------- the protocol


@pytest.mark.parametrize("tells_digest", [True, False])
@pytest.mark.parametrize("wants", ["Bearer", None])
def test_a_digest_is_had_with_and_without_a_token_and_its_header(
    *, tells_digest: bool, wants: str | None, registry: Registry
) -> None:
    registry.tells_digest, registry.wants = tells_digest, wants
    digest = registry.put("some/where/app:1.2", "something")

    assert current_digest(Image(f"{registry.host}/some/where/app:1.2")) == digest
    # An index is small, but a registry counts each GET as a pull.
    assert [asked.split()[0] for asked in registry.asked].count("GET") == (0 if tells_digest else 1)


def test_a_registry_that_wants_a_password_is_named(registry: Registry) -> None:
    registry.wants = "Basic"

    with pytest.raises(RegistryError, match="only public images can be pinned"):
        current_digest(Image(f"{registry.host}/private:1"))


def test_a_registry_of_this_machine_is_asked_without_a_proxy(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    digest = registry.put("app:1", "something")

    assert current_digest(Image(f"{registry.host}/app:1")) == digest


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "registry", "repository", "tag"),
    [
        ("redis:8.10.1-trixie", "docker.io", "library/redis", "8.10.1-trixie"),
        ("apache/kafka:4.3.0", "docker.io", "apache/kafka", "4.3.0"),
        ("quay.io/a/b:v1", "quay.io", "a/b", "v1"),
        ("127.0.0.1:5000/app:1", "127.0.0.1:5000", "app", "1"),
        ("localhost/app:1", "localhost", "app", "1"),
    ],
)
def test_a_name_says_which_registry_has_it(name: str, registry: str, repository: str, tag: str) -> None:
    image = Image(name)

    assert (image.registry, image.repository, image.tag) == (registry, repository, tag)


DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)


TEXTS: Final = [pinned((ROOT / file).read_text(), {}) for file in FILES]


@settings(deadline=None)
@given(st.data())
def test_whatever_is_pinned_can_be_read_and_undone(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    names = sorted({image.name for image in named(text)})
    digests = data.draw(st.dictionaries(st.sampled_from(names), DIGESTS))

    written = pinned(text, digests)

    assert [image.name for image in named(written)] == [image.name for image in named(text)]
    assert {image.name: image.digest for image in named(written) if image.digest} == digests
    assert pinned(written, {}) == text


def test_what_is_built_here_is_no_image_of_a_registry() -> None:
    text = "FROM python:3 AS app\nCOPY --from=app /a /b\nFROM app AS more\n  image: ${NAME:-x}/app\n  image: own\n"

    assert [image.name for image in named(text)] == ["python:3"]
