import json
import re

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from supply.images import FILES, ROOT, named
from supply.parts import JARS, LOCKS, Need, all_parts
from supply.sbom import bill_of_materials, declared_licence, main


@pytest.fixture(name="bill", scope="module")
def a_bill() -> dict[str, Any]:
    bill: dict[str, Any] = json.loads(bill_of_materials(ROOT, declared_licence))
    return bill


def components(bill: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        f"{component['name']} {component['version']}": component
        for component in bill["components"]
        if component["purl"].startswith(f"pkg:{kind}/")
    }


def locked(lock: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each package of a lock file with its hashes, by another way than the code does."""
    for entry in (ROOT / lock).read_text().replace("\\\n", " ").splitlines():
        name, _, version = entry.split()[0].partition("==")
        yield f"{name} {version}", set(re.findall(r"--hash=sha256:(\S+)", entry))


@pytest.mark.parametrize("lock", LOCKS)
def test_each_locked_package_is_there_with_its_version_and_its_hashes(lock: str, bill: dict[str, Any]) -> None:
    known = components(bill, "pypi")
    entries = dict(locked(lock))

    assert len(entries) > 20
    for package, hashes in entries.items():
        assert {one["content"] for one in known[package]["hashes"]} == hashes
        assert {one["alg"] for one in known[package]["hashes"]} == {"SHA-256"}


def test_no_package_is_there_that_no_lock_file_names(bill: dict[str, Any]) -> None:
    assert components(bill, "pypi").keys() == {package for lock in LOCKS for package, _ in locked(lock)}


def test_what_services_need_is_told_from_what_tests_need(bill: dict[str, Any]) -> None:
    scopes = {package.split()[0]: part["scope"] for package, part in components(bill, "pypi").items()}

    assert scopes["fastapi"] == "required"
    assert scopes["pyarrow"] == scopes["opentelemetry-sdk"] == "optional"
    assert scopes["pytest"] == "excluded"


def test_each_installed_package_has_its_licence(bill: dict[str, Any]) -> None:
    installed = {f"{package.name.lower().replace('_', '-')} {package.version}" for package in metadata.distributions()}
    known = components(bill, "pypi")

    assert len(installed & known.keys()) > 80
    assert [package for package in installed & known.keys() if not known[package].get("licenses")] == []


def test_each_jar_is_there_with_its_coordinates_and_its_hash(bill: dict[str, Any]) -> None:
    jars = re.findall(r"^([0-9a-f]{64}) ", (ROOT / JARS).read_text(), re.MULTILINE)
    known = [part for part in bill["components"] if part["purl"].startswith("pkg:maven/")]

    assert len(jars) > 90
    assert sorted(part["hashes"][0]["content"] for part in known) == sorted(jars)
    assert "pkg:maven/org.apache.kafka/kafka_2.13@4.3.0" in {part["purl"] for part in known}


def test_each_image_and_each_go_module_is_there(bill: dict[str, Any]) -> None:
    images = {image.tag for file in FILES for image in named((ROOT / file).read_text())}
    modules = re.findall(r"^\t\S+ (v\S+)", (ROOT / "native/toxiproxy/go.mod").read_text(), re.MULTILINE)

    assert {part["version"] for part in components(bill, "docker").values()} == images
    assert len(components(bill, "golang")) == len(modules) > 10
    assert all(part["properties"][0]["value"].startswith("h1:") for part in components(bill, "golang").values())


def test_the_digest_of_a_pinned_image_is_its_hash(tmp_path: Path) -> None:
    for file in (*FILES, *LOCKS, JARS, "native/toxiproxy/go.mod", "native/toxiproxy/go.sum"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text((ROOT / file).read_text())
    digest = "ab" * 32
    (tmp_path / "Dockerfile").write_text(f"FROM quay.io/some/where:1@sha256:{digest} AS x\n")

    [part] = [part for part in all_parts(tmp_path) if part.version == "1"]

    assert (part.registry, part.group, part.name, part.sha256) == ("quay.io", "some", "where", (digest,))
    assert part.need is Need.ALWAYS


def test_the_same_files_give_the_same_bytes_and_others_another_number() -> None:
    one = bill_of_materials(ROOT, declared_licence)

    assert bill_of_materials(ROOT, declared_licence) == one
    other = json.loads(bill_of_materials(ROOT, lambda *_: "MIT"))
    assert other["serialNumber"] != json.loads(one)["serialNumber"]
    assert "timestamp" not in other["metadata"]


def test_the_bill_is_written_into_a_file(tmp_path: Path) -> None:
    assert main([str(tmp_path / "bill.json")]) == 0

    written = json.loads((tmp_path / "bill.json").read_text())
    assert (written["bomFormat"], written["metadata"]["component"]["name"]) == ("CycloneDX", "multi-region-logs")
