"""
What native mode gets from elsewhere: jars and modules that are compared with sums, and a PostgreSQL that fits the data.

Needs no server and no network: Maven, Go and PostgreSQL are programs of those names that note what they were told.
"""

import hashlib
import re
import subprocess

from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest

from shell import ROOT, copy_of_the_checkout, environment, put_on_path, run_bash

from supply.images import FILES, named

JARS: Final = {"libs/kafka_2.13-4.3.0.jar": b"Kafka", "libs/zstd-jni.jar": b"zstd", "agent/agent.jar": b"agent"}


def put(folder: Path, jars: dict[str, bytes]) -> Path:
    for name, content in jars.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(name="checkout")
def a_checkout(tmp_path: Path) -> Path:
    """Return a checkout whose list has `JARS`."""
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    lines = [f"# a:b:1\n{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in JARS.items()]
    (checkout / "mirrormaker/jars.sha256").write_text("# The jars.\n" + "".join(lines))
    return checkout


def checked(checkout: Path, folder: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(checkout / "mirrormaker/jars.sh"), "check", str(folder), *(parts or ("libs", "agent"))]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# ---------------------------------------------------------------- jars


def test_jars_of_the_list_are_taken(checkout: Path, tmp_path: Path) -> None:
    done = checked(checkout, put(tmp_path / "got", JARS))

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"libs/zstd-jni.jar": b"zstd and more"}, "libs/zstd-jni.jar is not the jar that was tested"),
        ({"libs/other.jar": b"?"}, "libs/other.jar is not in mirrormaker/jars.sha256"),
        ({"agent/agent.jar": b""}, "agent/agent.jar is not the jar that was tested"),
    ],
)
def test_another_jar_is_named_with_its_hash(wrong: dict[str, bytes], told: str, checkout: Path, tmp_path: Path) -> None:
    done = checked(checkout, put(tmp_path / "got", JARS | wrong))

    assert done.returncode == 1
    [content] = wrong.values()
    assert told in done.stderr
    assert hashlib.sha256(content).hexdigest() in done.stderr
    assert "None of these jars is used." in done.stderr


def test_a_missing_jar_is_named(checkout: Path, tmp_path: Path) -> None:
    done = checked(checkout, put(tmp_path / "got", {name: JARS[name] for name in list(JARS)[1:]}))

    assert done.returncode == 1
    assert "libs/kafka_2.13-4.3.0.jar is missing." in done.stderr


def test_of_an_image_that_has_kafka_the_agent_alone_is_compared(checkout: Path, tmp_path: Path) -> None:
    agent = put(tmp_path / "got", {"agent/agent.jar": JARS["agent/agent.jar"]})

    assert checked(checkout, agent, "agent").returncode == 0
    assert checked(checkout, agent).returncode == 1


