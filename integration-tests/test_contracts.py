"""
Files that have to agree although no compiler compares them: settings, compose, native mode, metrics, rules, dashboards, documentation.

Needs no server. A renamed variable or metric breaks a test here, not a fleet at start or a panel that is rarely looked at.
"""

import base64
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile

from collections.abc import Iterator, Mapping
from pathlib import Path
from runpy import run_path
from typing import Any, Final
from xml.etree import ElementTree

import pytest
import yaml

from prometheus_client import CollectorRegistry

from console.metrics import ConsoleMetrics
from console.settings import ConsoleSettings
from consumer.archive import ArchiveSettings
from consumer.metrics import ConsumerMetrics
from consumer.roles import SERVICES as SERVICES_ROLES
from consumer.schema import SchemaSettings
from consumer.settings import ConsumerSettings
from fleet.jobs import passwords
from fleet.jobs.acls import AclSettings
from fleet.jobs.disks import DISK_FREE, DISK_SIZE, DiskSettings
from fleet.jobs.topics import TopicSettings
from gateway.metrics import GatewayMetrics
from gateway.settings import GatewaySettings
from producer.metrics import ProducerMetrics
from producer.settings import ProducerSettings
from shared.process import settings
from shared.process.settings import ServiceSettings
from supply import images

