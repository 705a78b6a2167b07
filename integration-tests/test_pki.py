"""The certificates that `setup.sh` makes for a secured fleet: their names, and when they are made anew. Needs no server."""

import re
import ssl
import stat
import subprocess

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from cryptography import x509
from shell import ROOT, copy_of_the_checkout, environment, run_bash

from shared.process.tls import Certificate, name_of
from testbed.patience import patience

MAKE = "settle; MODE=native; make_run_dir; make_folders; make_certificates"
INSTALLED = "JAVA=/java POSTGRES_BIN=/postgres; mkdir -p $KAFKA_HOME $VENV; touch $KAFKA_HOME/stamp $VENV/stamp; "
SERVICES = (
    "gateway",
    "console",
    "producer-a",
    "consumer-b",
    "kafka-a",
    "mirror-to-b",
    "postgres",
    "prometheus",
    "admin",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = copy_of_the_checkout(tmp_path_factory.mktemp("pki") / "checkout")
    make(made)
    return made


def make(checkout: Path, script: str = MAKE, **more: str) -> str:
    done = run_bash(script, root=checkout, env=environment(FLEET_SECURITY="on", **more))
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(checkout: Path, service: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((checkout / f".run/tls/{service}/cert.pem").read_bytes())


def names(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


@pytest.mark.parametrize("service", SERVICES)
def test_a_part_has_a_certificate_of_its_own_for_ninety_days(checkout: Path, service: str) -> None:
    folder = checkout / ".run/tls" / service
    certificate = read(checkout, service)

    assert {f"spiffe://fleet/{service}", service, "localhost", "127.0.0.1"} <= names(certificate)
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)
    cert, key, ca = (str(folder / name) for name in ("cert.pem", "key.pem", "ca.pem"))
    context = Certificate(cert, key, ca, "SETTINGS").client()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert name_of({"subjectAltName": [("URI", f"spiffe://fleet/{service}")]}) == service


def test_no_other_user_reads_a_key_and_the_authoritys_is_the_owners(checkout: Path) -> None:
    kept = [*(checkout / ".run/tls").glob("*/*.pem"), checkout / ".run/secrets/ca.key"]

    assert len(kept) > 4 * len(SERVICES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (checkout / ".run/tls").iterdir() if path.is_dir()} == {0o700}


def test_what_is_good_is_kept_and_what_changed_or_ends_is_made_anew(checkout: Path) -> None:
    before = {service: read(checkout, service) for service in SERVICES}
    assert "certificates" not in make(checkout)
    assert {service: read(checkout, service) for service in SERVICES} == before

    said = make(checkout, APP_ALLOWED_HOSTS="logs.example.org,*.example.com")
    assert "certificates, for 90 days: gateway console\n" in said
    assert {"logs.example.org", "*.example.com"} <= names(read(checkout, "gateway"))
    assert read(checkout, "producer-a") == before["producer-a"]

    # What counts for one of them counts for all.
    few = MAKE.replace("make_certificates", "HOLDERS=(producer-a admin); make_certificates")
    said = make(checkout, few.replace("HOLDERS", "RENEW_BEFORE_DAYS=91 HOLDERS"))
    assert said.endswith("certificates, for 90 days: producer-a admin\n")
    now = read(checkout, "producer-a")
    assert now != before["producer-a"]
    make(checkout, f"{few} all")
    assert read(checkout, "producer-a") != now


def test_status_tells_what_ends_soon_and_fails_days_before(checkout: Path) -> None:
    ask = "settle; say_certificates && echo well"
    assert make(checkout, ask) == "well\n"
    soon = make(checkout, f"RENEW_BEFORE_DAYS=91; {ask}")
    assert "certificate of gateway ends on " in soon
    assert soon.endswith("well\n")
    done = run_bash(
        "settle; RENEW_BEFORE_DAYS=91 ILL_BEFORE_DAYS=91; say_certificates",
        root=checkout,
        env=environment(FLEET_SECURITY="on"),
    )
    assert done.returncode == 1


def test_a_new_authority_makes_all_anew(checkout: Path) -> None:
    old = (checkout / ".run/tls/ca.pem").read_bytes()
    (checkout / ".run/secrets/ca.key").unlink()
    make(checkout)

    assert (checkout / ".run/tls/ca.pem").read_bytes() != old
    assert {path.read_bytes() for path in (checkout / ".run/tls").glob("*/ca.pem")} == {
        (checkout / ".run/tls/ca.pem").read_bytes()
    }


def test_an_open_fleet_has_none_and_no_setting_that_names_one(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    done = run_bash(f"{MAKE}; {INSTALLED} render_all", root=checkout, env=environment())

    assert done.returncode == 0, done.stderr
    assert not (checkout / ".run/tls").exists()
    for path in (checkout / ".run/etc").iterdir():
        assert not re.search(r"https:|/tls/|rediss:|=SSL\b|sslmode=verify", path.read_text()), path.name


def test_a_secured_fleet_speaks_to_no_service_in_plain_text(checkout: Path) -> None:
    make(checkout, f"{MAKE}; {INSTALLED} render_all")
    etc = checkout / ".run/etc"

    # Beside exporters, which are on loopback, the only plain addresses are Prometheus' own and its console.
    plain = {
        line
        for path in etc.glob("*.env")
        for line in re.findall(r"^\S*(?:http|redis|kafka)://\S*$", path.read_text(), re.MULTILINE)
    }
    assert {line.split("=")[0] for line in plain} == {"CONSOLE_PROMETHEUS", "FLEET_PROMETHEUS_URL"}
    for service in ("consumer-a", "consumer-b", "console", "archive", "postgres-exporter"):
        assert "sslmode=verify-full" in (etc / f"{service}.env").read_text()
    assert "PLAINTEXT" not in (etc / "kafka-a.properties").read_text().split("# FLEET_SECURITY=on")[1]
    assert (etc / "prometheus.yml").read_text().count("scheme: https") == 4


SECURED = "docker-compose.secured.yml"
FAULTS = "docker-compose.faults.yml"


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({}, []),
        ({"FLEET_SECURITY": "on"}, [SECURED]),
        ({"FLEET_FAULTS": "on"}, [FAULTS]),
        ({"FLEET_SECURITY": "on", "FLEET_FAULTS": "on"}, [FAULTS, SECURED, "docker-compose.secured-faults.yml"]),
    ],
)
def test_a_secured_fleet_is_what_compose_is_given(settings: dict[str, str], files: list[str]) -> None:
    done = run_bash("settle; echo ${COMPOSE_FILE:-} $gateway_url", env=environment(**settings))
    scheme = "https" if SECURED in files else "http"

    said = ":".join(["docker-compose.yml", *files]) + " " if files else ""
    assert done.stdout == f"{said}{scheme}://127.0.0.1:8080\n"
    assert all((ROOT / file).is_file() for file in files)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    one_shot(folder)
    return folder


def one_shot(folder: Path, *verb: str, **more: str) -> str:
    """Run compose mode's one-shot, whose volumes are folders here."""
    given = environment(TLS_DIR=str(folder), PROMETHEUS_YML=str(ROOT / "prometheus/prometheus.yml"), **more)
    command = ["bash", str(ROOT / "fleet/jobs/pki.sh"), *verb]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=patience(60))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_in_compose_mode_a_key_is_open_to_the_group_of_its_volume_and_to_no_other_user(volumes: Path) -> None:
    kept = {path: stat.S_IMODE(path.stat().st_mode) for path in volumes.glob("*/*")}

    authority = {path.name: mode for path, mode in kept.items() if path.parent.name == "authority"}
    assert authority == {"ca.key": 0o600, "ca.pem": 0o644}
    assert {mode for path, mode in kept.items() if path.parent.name != "authority"} == {0o640}
    folders = {path.name: stat.S_IMODE(path.stat().st_mode) for path in volumes.iterdir()}
    assert folders.pop("authority") == 0o700
    assert set(folders.values()) == {0o750}
    for service in SERVICES:
        cert, key, ca = (str(volumes / service / name) for name in ("cert.pem", "key.pem", "ca.pem"))
        Certificate(cert, key, ca, "SETTINGS")


