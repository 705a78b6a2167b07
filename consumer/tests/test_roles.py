"""The statements that make PostgreSQL's roles. What PostgreSQL makes of them is in integration-tests/test_roles.py."""

import base64
import hmac
import re

import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.roles import LOGINS, is_of, scram_verifier, statements

PASSWORDS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=40)
KEPT = {"logs_owner": None, "logs_migrator": None} | {login.name: scram_verifier("same") for login in LOGINS}


def test_what_is_kept_of_a_password_is_what_rfc_7677_says() -> None:
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    said = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,"
        b"i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )

    server_key = scram_verifier("pencil", salt).rpartition(":")[2]

    signature = hmac.digest(base64.b64decode(server_key), said, "sha256")
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@given(PASSWORDS, PASSWORDS)
def test_a_password_is_known_by_what_is_kept_of_it_and_no_other_one(password: str, other: str) -> None:
    kept = scram_verifier(password)

    assert is_of(password, kept)
    assert is_of(other, kept) == (other == password)


@pytest.mark.parametrize("kept", [None, "", "md5c0ffee", "SCRAM-SHA-256$x"])
def test_what_is_kept_in_another_form_is_of_no_password(kept: str | None) -> None:
    assert not is_of("same", kept)


def test_roles_that_are_there_are_not_made_again_and_keep_the_password_they_have() -> None:
    said = list(statements(KEPT, {login.name: "same" for login in LOGINS}, "logs"))

    assert not [line for line in said if line.startswith("CREATE") or " PASSWORD '" in line]


@given(PASSWORDS)
def test_no_statement_holds_a_password(password: str) -> None:
    password = f"secret {password}"
    said = "\n".join(statements({}, {login.name: password for login in LOGINS}, "logs"))

    assert password not in said
    assert len(re.findall(r"^ALTER ROLE \w+ PASSWORD 'SCRAM-SHA-256\$", said, re.MULTILINE)) == len(LOGINS)


def test_no_role_is_more_than_it_must_be_and_all_together_leave_room() -> None:
    said = list(statements({}, {}, "logs"))
    altered = [line for line in said if re.match(r"ALTER ROLE \w+ (LOGIN )?NOSUPERUSER", line)]

    assert len(altered) == len(LOGINS) + 1
    assert all("NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT" in line for line in altered)
    assert sum(login.connections for login in LOGINS) <= 100 - 20


def test_the_name_of_a_database_is_quoted() -> None:
    assert any('ON DATABASE "a""b" FROM PUBLIC' in line for line in statements({}, {}, 'a"b'))