def installing(checkout: Path, jars: dict[str, bytes], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Install Kafka with a Maven that brings these jars."""
    put(tmp_path / "brought", jars)
    maven = f'echo "$@" >>{tmp_path}/asked; cp -R {tmp_path}/brought "$(dirname "$(sed "s/.*--file \\([^ ]*\\).*/\\1/" <<<"$*")")/target"'
    script = "mkdir -p $RUN_DIR/logs; settle; JAVA=/none/bin/java; java_home() { :; }; adopt_jars; install_kafka"
    return run_bash(script, env=environment() | {"PATH": put_on_path(tmp_path / "bin", "mvn", maven)}, root=checkout)


def test_a_changed_jar_is_refused_and_the_old_ones_stay(checkout: Path, tmp_path: Path) -> None:
    assert installing(checkout, JARS, tmp_path).returncode == 0
    (checkout / "mirrormaker/pom.xml").write_text("<project/>")

    done = installing(checkout, JARS | {"libs/zstd-jni.jar": b"changed"}, tmp_path)

    assert done.returncode == 1
    assert "error: Kafka's jars are refused; see above." in done.stderr
    assert (checkout / ".run/kafka/libs/zstd-jni.jar").read_bytes() == b"zstd"
    # The next start tries again.
    assert installing(checkout, JARS, tmp_path).returncode == 0


def test_jars_of_an_earlier_release_are_kept_if_they_are_of_the_list(checkout: Path, tmp_path: Path) -> None:
    kafka = put(checkout / ".run/kafka", JARS)
    stamp = f"{hashlib.sha256((checkout / 'mirrormaker/pom.xml').read_bytes()).hexdigest()[:16]}\n"
    (kafka / "stamp").write_text(stamp)

    assert installing(checkout, JARS, tmp_path).returncode == 0
    assert not (tmp_path / "asked").exists()

    (kafka / "libs/zstd-jni.jar").write_bytes(b"changed")
    (kafka / "stamp").write_text(stamp)
    assert installing(checkout, JARS, tmp_path).returncode == 0
    assert (tmp_path / "asked").exists()


def test_the_list_has_the_versions_that_are_wanted() -> None:
    pom = ElementTree.parse(ROOT / "mirrormaker/pom.xml")
    wanted = {
        name: pom.findtext(f".//{{*}}properties/{{*}}{name}.version") for name in ("kafka", "log4j", "jmx-exporter")
    }
    listed = (ROOT / "mirrormaker/jars.sha256").read_text()

    for name in (
        f"org.apache.kafka:kafka_2.13:{wanted['kafka']}",
        f"org.apache.kafka:connect-mirror:{wanted['kafka']}",
        f"org.apache.logging.log4j:log4j-slf4j-impl:{wanted['log4j']}",
        f"io.prometheus.jmx:jmx_prometheus_javaagent:{wanted['jmx-exporter']}",
    ):
        assert f"# {name}\n" in listed, "mirrormaker/jars.sh renew"


# ---------------------------------------------------------------- modules and images


def test_toxiproxy_is_built_from_modules_with_sums() -> None:
    modules = (ROOT / "native/toxiproxy/go.mod").read_text()
    sums = (ROOT / "native/toxiproxy/go.sum").read_text()
    [version] = re.findall(r"^TOXIPROXY_VERSION=(\S+)$", (ROOT / "native/install.sh").read_text(), re.MULTILINE)

    assert f"github.com/Shopify/toxiproxy/v2 v{version} " in modules
    for module, exact in re.findall(r"^\t(\S+) (v\S+)", modules, re.MULTILINE):
        assert f"{module} {exact} h1:" in sums


def test_a_go_that_is_told_to_change_modules_is_not_heard(checkout: Path, tmp_path: Path) -> None:
    go = f'[[ $1 == env ]] && echo go1.23.0 && exit; printf "%s\\n" "$GOFLAGS" "$@" >{tmp_path}/told'
    env = environment(GOFLAGS="-mod=mod") | {"PATH": put_on_path(tmp_path / "bin", "go", go)}

    assert run_bash("mkdir -p $RUN_DIR/logs; settle; install_toxiproxy", env=env, root=checkout).returncode == 0

    told = (tmp_path / "told").read_text().splitlines()
    assert told[0] == "-trimpath"
    assert "-mod=readonly" in told
    assert told[told.index("-C") + 1] == str(checkout / "native/toxiproxy")


@pytest.mark.parametrize("file", FILES)
def test_each_image_is_named_by_its_exact_version(file: str) -> None:
    images = named((ROOT / file).read_text())

    assert images
    assert [image.name for image in images if not re.match(r"v?\d+\.\d+(\.\d+)?(-|$)", image.tag)] == []
    # A version of these has three parts, and a tag with two is one that moves.
    assert [image.name for image in images if image.tag.count(".") < 2 and "/postgres" not in image.repository] == []


def test_no_other_file_names_an_image() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    naming = {
        name
        for name in listed
        if name.endswith((".py", ".yml", "Dockerfile", ".sh")) and "/test" not in name and (ROOT / name).is_file()
        if named((ROOT / name).read_text())
    }

    assert naming == set(FILES)


# ---------------------------------------------------------------- PostgreSQL


def servers(tmp_path: Path, *versions: int) -> str:
    """Make servers of these versions, and return what makes setup.sh know them and no others."""
    for version in versions:
        folder = tmp_path / f"postgresql/{version}/bin"
        folder.mkdir(parents=True)
        for name in ("postgres", "initdb"):
            (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}.4 (Debian {version}.4-1)'\n")
            (folder / name).chmod(0o755)
    folders = " ".join(f"{tmp_path}/postgresql/{version}/bin" for version in sorted(versions, reverse=True))
    return f"postgres_folders() {{ printf '%s\\n' {folders}; }}; settle; "


def with_data(checkout: Path, version: str) -> Path:
    data = checkout / ".run/data/postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text(f"{version}\n")
    return data


def test_without_data_the_newest_server_is_taken(checkout: Path, tmp_path: Path) -> None:
    done = run_bash(servers(tmp_path, 15, 17) + 'check_postgres; echo "$POSTGRES_BIN"', root=checkout)

    assert done.stdout == f"{tmp_path}/postgresql/17/bin\n"


def test_data_of_an_older_server_stays_with_it_and_it_is_said(checkout: Path, tmp_path: Path) -> None:
    with_data(checkout, "15")

    done = run_bash(servers(tmp_path, 15, 17) + 'check_postgres; echo "$POSTGRES_BIN"; missing_packages', root=checkout)

    [said, folder, *missing] = done.stdout.splitlines()
    assert "PostgreSQL 15 goes on, because the data is of that version; 17 is here, too" in said
    assert folder == f"{tmp_path}/postgresql/15/bin"
    assert not [name for name in missing if name.startswith("postgresql")]


@pytest.mark.parametrize("known", [True, False])
def test_data_without_its_server_is_left_alone_and_told(*, known: bool, checkout: Path, tmp_path: Path) -> None:
    data = with_data(checkout, "15")
    apt = put_on_path(tmp_path / "bin", "apt-cache", f'[[ $* == "show postgresql-15" ]] && exit {int(not known)}')
    env = environment() | {"PATH": apt}

    done = run_bash(servers(tmp_path, 17) + "missing_packages; check_postgres", env=env, root=checkout)

    assert done.returncode == 1
    # Where the distribution has that server, it is installed.
    assert ("postgresql-15" in done.stdout.split()) == known
    assert "postgresql" not in done.stdout.split()
    assert f"the data in {data} is PostgreSQL 15's" in done.stderr
    assert "Install postgresql-15" in done.stderr
    assert (data / "PG_VERSION").read_text() == "15\n"


def test_a_server_of_a_package_makes_no_cluster_of_its_own() -> None:
    script = (ROOT / "native/apt-install.sh").read_text()
    [condition] = re.findall(r"^(\[\[ .*) \|\| forbid_main_cluster$", script, re.MULTILINE)

    def forbids(*packages: str) -> bool:
        return subprocess.run(["bash", "-c", condition, "x", *packages], check=False).returncode != 0

    assert forbids("curl", "postgresql")
    assert forbids("postgresql-15", "curl")
    assert not forbids("prometheus-postgres-exporter", "curl")


# ---------------------------------------------------------------- Prometheus


def test_nothing_that_prometheus_is_told_means_something_else_in_version_3() -> None:
    places = [
        *(ROOT / "prometheus").rglob("*.yml"),
        *(ROOT / "grafana/dashboards").rglob("*.json"),
        *(ROOT / "native/templates").glob("prometheus*"),
    ]
    changed = {
        # Version 3 writes the bounds of buckets as floats, so `le="1"` would find nothing.
        "an integer as the bound of a bucket": r"""\ble=~?\\?["'](\d+\|)*\d+(\||\\?["'])""",
        "a function with another name": r"\bholt_winters\(",
        "a setting that is gone": r"scrape_classic_histograms|enable_feature|--alertmanager\.timeout",
    }

    found = [
        f"{place.name}: {what}"
        for place in places
        for what, pattern in changed.items()
        if re.search(pattern, place.read_text())
    ]

    assert len(places) > 10
    assert found == []
