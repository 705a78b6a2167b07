"""How the clients of other make are installed and described, and how what they sent is compared; needs no server."""

import hashlib
import json
import re
import threading

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from runpy import run_path
from typing import Any
from xml.etree import ElementTree

import pytest

from clients import install
from clients.check import Stored, compare
from clients.install import KITS, PROGRAMS, InstallError, Kit, installed
from clients.table import CLIENTS, Client, Outcome, Then, Unheard
from testbed.proxy import Act
from testbed.running_fleet import ROOT

NOW = datetime(2026, 11, 27, 3, 0, 0, 123456, tzinfo=UTC)
SENT = {
    "number": 7,
    "service": "shop",
    "level": "WARN",
    "message": "record 7 of x",
    "trace": "ab" * 16,
    "time_ns": str(int(NOW.timestamp()) * 10**9 + 123456789),
    "attributes": {"number": 7, "ratio": 7.5, "flag": False, "place": "Zürich"},
}
ATTRIBUTES = {"number": 7, "ratio": Decimal("7.5"), "flag": False, "place": "Zürich", "host": "till-1"}


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], None]], Path]:
    """Return a function that offers a kit `toy`, and returns the file that it is made from."""
    monkeypatch.setenv("TEST_CLIENTS", str(tmp_path / "home"))
    lock = tmp_path / "toy.lock"
    lock.write_text("toy 1")

    def offer(make: Callable[[Path], None]) -> Path:
        monkeypatch.setattr(install, "KITS", {"toy": Kit("toy", [lock], make)})
        return lock

    return offer


def test_a_kit_that_many_ask_for_at_once_is_installed_once(offer: Callable[[Callable[[Path], None]], Path]) -> None:
    made: list[Path] = []
    all_there = threading.Barrier(4)

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("there")

    def ask(_: int) -> Path:
        all_there.wait()
        return installed("toy")

    offer(make)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(ask, range(4)))

    assert len(made) == 1
    [folder] = folders
    assert (folder / "file").read_text() == "there"
    assert installed("toy") == folder
    assert len(made) == 1


def test_a_kit_that_could_not_be_installed_leaves_nothing_and_is_tried_again(
    offer: Callable[[Callable[[Path], None]], Path],
) -> None:
    tries: list[int] = []

    def make(folder: Path) -> None:
        tries.append(1)
        (folder / "half").touch()
        if len(tries) == 1:
            raise InstallError("the registry does not answer")

    home = offer(make).parent / "home"
    with pytest.raises(InstallError, match="registry"):
        installed("toy")
    assert [path.name for path in home.iterdir()] == [".toy.lock"]

    assert (installed("toy") / "half").exists()


def test_a_kit_whose_lock_has_changed_is_another_one(offer: Callable[[Callable[[Path], None]], Path]) -> None:
    lock = offer(lambda _: None)
    before = installed("toy")
    lock.write_text("toy 2")

    assert installed("toy") != before
    assert before.exists(), "another checkout may still use it"


def test_a_jar_that_is_not_the_known_one_is_refused(tmp_path: Path) -> None:
    jars = {"good.jar": b"good", "changed.jar": b"changed", "unknown.jar": b"unknown"}
    for name, content in jars.items():
        (tmp_path / name).write_bytes(content)
    known = {"good.jar": b"good", "changed.jar": b"as it was", "missing.jar": b""}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in known.items())

    with pytest.raises(InstallError, match=r"^changed\.jar, missing\.jar, unknown\.jar: not as in SHA256SUMS"):
        install.compare(tmp_path, sums)


@pytest.mark.parametrize("client", [pytest.param(client, id=client.id) for client in CLIENTS])
def test_the_version_of_the_table_is_the_one_that_is_installed(client: Client) -> None:
    folder = {".py": "python", ".js": "javascript", "": "java"}[Path(client.program[0]).suffix]
    program = client.program[0] + (".java" if folder == "java" else "")
    assert (PROGRAMS / folder / program).is_file()
    assert client.kit in KITS

    # Of a package of the distribution, the distribution decides the version.
    assert "of Debian" in client.version or client.version in _versions(client.kit, folder)


def _versions(kit: str, folder: str) -> set[str]:
    if folder == "python":
        return set(re.findall(r"==(\S+)", (PROGRAMS / folder / f"{kit.removeprefix('python-')}.in").read_text()))
    if folder == "javascript":
        return set(json.loads((PROGRAMS / folder / "package.json").read_text())["dependencies"].values())
    return {
        node.text or "" for node in ElementTree.parse(PROGRAMS / folder / "pom.xml").iter() if "version" in node.tag
    }


