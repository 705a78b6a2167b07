"""The end of a certificate, as another library has written it."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from shared.process.certificate_end import end_of

KEY: Final = ec.generate_private_key(ec.SECP256R1())


def a_certificate(end: datetime, name: str = "a", serial: int = 1) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = x509.CertificateBuilder(
        subject_name=subject, issuer_name=subject, public_key=KEY.public_key(), serial_number=serial
    )
    times = built.not_valid_before(end - timedelta(days=1)).not_valid_after(end)
    return times.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@given(
    # Times up to 2049 are written in another form than those after it.
    st.datetimes(datetime(1960, 1, 1), datetime(2400, 1, 1)),  # noqa: DTZ001 - the library wants them so
    st.text("abc", min_size=1, max_size=64),
    st.integers(1, 2**158),
)
def test_the_end_is_read_whatever_stands_before_it(end: datetime, name: str, serial: int) -> None:
    end = end.replace(microsecond=0, tzinfo=UTC)
    first, second = a_certificate(end, name, serial), a_certificate(end + timedelta(days=9))

    assert end_of(f"anything\n{first}{second}") == end.timestamp()


@given(st.integers(0, 2000))
def test_half_a_certificate_is_an_error(at: int) -> None:
    whole = a_certificate(datetime(2030, 1, 1, tzinfo=UTC)).strip()
    body, end = whole[: at % len(whole)], "-----END CERTIFICATE-----"
    with pytest.raises(ValueError, match="certificate"):
        end_of(body)
    with pytest.raises(ValueError, match="certificate"):
        # Cut before its end, and closed all the same.
        end_of(f"{body[: 27 + at % 100]}\n{end}\n")


def test_a_file_without_a_certificate_is_told() -> None:
    with pytest.raises(ValueError, match="no certificate in PEM"):
        end_of("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