def test_a_second_run_of_the_one_shot_makes_what_changed_and_renewal_makes_all(volumes: Path) -> None:
    assert "certificates" not in one_shot(volumes)
    more = {"APP_ALLOWED_HOSTS": "logs.example.org", "BIND_ADDRESS": "[2001:db8::1]", "FLEET_MACHINE_NAMES": "DNS:m"}
    # In fault mode a proxy stands before these.
    said = one_shot(volumes, PROXIED_BY="toxiproxy", **more)
    assert said == "pki: certificates, for 90 days: gateway console kafka-a kafka-b postgres\n"
    assert "toxiproxy" in names(x509.load_pem_x509_certificate((volumes / "kafka-b/cert.pem").read_bytes()))
    certificate = x509.load_pem_x509_certificate((volumes / "gateway/cert.pem").read_bytes())
    assert {"logs.example.org", "2001:db8::1", "m", "gateway"} <= names(certificate)
    assert one_shot(volumes, "check") == ""
    said = one_shot(volumes, "renew")
    assert all(service in said for service in SERVICES)


def test_both_modes_scrape_by_tls_what_they_scrape_so(volumes: Path, checkout: Path) -> None:
    make(checkout, f"{MAKE}; {INSTALLED} render_all")
    native = yaml.safe_load((checkout / ".run/etc/prometheus.yml").read_text())["scrape_configs"]
    compose = yaml.safe_load((volumes / "prometheus/prometheus.yml").read_text())
    plain = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())

    assert compose["rule_files"] == ["/etc/prometheus/rules/*.yml"]
    assert [(job["job_name"], job.get("scheme")) for job in compose["scrape_configs"]] == [
        (job["job_name"], job.get("scheme")) for job in native
    ]
    for job in compose["scrape_configs"]:
        tls = job.pop("tls_config", {"ca_file": "/run/certificates/ca.pem"})
        assert tls["ca_file"] == "/run/certificates/ca.pem"
        job.pop("scheme", None)
    assert compose["scrape_configs"] == plain["scrape_configs"]