def test_the_page_has_the_table_of_clients() -> None:
    made = run_path(str(ROOT / "docs/write_clients.py"))
    page = (ROOT / "docs/front-door.md").read_text()

    assert page.count(made["section"]()) == 1, "run: python docs/write_clients.py"
    assert made["page"](page) == page


def test_all_that_is_installed_has_a_checksum() -> None:
    for lock in (PROGRAMS / "python").glob("*.lock"):
        requirements = re.split(r"\n(?=\S)", lock.read_text().strip())
        assert all("==" in requirement and "--hash=sha256:" in requirement for requirement in requirements), lock
    packages = json.loads((PROGRAMS / "javascript/package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []
    assert "resolved" not in (PROGRAMS / "javascript/package-lock.json").read_text()


@pytest.mark.parametrize(
    ("reaction", "outcomes"),
    [
        (Then.AGAIN, dict.fromkeys(Act, Outcome.ONCE)),
        (Then.NEVER, dict.fromkeys(Act, Outcome.ONCE) | dict.fromkeys((Act.REFUSE, Act.RESET), Outcome.LOST)),
        (Then.MERGED, dict.fromkeys(Act, Outcome.ONCE) | dict.fromkeys((Act.SWALLOW, Act.HANG_UP), Outcome.TWICE)),
    ],
)
def test_what_becomes_of_records_follows_from_what_a_client_does(
    reaction: Then, outcomes: Mapping[Act, Outcome]
) -> None:
    client = replace(CLIENTS[0], unheard=Unheard(reaction, reaction, reaction))

    assert {act: client.outcome(act) for act in Act} == outcomes


def test_names_of_clients_are_their_own_and_can_be_part_of_a_services_name() -> None:
    names = [client.id for client in CLIENTS]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


def stored(**differently: Any) -> Stored:
    usual: dict[str, Any] = {
        "event_id": "1",
        "service": "shop",
        "level": "WARN",
        "message": "record 7 of x",
        "correlation_id": "ab" * 16,
        "time": NOW,
        "attributes": ATTRIBUTES,
    }
    return Stored(**(usual | differently))


def compared(*events: Stored, sent: Mapping[str, Any] = SENT) -> tuple[list[int], list[int], list[str]]:
    found = compare([sent], events, NOW, NOW + timedelta(seconds=1))
    return list(found.missing), list(found.twice), list(found.wrong)


def test_what_is_stored_as_it_was_sent_is_right_and_kafka_may_have_it_twice() -> None:
    assert compared(stored(), stored()) == ([], [], [])


def test_what_is_not_stored_is_missing() -> None:
    assert compared() == ([7], [], [])


def test_a_record_under_two_identities_is_doubled() -> None:
    for other in (stored(event_id="2"), stored(time=NOW + timedelta(seconds=1))):
        assert compared(stored(), other) == ([], [7], [])


def test_what_was_not_sent_is_told() -> None:
    missing, _, [sentence] = compared(stored(message="record 8 of x"))

    assert missing == [7]
    assert sentence.startswith("not sent: ")


@pytest.mark.parametrize(
    ("differently", "sentence"),
    [
        ({"service": "other"}, "service is 'other', not 'shop'"),
        ({"level": "INFO"}, "level is 'INFO', not 'WARN'"),
        ({"message": "record 7 of x\n"}, r"message is 'record 7 of x\n', not 'record 7 of x'"),
        ({"correlation_id": "c"}, f"trace is 'c', not '{'ab' * 16}'"),
        (
            {"time": NOW.replace(microsecond=0)},
            "time is 2026-11-27 03:00:00+00:00, not 2026-11-27 03:00:00.123456+00:00",
        ),
        ({"attributes": ATTRIBUTES | {"number": "7"}}, "attribute number is '7', not 7"),
        ({"attributes": ATTRIBUTES | {"flag": 0}}, "attribute flag is 0, not False"),
        ({"attributes": {}}, "attribute place is None, not 'Zürich'"),
    ],
)
def test_a_field_that_differs_is_told(differently: Mapping[str, Any], sentence: str) -> None:
    _, _, [told] = compared(stored(**differently))

    assert sentence in told


def test_a_time_that_the_client_takes_by_itself_is_from_the_run() -> None:
    sent = {key: value for key, value in SENT.items() if key != "time_ns"}

    assert compared(stored(time=NOW + timedelta(seconds=0.5)), sent=sent) == ([], [], [])
    assert compared(stored(time=NOW - timedelta(hours=1)), sent=sent)[2] != []


def test_a_message_may_be_a_field_of_a_line_in_json() -> None:
    sent = SENT | {"message_in": "message"}

    assert compared(stored(message=json.dumps({"message": "record 7 of x"})), sent=sent) == ([], [], [])