ROOT: Final = Path(__file__).parent.parent
COMPOSE: Final = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
FAULTS: Final = yaml.safe_load((ROOT / "docker-compose.faults.yml").read_text())
SECURED: Final = yaml.safe_load((ROOT / "docker-compose.secured.yml").read_text())
SECURED_FAULTS: Final = yaml.safe_load((ROOT / "docker-compose.secured-faults.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
ADDED: Final = {name: service for name, service in SECURED["services"].items() if name not in SERVICES}
"""One-shots of a secured fleet."""
ONE_SHOTS: Final = {"preflight", "passwords", "topics-a", "topics-b", "schema", "grafana-password"}
# Their images have no program for a health check. Prometheus sees whether they answer, and alerts when they do not.
ASKED_BY_PROMETHEUS: Final = {"postgres-exporter", "redis-exporter"}
PUBLISHED: Final = sorted(name for name, service in SERVICES.items() if "ports" in service)
SETTINGS: Final[dict[str, type[ServiceSettings]]] = {
    "gateway": GatewaySettings,
    "producer-a": ProducerSettings,
    "producer-b": ProducerSettings,
    "consumer-a": ConsumerSettings,
    "consumer-b": ConsumerSettings,
    "console": ConsoleSettings,
    "schema": SchemaSettings,
    "topics-a": TopicSettings,
    "topics-b": TopicSettings,
    "disks": DiskSettings,
}
OURS: Final = re.compile(r"(GATEWAY|PRODUCER|CONSUMER|CONSOLE|TOPICS|APP|DISKS)_[A-Z0-9_]+")
PLACEHOLDER: Final = re.compile(r"\$\{([A-Z_]+)(?::-([^}]*))?\}")

DASHBOARDS: Final = sorted((ROOT / "grafana/dashboards").glob("*.json"))
RULES: Final = sorted((ROOT / "prometheus/rules").glob("*.yml"))
RULE_TESTS: Final = sorted((ROOT / "prometheus/tests").glob("*_test.yml"))
PROMISED: Final = {
    "log_producer_send_total",
    "dedup_hits_total",
    "reorder_late_arrivals_total",
    "reorder_buffer_size",
    "gateway_routing_fallbacks_total",
    "log_producer_send_duration_seconds_bucket",
}


def with_defaults(value: object) -> str:
    return PLACEHOLDER.sub(lambda match: match[2] or "", str(value))


def native_environment(service: str) -> dict[str, str]:
    lines = (ROOT / f"native/env/{service}.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("service", SETTINGS)
@pytest.mark.parametrize("mode", ["compose", "native"])
def test_each_variable_that_a_service_is_given_is_one_that_it_reads(service: str, mode: str) -> None:
    given = SERVICES[service]["environment"] if mode == "compose" else native_environment(service)
    known = SETTINGS[service].variables()

    assert set(given) <= set(SETTINGS[service].read_from())
    assert {name for name, field in known.items() if field.is_required()} <= set(given)


def test_the_one_shot_of_access_lists_is_given_what_it_reads() -> None:
    for region in "ab":
        for given in (native_environment(f"acls-{region}"), ADDED[f"acls-{region}"]["environment"]):
            assert set(given) <= set(AclSettings.read_from())
            assert given["ACLS_REGION"] == f"region-{region}"


def in_bash(script: str, **environment: str) -> str:
    """Run a script of setup.sh's functions that know settings and certificates."""
    sources = "\n".join(f"source native/{part}.sh" for part in ("say", "dotenv", "settings", "preflight", "pki"))
    prelude = (
        f"set -euo pipefail; RUN_DIR=/run-dir FLEET_USER=fleet; source native/surroundings.sh; {sources}; settle\n"
    )
    given = {"PATH": os.environ["PATH"], "HOME": "/"} | environment
    command = ["bash", "-c", prelude + script]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "service",
    sorted({*SETTINGS.keys() - {"schema", "disks"}, "mirror-to-a", "mirror-to-b", "grafana", "acls-a", "acls-b"}),
)
def test_both_modes_give_a_service_of_a_secured_fleet_the_same_settings(service: str) -> None:
    """Native mode names files in .run/tls, and compose mode the same ones in the volume of that service."""
    folder = "admin" if service.startswith("acls") else service
    told = in_bash(f"tls_settings {service}", FLEET_SECURITY="on")
    natively = dict(line.split("=", 1) for line in told.splitlines())
    for root in (".run/tls/", "/run-dir/tls/"):
        natively = {name: value.replace(root + folder, "/run/certificates") for name, value in natively.items()}
    given = SECURED["services"][service]["environment"]

    assert natively
    assert {name: given.get(name) for name in natively} == natively
    if service in SETTINGS:
        assert set(given) <= set(SETTINGS[service].read_from())


@pytest.mark.parametrize("service", ["consumer-a", "consumer-b", "console", "postgres-exporter", "archive"])
def test_both_modes_ask_the_stores_of_a_secured_fleet_in_the_same_way(service: str) -> None:
    options = in_bash(f'set_store_options {service}; echo "$POSTGRES_TLS $REDIS_TLS"', FLEET_SECURITY="on").replace(
        f".run/tls/{service}", "/run/certificates"
    )
    postgres, redis = options.split()
    if service == "archive":
        assert postgres.split("&")[0].replace(".run/tls/admin", "/run/certificates") in (
            ROOT / "native/archive.sh"
        ).read_text().replace("\n", "&")
        return
    given = SECURED["services"][service]["environment"]
    name = {"console": "CONSOLE_POSTGRES_DSN", "postgres-exporter": "DATA_SOURCE_URI"}.get(
        service, "CONSUMER_POSTGRES_DSN"
    )
    plain = SERVICES[service]["environment"][name].removesuffix("?sslmode=disable")

    assert given[name] == plain + postgres
    if service.startswith("consumer"):
        in_open = SERVICES[service]["environment"]["CONSUMER_REDIS_URL"]
        assert given["CONSUMER_REDIS_URL"] == in_open.replace("redis:", "rediss:", 1) + redis
        faulty = FAULTS["services"][service]["environment"]["CONSUMER_POSTGRES_DSN"]
        assert SECURED_FAULTS["services"][service]["environment"] == {name: faulty + postgres}


def test_both_modes_secure_kafka_postgresql_and_redis_alike() -> None:
    def template(name: str, separator: str) -> dict[str, str]:
        lines = (ROOT / "native/templates" / name).read_text().splitlines()
        pairs = (line.split(separator, 1) for line in lines if line and not line.startswith("#"))
        return {name.strip(): value.strip(" '") for name, value in pairs}

    natively = template("kafka-tls.properties", "=")
    for region in "ab":
        given = SECURED["services"][f"kafka-{region}"]["environment"]
        here = {name[6:].lower().replace("_", "."): value.replace("$$", "$") for name, value in given.items()}
        wanted = {name: value.replace("${REGION}", region) for name, value in natively.items()}
        for name in ("ssl.keystore.location", "ssl.truststore.location"):
            wanted[name] = wanted[name].replace(f".run/tls/kafka-{region}", "/run/certificates")
        wanted["listener.security.protocol.map"] = here["listener.security.protocol.map"]
        assert here == wanted
        assert set(SECURED_FAULTS["services"][f"kafka-{region}"]["environment"]) == {
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"
        }
        for files in (SECURED, SECURED_FAULTS):
            [protocols] = [
                value
                for name, value in files["services"][f"kafka-{region}"]["environment"].items()
                if name == "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"
            ]
            assert {listener.partition(":")[2] for listener in protocols.split(",")} == {"SSL"}

    of_postgres = template("postgresql-tls.conf", "=")
    for secured, base in ((SECURED, SERVICES), (SECURED_FAULTS, FAULTS["services"])):
        command = secured["services"]["postgres"]["command"]
        added = dict(word.split("=", 1) for word in command if "=" in word and word not in base["postgres"]["command"])
        assert [word for word in command if word in base["postgres"]["command"]][: len(base["postgres"]["command"])]
        assert set(base["postgres"]["command"]) <= set(command)
        assert added.pop("hba_file") == "/run/certificates/pg_hba.conf"
        assert {name: value.rpartition("/")[2] for name, value in added.items()} == of_postgres

    words = SECURED["services"]["redis"]["command"]
    assert words.startswith(SERVICES["redis"]["command"].strip())
    for name, value in template("redis-tls.conf", " ").items():
        if name.endswith("-file"):
            assert f"--{name} /run/certificates/{value.rpartition('/')[2]}" in words
        elif name != "tls-port":
            assert f"--{name} {value}" in words
    assert "--tls-port 6379" in words


@pytest.mark.parametrize("name", SECURED["services"])
def test_a_secured_service_sees_its_own_key_and_the_maker_of_certificates_all(name: str) -> None:
    service = SECURED["services"][name]
    held = {volume.split(":")[0] for volume in service.get("volumes", []) if volume.startswith(("tls-", "authority"))}
    volumes = set(SECURED["volumes"])

    if name == "pki":
        assert held == volumes
        holders = re.search(r"^HOLDERS=\(\n(.*?)\n\)$", (ROOT / "fleet/pki.sh").read_text(), re.MULTILINE | re.DOTALL)
        assert holders is not None
        assert volumes == {"authority", *(f"tls-{holder}" for holder in holders[1].split())}
    elif name == "preflight":
        assert not held
    else:
        own = f"tls-{'admin' if name.startswith('acls') else name}"
        assert f"{own}:/run/certificates:ro,nocopy" in service["volumes"]
        assert held == {own}
        # A key is open to root's group.
        assert service.get("group_add") == ["0"] or service["user"] == "0:0"


def test_nothing_of_a_secured_fleet_starts_before_its_certificates_and_no_topic_before_its_access_list() -> None:
    def needed(service: str) -> Iterator[str]:
        for file in (COMPOSE, SECURED):
            for other in file["services"].get(service, {}).get("depends_on", {}):
                yield other
                yield from needed(other)

    done = {"condition": "service_completed_successfully"}
    for name in SECURED["services"].keys() - {"preflight", "pki"}:
        assert "pki" in set(needed(name)), name
    for region in "ab":
        assert SECURED["services"][f"topics-{region}"]["depends_on"][f"acls-{region}"] == done


@pytest.mark.parametrize("service", ["gateway", "producer-a", "producer-b", "consumer-a", "consumer-b", "console"])
def test_a_secured_service_may_ask_itself_whether_it_is_ready(service: str) -> None:
    secured = SECURED["services"][service]
    watchers = secured["environment"][f"{service.partition('-')[0].upper()}_WATCHERS"].split(",")
    kind = SETTINGS[service]
    plain = SERVICES[service]["healthcheck"]["test"]

    assert watchers == [*kind.variables()[f"{service.partition('-')[0].upper()}_WATCHERS"].default.split(","), service]
    asked = secured["healthcheck"]["test"]
    assert asked[-3:-1] == ["--identity", "/run/certificates"]
    assert [*asked[:-3], asked[-1].replace("https://", "http://")] == plain


def test_a_secured_fleet_asks_its_services_by_tls_alone() -> None:
    for name, service in SECURED["services"].items():
        said = json.dumps([service.get("environment"), service.get("command"), service.get("healthcheck")])
        assert not re.search(r"http://|redis://|PLAINTEXT|sslmode=(?!verify-full)", said), name
    # What is left to the other file are addresses of Prometheus, of the agents for it, and of collectors.
    merged = {
        f"{name}:{variable}": str(SECURED["services"].get(name, {}).get("environment", {}).get(variable, value))
        for name, service in SERVICES.items()
        for variable, value in service.get("environment", {}).items()
    }
    plain = {where for where, value in merged.items() if "http://" in value}
    assert plain == {"console:CONSOLE_PROMETHEUS", "grafana:FLEET_PROMETHEUS_URL"}


def test_what_an_archive_by_hand_is_given_is_what_it_reads_and_reads_as_people_do() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.archive.yml").read_text())["services"]["archive"]["environment"]

    for given in (compose, native_environment("archive")):
        assert set(given) <= set(ArchiveSettings.read_from())
        assert given["CONSUMER_POSTGRES_DSN"].startswith("postgresql://logs@")
        assert "POSTGRES_PASSWORD" in given["CONSUMER_POSTGRES_PASSWORD"]


@pytest.mark.parametrize("service", SETTINGS)
def test_what_compose_gives_a_service_is_valid(service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    passwords.hand_out(tmp_path, "")
    share = tmp_path / service.removesuffix("-a").removesuffix("-b")
    monkeypatch.setattr(settings, "SECRETS_OF_A_CONTAINER", tmp_path)
    for name in [name for name in os.environ if OURS.fullmatch(name)]:
        monkeypatch.delenv(name)
    for name, value in SERVICES[service]["environment"].items():
        monkeypatch.setenv(name, with_defaults(value).replace("/run/secrets", str(share)))

    SETTINGS[service].read()


@pytest.mark.parametrize("service", SETTINGS)
def test_a_variable_that_compose_passes_through_keeps_its_default(service: str) -> None:
    known = SETTINGS[service].variables()
    passed = {
        name: with_defaults(value)
        for name, value in SERVICES[service]["environment"].items()
        # The password of people is a setting of the fleet; the one-shot by itself leaves it as it is.
        # A service's own name stands before what users add.
        if str(value).startswith(f"${{{name}:-") and name != "POSTGRES_PASSWORD"
    }

    assert passed == {name: str(known[name].default) for name in passed}


def test_the_page_of_settings_is_made_from_the_classes() -> None:
    made = run_path(str(ROOT / "docs/write_settings.py"))

    assert (ROOT / "docs/settings.md").read_text() == made["page"](), "run: python docs/write_settings.py"
    # Without certificates there are no access lists.
    assert {owner for _, _, owner in made["PROGRAMS"]} == {*SETTINGS.values(), AclSettings}


def test_the_documentation_names_each_variable_that_compose_reads() -> None:
    documented = "".join((ROOT / page).read_text() for page in ("docs/operating.md", "docs/settings.md"))
    files = [ROOT / "docker-compose.yml", ROOT / "docker-compose.faults.yml", ROOT / "docker-compose.secured.yml"]
    read = {match[1] for file in files for match in PLACEHOLDER.finditer(file.read_text())}

    assert {name for name in read if name not in documented} == set()


def test_what_the_image_copies_is_what_docker_is_given() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    given = re.findall(r"^!([^/\n]+)/?$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert {source.split("/")[0] for line in copied for source in line.split()} == set(given)


PAGES: Final = [
    path for path in ROOT.rglob("*.md") if not {".venv", ".run", ".git"} & set(path.relative_to(ROOT).parts)
]


def anchors(page: Path) -> set[str]:
    """Return what can be linked to in a page, as forges name it."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def native_defaults() -> dict[str, str]:
    """Read what native/settings.sh gives to variables that are not set."""
    listed = (ROOT / "native/settings.sh").read_text()
    return dict(re.findall(r"^  ([A-Z][A-Z0-9_]+)=(\S*)$", listed, re.MULTILINE))


def test_the_example_of_env_has_each_variable_with_its_default() -> None:
    example = dict(re.findall(r"^#([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    defaults = native_defaults()

    assert defaults
    assert {name: example.get(name) for name in defaults} == defaults


def test_a_mirror_comes_in_from_afar_by_a_door_of_its_own_and_next_door_by_the_ordinary_one() -> None:
    for here, there in ("ab", "ba"):
        addresses = native_environment(f"mirror-to-{here}")
        assert (
            addresses[f"MIRROR_REGION_{here.upper()}_BOOTSTRAP_SERVERS"] == f"127.0.0.1:${{KAFKA_{here.upper()}_PORT}}"
        )
        wan = f"127.0.0.1:${{KAFKA_{there.upper()}_WAN_PORT}}"
        assert addresses[f"MIRROR_REGION_{there.upper()}_BOOTSTRAP_SERVERS"] == wan


def test_both_modes_tell_kafka_the_same_about_its_topics_and_their_times() -> None:
    lines = (ROOT / "native/templates/kafka.properties").read_text().splitlines()
    natively = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    in_compose = SERVICES["kafka-a"]["environment"]
    told = [
        name for name in natively if name.startswith(("offsets.", "transaction.", "log.message.", "group.", "auto."))
    ]

    assert len(told) >= 5
    for name in told:
        here = re.sub(r"\$\{([A-Z_]+)\}", lambda match: native_defaults()[match[1]], natively[name])
        assert with_defaults(in_compose[f"KAFKA_{name.replace('.', '_').upper()}"]) == here, name


def test_all_topics_have_as_many_replicas_as_the_settings_say_and_mirrormaker_leaves_the_rest_alone() -> None:
    text = (ROOT / "mirrormaker/mm2.properties").read_text()
    factors = dict(re.findall(r"^(\S*replication\.factor) = (.+)$", text, re.MULTILINE))

    assert len(factors) == 7
    assert set(factors.values()) == {"${env:MIRROR_REPLICATION_FACTOR}"}
    assert "\nsync.topic.configs.enabled = false\n" in text
    for region in "ab":
        assert native_environment(f"mirror-to-{region}")["MIRROR_REPLICATION_FACTOR"] == "${TOPICS_REPLICATION_FACTOR}"
        in_compose = SERVICES[f"mirror-to-{region}"]["environment"]["MIRROR_REPLICATION_FACTOR"]
        assert in_compose == SERVICES[f"topics-{region}"]["environment"]["TOPICS_REPLICATION_FACTOR"]


# ---------------------------------------------------------------- compose


SYSLOG: Final = yaml.safe_load((ROOT / "docker-compose.syslog.yml").read_text())["services"]
ARCHIVE: Final = yaml.safe_load((ROOT / "docker-compose.archive.yml").read_text())["services"]


@pytest.mark.parametrize("name", [*SERVICES, *ARCHIVE, *ADDED])
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    service = (SERVICES | ARCHIVE | ADDED)[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert "container_name" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_what_stays_is_watched_and_comes_back_and_what_ends_is_awaited(name: str) -> None:
    service = SERVICES[name]
    awaited = {"condition": "service_completed_successfully"}

    if name in ONE_SHOTS:
        assert service["restart"] == "no"
        assert any(other.get("depends_on", {}).get(name) == awaited for other in SERVICES.values())
    else:
        assert service["restart"] == "unless-stopped"
        assert "healthcheck" in service or name in ASKED_BY_PROMETHEUS


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"preflight"}))
def test_nothing_starts_before_preflight_agreed(name: str) -> None:
    def needed(service: str) -> Iterator[str]:
        for other in SERVICES[service].get("depends_on", {}):
            yield other
            yield from needed(other)

    assert "preflight" in set(needed(name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_only_the_gateway_is_published_on_the_bind_address(name: str) -> None:
    address = re.escape("${BIND_ADDRESS:-127.0.0.1}" if name == "gateway" else "127.0.0.1")

    for port in SERVICES[name]["ports"]:
        assert re.fullmatch(rf"{address}:\$\{{[A-Z_]+_PORT:-\d+\}}:\d+", port)


SERVED: Final = ("gateway", "producer-a", "consumer-a", "producer-b", "consumer-b", "console")


def number(service: str, mode: str, name: str) -> int:
    """Return a port of a service, by its variable without the prefix."""
    variable = f"{service[:-2].upper() if '-' in service else service.upper()}_{name}"
    if mode == "compose":
        return int(SERVICES[service]["environment"][variable])
    return int(native_defaults()[native_environment(service)[variable].strip("${}")])


@pytest.mark.parametrize("service", SERVED)
def test_an_internal_listener_is_published_nowhere_and_is_on_loopback_natively(service: str) -> None:
    prefix = service.split("-", maxsplit=1)[0].upper()
    given = native_environment(service)

    assert native_environment(service)[f"{prefix}_INTERNAL_HOST"] == "127.0.0.1"
    assert given[f"{prefix}_HOST"] == ("${LISTEN_ADDRESS}" if service == "gateway" else "127.0.0.1")
    for mode in ("compose", "native"):
        assert number(service, mode, "INTERNAL_PORT") == number(service, mode, "PORT") + 100
    public, internal = number(service, "compose", "PORT"), number(service, "compose", "INTERNAL_PORT")
    assert [int(port.rpartition(":")[2]) for port in SERVICES[service]["ports"]] == [public]
    assert all(f":{internal}" not in port for name in PUBLISHED for port in SERVICES[name]["ports"])
    assert f":{internal}/ready" in SERVICES[service]["healthcheck"]["test"][-1]
    assert SERVICES[service]["environment"]["APP_ALLOWED_HOSTS"] == f"{service},${{APP_ALLOWED_HOSTS:-}}"


@pytest.mark.parametrize("mode", ["compose", "native"])
def test_the_gateway_and_prometheus_ask_internal_listeners(mode: str) -> None:
    gateway = SERVICES["gateway"]["environment"] if mode == "compose" else native_environment("gateway")
    # Native mode speaks TLS to them in a secured fleet.
    scheme = "http" if mode == "compose" else "${SCHEME}"
    for region in "ab":
        for variable, kind in (("GATEWAY_REGIONS", "producer"), ("GATEWAY_CONSUMERS", "consumer")):
            service = f"{kind}-{region}"
            natively = f"127.0.0.1:${{{kind.upper()}_{region.upper()}_INTERNAL_PORT}}"
            at = f"{service}:{number(service, mode, 'INTERNAL_PORT')}" if mode == "compose" else natively
            assert f"region-{region}={scheme}://{at}" in gateway[variable].split(",")
    console = SERVICES["console"]["environment"] if mode == "compose" else native_environment("console")
    assert console["CONSOLE_CONSUMERS"] == gateway["GATEWAY_CONSUMERS"]
    at = "console:8185" if mode == "compose" else "127.0.0.1:${CONSOLE_INTERNAL_PORT}"
    assert gateway["GATEWAY_CONSOLE"] == f"{scheme}://{at}"
    scraped = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    groups = {group["targets"][0]: group for job in scraped for group in job["static_configs"]}
    for service in SERVED:
        group = groups[f"{service}:{number(service, 'compose', 'INTERNAL_PORT')}"]
        # Users know a service by this address: dashboards, alerts, and what was recorded before.
        assert group["labels"] == {"instance": f"{service}:{number(service, 'compose', 'PORT')}"}


def preflight(how: Mapping[str, Any] | None = None, /, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {name: with_defaults(value) for name, value in SERVICES["preflight"]["environment"].items()}
    command = [word.replace("$$", "$") for word in SERVICES["preflight"]["command"]]
    given |= {"PATH": os.environ["PATH"]}
    return subprocess.run(command, env=given | environment, capture_output=True, text=True, check=False, **(how or {}))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"BIND_ADDRESS": "127.0.0.2"},
        {"BIND_ADDRESS": "::1"},
        {"BIND_ADDRESS": "[::1]"},
        {"FLEET_SECURITY": "on", "SECURED": "yes"},
        {
            "BIND_ADDRESS": "0.0.0.0",
            "FLEET_SECURITY": "on",
            "SECURED": "yes",
            "POSTGRES_PASSWORD": "a-b_c.d~1",
            "GRAFANA_PASSWORD": 's p€$`c"ial',
        },
    ],
)
def test_preflight_agrees(environment: dict[str, str]) -> None:
    assert preflight(**environment).returncode == 0


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"BIND_ADDRESS": "0.0.0.0"}, "set FLEET_SECURITY=on"),
        ({"BIND_ADDRESS": "::", "POSTGRES_PASSWORD": "p", "GRAFANA_PASSWORD": "g"}, "set FLEET_SECURITY=on"),
        ({"BIND_ADDRESS": "0.0.0.0", "FLEET_SECURITY": "off"}, "say open or on"),
        ({"FLEET_SECURITY": "on"}, "takes docker-compose.secured.yml, too"),
        ({"SECURED": "yes"}, "takes FLEET_SECURITY=on"),
        (
            {"BIND_ADDRESS": "0.0.0.0", "FLEET_SECURITY": "on", "SECURED": "yes"},
            "set POSTGRES_PASSWORD to something else",
        ),
        (
            {"BIND_ADDRESS": "192.168.1.2", "FLEET_SECURITY": "on", "POSTGRES_PASSWORD": "logs", "SECURED": "yes"},
            "set POSTGRES_PASSWORD to something else",
        ),
        (
            {"BIND_ADDRESS": "::", "FLEET_SECURITY": "on", "POSTGRES_PASSWORD": "other", "SECURED": "yes"},
            "set GRAFANA_PASSWORD to something else",
        ),
        (
            {"BIND_ADDRESS": "127.example.org", "FLEET_SECURITY": "on", "SECURED": "yes"},
            "set POSTGRES_PASSWORD to something else",
        ),
        ({"POSTGRES_PASSWORD": "p@ss"}, "use letters, digits"),
    ],
)
def test_preflight_refuses_and_says_what_to_change(environment: dict[str, str], sentence: str) -> None:
    refused = preflight(**environment)

    assert refused.returncode == 1
    assert sentence in refused.stderr


def test_preflight_says_what_the_users_of_containers_cannot_read(tmp_path: Path) -> None:
    # Not below tmp_path, which other users may not read either.
    with tempfile.TemporaryDirectory() as mounted:
        for folder in ("prometheus/rules", "grafana"):
            (Path(mounted) / folder).mkdir(parents=True)
            (Path(mounted) / folder / "fleet.yml").write_text("")
        Path(mounted).chmod(0o755)
        stranger = {"user": 65534} if os.geteuid() == 0 else {}
        agreed = preflight(stranger, MOUNTED=mounted)
        (Path(mounted) / "prometheus/rules").chmod(0o400)
        (Path(mounted) / "grafana/fleet.yml").chmod(0)
        refused = preflight(stranger, MOUNTED=mounted)
        (Path(mounted) / "prometheus/rules").chmod(0o700)

    assert agreed.returncode == 0
    assert refused.returncode == 1
    assert "prometheus/rules" in refused.stderr
    assert "grafana/fleet.yml" in refused.stderr
    assert "run chmod -R go+rX grafana prometheus" in refused.stderr


def bind_mounts() -> list[str]:
    services = [*SERVICES.values(), *FAULTS["services"].values(), *SECURED["services"].values()]
    return [volume for service in services for volume in service.get("volumes", []) if volume.startswith("./")]


def test_what_is_mounted_from_the_checkout_is_read_only_and_may_be_read_where_selinux_is_on() -> None:
    """With the label that several containers share: a private one would take a file from all but the last of them."""
    assert len(bind_mounts()) >= 8
    assert [volume for volume in bind_mounts() if not volume.endswith(":ro,z")] == []


def test_preflight_looks_at_all_that_is_mounted_from_the_checkout() -> None:
    looked_at = {
        volume.split(":")[0]
        for services in (COMPOSE, FAULTS)
        for volume in services["services"]["preflight"]["volumes"]
    }

    assert {"./" + volume.split(":")[0].split("/")[1] for volume in bind_mounts()} == looked_at


def test_an_image_can_be_read_by_its_user_whatever_the_umask_of_the_checkout() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = {part.split("\n")[0].split()[-1]: part for part in re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[1:]}
    copying = {name for name, stage in stages.items() if re.search(r"^COPY (?!--from)", stage, re.MULTILINE)}

    # What other stages copy is read during the build only, and is in no image that runs.
    assert copying == {"dependencies", "app", "agent"}
    for name in ("app", "agent"):
        assert "chmod -R u=rwX,go=rX" in stages[name].rpartition("COPY")[2]


def test_data_sources_are_never_asked_through_a_proxy() -> None:
    environment = SERVICES["grafana"]["environment"]
    urls = (environment["FLEET_PROMETHEUS_URL"], environment["FLEET_CONSOLE_URL"])
    hosts = {*(url.split("/")[2].split(":")[0] for url in urls), "localhost", "127.0.0.1", "::1"}

    for name in ("NO_PROXY", "no_proxy"):
        assert set(environment[name].split(",")) >= hosts
    for service in SERVICES.values():
        words = service.get("healthcheck", {}).get("test", [])
        if "wget" in words:
            assert words[: words.index("wget")] == ["CMD", "env", "-u", "http_proxy", "-u", "HTTP_PROXY"]


@pytest.mark.parametrize(("region", "known"), [("a", None), ("b", None), ("a", "of-an-earlier-release"), ("b", "x")])
def test_a_kafka_has_the_cluster_id_of_its_data_or_one_of_its_region(
    region: str, known: str | None, tmp_path: Path
) -> None:
    service = SERVICES[f"kafka-{region}"]
    script = service["command"][-1].replace("$$", "$").replace("/etc/kafka/docker/run", "printenv CLUSTER_ID")
    environment = service["environment"] | {"KAFKA_LOG_DIRS": str(tmp_path)}
    if known:
        (tmp_path / "meta.properties").write_text(f"#\nversion=1\ncluster.id={known}\nnode.id=1\n")

    command = [*service["command"][:-1], script]
    env = {name: str(value) for name, value in environment.items()} | {"PATH": os.environ["PATH"]}
    used = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()

    assert used == known or (not known and base64.urlsafe_b64decode(used + "==") == f"region-{region}--------".encode())


@pytest.mark.parametrize("endpoint", ["", "none", "http://collector:4318/v1/traces"])
def test_what_traces_take_is_installed_only_if_there_shall_be_some(endpoint: str) -> None:
    build = SERVICES["preflight"]["build"]["args"]
    [locks] = installed(TRACES=endpoint)

    assert locks == ("requirements-otel.lock" if "collector" in endpoint else "requirements.lock")
    assert build["TRACES"] == "${APP_OTLP_TRACES_ENDPOINT:-none}"


@pytest.mark.parametrize("folder", ["", "none", "/archives"])
def test_what_archives_take_is_installed_only_if_there_shall_be_some(folder: str) -> None:
    build = SERVICES["preflight"]["build"]["args"]
    by_itself = yaml.safe_load((ROOT / "docker-compose.archive.yml").read_text())["services"]["archive"]["build"][
        "args"
    ]

    assert ("requirements-archive.lock" in installed(ARCHIVE=folder)) == folder.startswith("/")
    assert "requirements-archive.lock" in installed(**by_itself)
    assert build["ARCHIVE"] == "${APP_ARCHIVE_DIR:-none}"


def installed(**arguments: str) -> list[str]:
    """Return the lock files that an image with these arguments is made from."""
    runs = re.findall(r"^RUN (case (?:.*\\\n)*.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    script = "\n".join(run.replace("pip --python", "echo pip --python") for run in runs)
    done = subprocess.run(["sh", "-c", script], env=arguments, capture_output=True, text=True, check=True)
    return [line.split()[-1] for line in done.stdout.splitlines()]


def test_a_changed_password_is_set_before_anybody_uses_it() -> None:
    def needs(service: str) -> dict[str, Any]:
        found: dict[str, Any] = SERVICES[service]["depends_on"]
        return found

    done = {"condition": "service_completed_successfully"}
    assert needs("postgres")["passwords"] == done
    assert needs("schema")["postgres"] == {"condition": "service_healthy"}
    assert needs("grafana")["grafana-password"] == done
    assert all(needs(f"consumer-{region}")["schema"] == done for region in "ab")
    assert SERVICES["schema"]["environment"]["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:-logs}"


def shared_with(service: dict[str, Any]) -> set[str]:
    return {volume.split(":")[0] for volume in service.get("volumes", []) if volume.startswith("secrets")}


def test_each_service_sees_its_own_passwords_and_the_maker_of_passwords_all() -> None:
    volumes = {name for name in COMPOSE["volumes"] if name.startswith("secrets")}
    holders = {name: shared_with(service) for name, service in SERVICES.items() if shared_with(service)}
    of_consumers = {"consumer-a", "consumer-b"}

    assert holders.pop("passwords") == volumes
    assert {volume for volumes in holders.values() for volume in volumes} == volumes - {"secrets"}
    for name, held in holders.items():
        volume = f"secrets-{'consumer' if name in of_consumers else name}"
        assert held == {volume}
        assert f"{volume}:/run/secrets:ro,nocopy" in SERVICES[name]["volumes"]
        assert "passwords" in set(all_needed(name))


def all_needed(service: str) -> Iterator[str]:
    for other in SERVICES[service].get("depends_on", {}):
        yield other
        yield from all_needed(other)


def test_each_file_that_a_service_is_told_to_read_is_in_its_share(tmp_path: Path) -> None:
    template = (ROOT / "grafana/provisioning/datasources/fleet.yml").read_text()
    shares = passwords.shares(passwords.learn(tmp_path / "all"), template)
    told = {
        name: set(
            re.findall(r"/run/secrets/([\w.]+)", json.dumps([service.get("command"), service.get("environment")]))
        )
        for name, service in SERVICES.items()
    }

    for name, files in told.items():
        # The one-shot before Grafana only says where Grafana will look.
        share = name.removesuffix("-a").removesuffix("-b").removesuffix("-password")
        assert files <= shares.get(share, {}).keys(), name
    assert shares["grafana"].keys() == {*told["grafana-password"], "fleet.yml"}
    assert template.count(passwords.PLACE) == 1
    assert passwords.PLACE not in shares["grafana"]["fleet.yml"]


def test_no_service_gets_a_password_of_the_fleet_in_its_environment_or_arguments() -> None:
    for name, service in (*SERVICES.items(), *FAULTS["services"].items()):
        given = json.dumps([service.get("command"), service.get("environment")])
        assert not re.search(r"://[^/@\s\"]+:[^/@\s\"]+@", given), name
        # Those of people are given by people, to who checks them and sets them.
        asked = set(re.findall(r"\$\{((?:POSTGRES|GRAFANA)_PASSWORD)", given))
        may = {"preflight": {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}, "schema": {"POSTGRES_PASSWORD"}}
        assert asked <= may.get(name, {"GRAFANA_PASSWORD"} if name.startswith("grafana") else set()), name


def test_both_modes_give_redis_and_postgresql_the_same_users() -> None:
    template = (ROOT / "native/templates/redis.conf").read_text()
    native = dict(re.findall(r"^user (\w+) on #\$\{HASH_REDIS_\w+\} (.+)$", template, re.MULTILINE))
    roles = re.search(r"^ROLES=\((.*)\)$", (ROOT / "native/secrets.sh").read_text(), re.MULTILINE)
    hba = (ROOT / "native/templates/pg_hba.conf").read_text()

    assert native == passwords.REDIS_USERS
    assert "\nuser default off\n" in template
    assert roles is not None
    assert tuple(roles[1].split()) == passwords.ROLES == SERVICES_ROLES
    assert f"host  logs {','.join(['logs', *SERVICES_ROLES])} 127.0.0.1/32 scram-sha-256" in hba


def test_both_modes_make_grafana_equally_hard_to_misuse() -> None:
    hardening = {"GF_SECURITY_DISABLE_GRAVATAR", "GF_SECURITY_CONTENT_SECURITY_POLICY", "GF_SNAPSHOTS_EXTERNAL_ENABLED"}
    hardening |= {"GF_PUBLIC_DASHBOARDS_ENABLED", "GF_USERS_ALLOW_SIGN_UP"}
    in_compose, natively = SERVICES["grafana"]["environment"], native_environment("grafana")

    assert {name: str(in_compose[name]) for name in hardening} == {name: natively[name] for name in hardening}
    assert "GF_SECURITY_SECRET_KEY" in natively


def test_cutting_a_wan_network_stops_one_direction_and_nothing_else() -> None:
    members: dict[str, set[str]] = {network: set() for network in COMPOSE["networks"]}
    for name, service in SERVICES.items():
        for network in service.get("networks", []):
            members[network].add(name)

    assert members["wan-a-to-b"] == {"kafka-a", "mirror-to-b"}
    assert members["wan-b-to-a"] == {"kafka-b", "mirror-to-a"}
    assert members["region-a"] & members["region-b"] == {"prometheus"}


def test_each_image_is_named_by_the_same_version_everywhere() -> None:
    named = {image for file in images.FILES for image in images.named((ROOT / file).read_text())}
    pom = ElementTree.parse(ROOT / "mirrormaker/pom.xml")
    kafka = pom.findtext(".//{*}properties/{*}kafka.version")

    assert len(named) == len({image.name.split(":")[0] for image in named})
    assert f"apache/kafka:{kafka}" in {image.name for image in named}


# ---------------------------------------------------------------- syslog


def test_syslog_is_taken_only_where_it_is_asked_for() -> None:
    assert "GATEWAY_SYSLOG_PORT" not in SERVICES["gateway"]["environment"]
    assert native_defaults()["GATEWAY_SYSLOG_PORT"] == "none"
    assert SETTINGS["gateway"].model_fields["syslog_port"].default is None


def test_what_syslog_adds_is_a_port_of_the_gateway_and_settings_that_it_reads() -> None:
    [(name, gateway)] = SYSLOG.items()
    known = SETTINGS["gateway"].variables()
    most = gateway["environment"]["GATEWAY_SYSLOG_MAX_CONNECTIONS"]

    assert name == "gateway"
    assert set(gateway["environment"]) == {one for one in known if one.startswith("GATEWAY_SYSLOG_")}
    assert with_defaults(most) == str(known["GATEWAY_SYSLOG_MAX_CONNECTIONS"].default)
    inside = gateway["environment"]["GATEWAY_SYSLOG_PORT"]
    assert gateway["ports"] == ["${BIND_ADDRESS:-127.0.0.1}:${GATEWAY_SYSLOG_PORT:-6514}:" + str(inside)]
    for volume in gateway["volumes"]:
        [variable] = [one for one in known if volume["source"] == f"${{{one}:-/dev/null}}"]
        assert gateway["environment"][variable] == f"${{{variable}:+{volume['target']}}}"
        assert volume["read_only"] is True


# ---------------------------------------------------------------- tenants


def test_quotas_are_there_only_where_they_are_asked_for() -> None:
    assert "GATEWAY_TENANTS_FILE" not in SERVICES["gateway"]["environment"]
    assert native_defaults()["FLEET_TENANTS_FILE"] == "none"
    assert SETTINGS["gateway"].model_fields["tenants_file"].default is None


def test_what_quotas_add_is_a_folder_of_the_gateway_and_the_file_in_it() -> None:
    [(name, gateway)] = yaml.safe_load((ROOT / "docker-compose.tenants.yml").read_text())["services"].items()

    assert name == "gateway"
    assert set(gateway) == {"environment", "volumes"}
    assert set(gateway["environment"]) == {"GATEWAY_TENANTS_FILE"}
    assert set(gateway["environment"]) <= set(SETTINGS["gateway"].variables())
    assert with_defaults(gateway["environment"]["GATEWAY_TENANTS_FILE"]) == "/run/tenants/tenants.toml"
    assert gateway["volumes"] == ["${FLEET_TENANTS_FOLDER:-./tenants}:/run/tenants:ro,z"]


# ---------------------------------------------------------------- fault mode


@pytest.mark.parametrize("name", sorted(FAULTS["services"].keys() - SERVICES.keys()))
def test_what_fault_mode_adds_can_do_no_more_than_it_must(name: str) -> None:
    service = FAULTS["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["depends_on"]["preflight"]
    assert all(port.startswith("127.0.0.1:${") for port in service.get("ports", []))


def test_outside_of_fault_mode_nothing_of_it_is_there() -> None:
    ordinary = (ROOT / "docker-compose.yml").read_text()

    assert not re.search(r"toxiproxy|faketime|LD_PRELOAD|ballast|PROXIED", ordinary)


@pytest.mark.parametrize("service", ["gateway", "producer-a", "producer-b", "consumer-a", "consumer-b"])
def test_a_service_in_fault_mode_runs_the_same_by_a_clock_of_its_own(service: str) -> None:
    ordinary, faulty = SERVICES[service], FAULTS["services"][service]

    assert faulty["command"] == [f"FAKETIME_TIMESTAMP_FILE=/volumes/clock/{service}", *ordinary["command"]]
    assert faulty.get("environment", {}).keys() <= ordinary["environment"].keys()


def test_in_fault_mode_postgres_differs_by_the_size_of_its_log_alone() -> None:
    def settings(command: list[str]) -> set[str]:
        return {word for word in command if not re.match(r"(max|min)_wal_size=", word)}

    assert settings(FAULTS["services"]["postgres"]["command"]) == settings(SERVICES["postgres"]["command"])


def test_both_modes_have_the_same_proxies_and_the_same_version_of_them() -> None:
    compose = json.loads((ROOT / "toxiproxy/proxies.json").read_text())
    native = json.loads((ROOT / "native/templates/toxiproxy.json").read_text())
    image = images.Image.read(FAULTS["services"]["toxiproxy"]["image"])

    assert [proxy["name"] for proxy in compose] == [proxy["name"] for proxy in native]
    assert f"TOXIPROXY_VERSION={image.tag}\n" in (ROOT / "native/install.sh").read_text()


def test_each_proxy_is_in_the_way_of_whom_it_is_called_after() -> None:
    proxies = {p["name"]: p["listen"].split(":")[1] for p in json.loads((ROOT / "toxiproxy/proxies.json").read_text())}
    faulty = FAULTS["services"]

    for region in "ab":
        consumer, producer = faulty[f"consumer-{region}"], faulty[f"producer-{region}"]
        kafka = f"toxiproxy:{proxies[f'kafka-of-producer-{region}']}"
        postgres = f"@toxiproxy:{proxies[f'postgres-of-consumer-{region}']}/"
        assert postgres in consumer["environment"]["CONSUMER_POSTGRES_DSN"]
        assert producer["environment"]["PRODUCER_KAFKA_BOOTSTRAP_SERVERS"] == kafka
        assert f"PROXIED://{kafka}" in faulty[f"kafka-{region}"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


# ---------------------------------------------------------------- metrics, rules, dashboards


# Series of foreign exporters that dashboards and rules use; `test_dashboards.py` checks on the fleet that they exist.
EXPORTERS: Final = {
    "jvm_memory_max_bytes",
    "jvm_memory_used_bytes",
    "pg_database_size_bytes",
    "pg_stat_activity_count",
    "pg_stat_database_blks_hit",
    "pg_stat_database_blks_read",
    "pg_stat_database_deadlocks",
    "pg_stat_database_xact_commit",
    "pg_stat_database_xact_rollback",
    "pg_up",
    "redis_commands_processed_total",
    "redis_evicted_keys_total",
    "redis_expired_keys_total",
    "redis_memory_max_bytes",
    "redis_memory_used_bytes",
    "redis_up",
}
PROCESS: Final = {"process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def exported() -> set[str]:
    """Names of the series that our services and the exporters export, as regular expressions."""
    names = {"up", r"ALERTS\w*", DISK_FREE, DISK_SIZE} | EXPORTERS | PROCESS
    for question, entry in yaml.safe_load((ROOT / "prometheus/exporters/postgres.yml").read_text()).items():
        names |= {f"{question}_{column}" for metric in entry["metrics"] for column in metric}
    for make in (
        GatewayMetrics,
        lambda registry: ProducerMetrics(registry, "region-a"),
        lambda registry: ConsumerMetrics(registry, "region-a", ["region-a"]),
        ConsoleMetrics,
    ):
        registry = CollectorRegistry()
        make(registry)
        for metric in registry.collect():
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric.type, [""])
            names |= {metric.name + suffix for suffix in suffixes}
    for path in (ROOT / "mirrormaker").glob("jmx-*.yml"):
        names |= {re.sub(r"\$\d", r"\\w+", rule["name"]) for rule in yaml.safe_load(path.read_text())["rules"]}
    return names


def series_of(expression: str) -> set[str]:
    """Names of the series in a PromQL expression."""
    for noise in (
        r'"[^"]*"',
        r"\{[^}]*\}",
        r"\[[^\]]*\]",
        r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)",
    ):
        expression = re.sub(noise, " ", expression)
    words = re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?![\w:])(?!\s*\()", expression)
    return set(words) - {"and", "or", "unless", "bool", "offset"}


def rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def panels(path: Path) -> list[dict[str, Any]]:
    """Panels that ask something."""
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] not in ("row", "text")]


def expressions(path: Path) -> list[str]:
    if path in RULES:
        return [rule["expr"] for rule in rules(path)]
    if path in RULE_TESTS:
        return [item["series"] for test in yaml.safe_load(path.read_text())["tests"] for item in test["input_series"]]
    annotations = json.loads(path.read_text())["annotations"]["list"]
    asked = [target["expr"] for panel in panels(path) for target in panel["targets"] if "expr" in target]
    return asked + [annotation["expr"] for annotation in annotations]


@pytest.mark.parametrize("path", [*RULES, *RULE_TESTS, *DASHBOARDS], ids=lambda path: path.name)
def test_only_series_that_exist_are_asked_for(path: Path) -> None:
    recorded = {rule["record"] for rules_file in RULES for rule in rules(rules_file) if "record" in rule}
    known = re.compile("|".join(exported() | recorded))
    used = {name for expression in expressions(path) for name in series_of(expression)}

    assert used
    assert {name for name in used if not known.fullmatch(name)} == set()


def test_the_fleet_dashboard_shows_the_six_metrics_that_users_were_promised() -> None:
    shown = {
        name for expression in expressions(ROOT / "grafana/dashboards/fleet.json") for name in series_of(expression)
    }

    assert shown >= PROMISED


def test_nothing_is_listed_as_an_exporters_that_nobody_asks_for() -> None:
    used = {
        name for path in (*RULES, *DASHBOARDS) for expression in expressions(path) for name in series_of(expression)
    }

    assert used >= EXPORTERS
    assert used >= PROCESS


def test_dashboards_are_what_their_code_makes() -> None:
    command = [sys.executable, str(ROOT / "grafana/generate.py"), "--check"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)

    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_each_panel_says_what_it_shows_in_which_unit_from_a_source_that_is_there(path: Path) -> None:
    provisioned = yaml.safe_load((ROOT / "grafana/provisioning/datasources/fleet.yml").read_text())
    sources = {source["uid"] for source in provisioned["datasources"]}

    for panel in panels(path):
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] in sources, panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_statement_puts_what_clients_wrote_between_quotes_and_nowhere_else(path: Path) -> None:
    board = json.loads(path.read_text())
    typed = {v["name"]: v for v in board["templating"].get("list", [])}

    for panel in panels(path):
        for target in panel["targets"]:
            # A value with a quote in it gets two of them from the data source, if the variable is no list.
            bare = re.sub(r"'[^']*'", "''", target.get("rawSql", ""))
            assert re.findall(r"\$(?!__)\{?\w+", bare) == [], panel["title"]
            for name in re.findall(r"\$\{?(?!__)(\w+)", target.get("rawSql", "")):
                assert not typed[name].get("multi"), name
                assert not typed[name].get("includeAll"), name
            # A format takes the place of the data source's own, which doubles the quotes.
            assert re.findall(r"\$\{\w+:\w+\}|\[\[", target.get("rawSql", "")) == [], panel["title"]


def test_each_link_between_dashboards_leads_somewhere() -> None:
    boards = {board["uid"]: board for board in (json.loads(path.read_text()) for path in DASHBOARDS)}

    for path in DASHBOARDS:
        for uid, query in re.findall(r'/d/([\w-]+)(\?[^")]*)?', path.read_text()):
            assert uid in boards, f"{path.name}: /d/{uid}"
            for name in re.findall(r"var-(\w+)=", query):
                assert name in {variable["name"] for variable in boards[uid]["templating"]["list"]}
            for number in re.findall(r"viewPanel=(\d+)", query):
                assert int(number) in {panel["id"] for panel in boards[uid]["panels"]}


RUNBOOK: Final = (ROOT / "docs/runbook.md").read_text()
SECTIONS: Final = re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)
TO_DO: Final = ("What it means", "At risk", "How to look", "What to do", "Over when")


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for path in RULES for rule in rules(path) if "alert" in rule}


@pytest.mark.parametrize("name", alerts())
def test_each_alert_says_what_it_is_and_leads_to_its_section_of_the_run_book(name: str) -> None:
    alert = alerts()[name]

    assert alert["labels"]["severity"] in ("page", "ticket", "info")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert name in SECTIONS


def test_an_alert_about_a_region_leads_to_its_events() -> None:
    about = {
        name for name, alert in alerts().items() if re.search(r"\$labels\.(region|source)", str(alert["annotations"]))
    }
    links = {name: alert["annotations"]["logs_url"] for name, alert in alerts().items() if name in about}

    assert len(links) > 15
    assert all("console_url_info" in link and "region={{ . }}" in link for link in links.values())


def test_the_run_book_has_a_section_for_each_alert_and_for_nothing_else() -> None:
    assert sorted(SECTIONS) == sorted(alerts())
    for name, body in zip(SECTIONS, re.split(r"^## .+$", RUNBOOK, flags=re.MULTILINE)[1:], strict=True):
        assert [part for part in TO_DO if f"**{part}" not in body] == [], name
    anchors = {section.lower() for section in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= anchors


def test_the_run_book_names_panels_and_settings_that_exist() -> None:
    titles = {panel["title"] for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]}
    boards = {json.loads(path.read_text())["title"] for path in DASHBOARDS}
    read = {name for owner in SETTINGS.values() for name in owner.variables()} | native_defaults().keys()
    settings = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", RUNBOOK))

    assert {name for name in re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", RUNBOOK) if name not in titles | boards} == set()
    assert settings
    assert settings <= read


@pytest.mark.parametrize("name", alerts())
def test_on_normal_traffic_each_alert_is_asked_about(name: str) -> None:
    [test] = yaml.safe_load((ROOT / "prometheus/tests/normal_test.yml").read_text())["tests"]

    assert name in {case["alertname"] for case in test["alert_rule_test"] if not case.get("exp_alerts")}


def test_each_alert_is_seen_to_fire_and_to_stay_quiet() -> None:
    cases = [
        case
        for path in RULE_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]

    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts().keys()
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts().keys()


def test_each_target_is_a_service_on_a_network_with_prometheus_and_native_mode_knows_where_it_is() -> None:
    scraped = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    groups = [group for job in scraped for group in job["static_configs"]]
    targets = {target for group in groups for target in group["targets"]}
    names = {group["labels"]["instance"] for group in groups if "instance" in group.get("labels", {})}
    mapped = {
        line.split()[0]
        for line in (ROOT / "native/templates/prometheus-targets.map").read_text().splitlines()
        if line and not line.startswith("#")
    }

    assert mapped == targets | names
    for host in {target.split(":")[0] for target in targets} - {"localhost"}:
        assert set(SERVICES[host]["networks"]) & set(SERVICES["prometheus"]["networks"]), host


# ---------------------------------------------------------------- words

NO_COMPONENT: Final = re.compile(r"\b(?:(?:no|some|every)body|who(?:ever|m))\b", re.IGNORECASE)
# The folders and files whose prose follows CONTRIBUTING's rule. A further one is added here when it is rewritten.
PLAIN: Final = (
    *("bench", "chaos", "console", "consumer", "docs", "fleet", "gateway", "grafana", "integration-tests", "loadtest"),
    *("mirrormaker", "native", "producer", "prometheus", "shared", "testbed", "setup.sh"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *(
        "docker-compose.yml",
        "docker-compose.faults.yml",
        "docker-compose.secured.yml",
        "docker-compose.secured-faults.yml",
    ),
)
# Users pass it to `python -m chaos --only`.
NAME_OF_A_FAULT: Final = "records that nobody can read"


@pytest.mark.parametrize("place", PLAIN)
def test_the_subject_of_a_sentence_is_a_component(place: str) -> None:
    paths = [ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*.*")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted(paths)
        if path.suffix in {".conf", ".env", ".map", ".md", ".properties", ".py", ".sh", ".sql", ".yaml", ".yml"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if NO_COMPONENT.search(line.replace(NAME_OF_A_FAULT, ""))
    ]
    assert not found, "\n".join(["name the component instead, or use the field's word:", *found])


@pytest.mark.parametrize("script", ["integration-tests/run-integration-tests.sh", "bench/run.sh"])
def test_help_is_the_comment_at_the_scripts_head_and_nothing_of_its_code(script: str) -> None:
    head = itertools.takewhile(lambda line: line.startswith("#"), (ROOT / script).read_text().splitlines()[1:])
    shown = subprocess.run(["bash", ROOT / script, "--help"], capture_output=True, text=True, check=True).stdout

    assert shown.splitlines() == [line[2:] for line in head]


# ---------------------------------------------------------------- modules

MOST_LINES: Final = 300


@pytest.mark.parametrize("service", ["gateway", "producer", "consumer", "console"])
def test_no_module_of_a_service_is_longer_than_a_reader_holds_in_mind(service: str) -> None:
    modules = [path for path in (ROOT / service).rglob("*.py") if "tests" not in path.parts]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules}

    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}, "split it along a seam"


# ---------------------------------------------------------------- guarantees


def test_what_the_readme_calls_proof_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    tests = "\n".join(path.read_text() for path in ROOT.glob("*/**/test_*.py") if ".venv" not in path.parts)
    named = set(re.findall(r"`(test_\w+)`", readme))
    ends = set(re.findall(r"`…(\w+)`", readme))
    paths = set(re.findall(r"`((?:\w[\w-]*/)+\w+\.py)`", readme))

    assert named
    assert paths
    assert {name for name in named if f"def {name}(" not in tests} == set()
    assert {end for end in ends if f"{end}(" not in tests} == set()
    assert {path for path in paths if not (ROOT / path).exists()} == set()