def test_both_modes_let_the_same_users_in_to_postgresql(volumes: Path) -> None:
    natively = (ROOT / "native/templates/pg_hba-tls.conf").read_text()

    def lines(text: str) -> list[list[str]]:
        return [line.split() for line in text.splitlines() if line and not line.startswith(("#", "local"))]

    assert lines((volumes / "postgres/pg_hba.conf").read_text()) == lines(natively.replace("127.0.0.1/32", "all"))


def test_the_fleets_own_key_is_shown_and_is_no_argument(checkout: Path, tmp_path: Path) -> None:
    program = tmp_path / "curl"
    program.write_text('#!/bin/sh\ncat >"$NOTE.input"; echo "$@" >"$NOTE"\n')
    program.chmod(0o755)
    key = checkout / ".run/secrets/key-write"
    for secret in ("", "known"):
        key.write_text(secret)
        given = environment(FLEET_SECURITY="on", NOTE=str(tmp_path / "note"))
        given["PATH"] = f"{tmp_path}:{given['PATH']}"
        done = run_bash("settle; post_event region-a '{}'; key_option write", root=checkout, env=given)
        assert done.returncode == 0, done.stderr
        line = f'header = "Authorization: Bearer {secret}"\n' if secret else ""
        assert (tmp_path / "note.input").read_text() == line
        asked = (tmp_path / "note").read_text()
        assert "known" not in asked + done.stdout
        assert f"--cacert {checkout}/.run/tls/ca.pem" in asked
        assert "https://127.0.0.1:8080/api/logs" in asked
        assert bool(done.stdout) == bool(secret)
    key.unlink()


def test_what_openssl_cannot_do_ends_the_start_with_what_it_said(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    done = run_bash(
        f"openssl() {{ echo no curve >&2; return 1; }}; {MAKE}", root=checkout, env=environment(FLEET_SECURITY="on")
    )

    assert done.returncode == 1
    assert "openssl req failed" in done.stderr
    assert "no curve" in done.stderr


def test_a_mirrors_watch_asks_by_tls(checkout: Path, tmp_path: Path) -> None:
    program = tmp_path / "openssl"
    program.write_text('#!/bin/sh\necho "$@" >"$NOTE"\nprintf "\\0\\0\\0\\052\\0\\0\\0\\001"\n')
    program.chmod(0o755)
    watch = (checkout / "mirrormaker/watch.sh").read_text().replace('main "$@"', "")
    script = tmp_path / "watch.sh"
    script.write_text(f"{watch}\nkafka_answers region-a\n")
    given = environment(
        MIRROR_TLS_FOLDER="/folder", MIRROR_REGION_A_BOOTSTRAP_SERVERS="127.0.0.1:9", NOTE=str(tmp_path / "note")
    )
    given["PATH"] = f"{tmp_path}:{given['PATH']}"
    subprocess.run(["bash", str(script)], env=given, check=True, timeout=patience(30))

    told = (tmp_path / "note").read_text()
    assert "-connect 127.0.0.1:9 -CAfile /folder/ca.pem -cert /folder/cert.pem -key /folder/key.pem" in told
