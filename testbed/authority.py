"""A certificate authority for tests. It makes what native/pki.sh makes, and what that never would."""

import ipaddress
import ssl

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.process.tls import SCHEME

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Files:
    """
    What a service has.

    Attributes:
        cert: Its certificate.
        key: Its key.
        ca: Its authority's certificate.
    """

    cert: Path
    key: Path
    ca: Path

    def settings(self) -> dict[str, Any]:
        """Return the settings of a service that is known by them."""
        return {"fleet_cert_file": str(self.cert), "fleet_key_file": str(self.key), "fleet_ca_file": str(self.ca)}

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables of a service, `gateway`, that has them on all its listeners in a fleet with `FLEET_SECURITY=on`."""
        settings = self.settings() | {"tls_cert_file": str(self.cert), "tls_key_file": str(self.key)}
        return {"FLEET_SECURITY": "on"} | {f"{service}_{name}".upper(): value for name, value in settings.items()}


class Authority:
    """
    Makes certificates.

    Args:
        folder: Where their files go.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
        self.ca = folder / "ca.pem"
        usage = {"digital_signature": False, "key_cert_sign": True, "crl_sign": True}
        cert = (
            self._begun(self._name, self._key.public_key(), 10 * DAY, DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(**usage), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca.write_bytes(cert.public_bytes(serialization.Encoding.PEM))

    def trusted(self) -> ssl.SSLContext:
        """Return the context of a client that trusts it."""
        return ssl.create_default_context(cafile=str(self.ca))

    def issue(
        self,
        service: str,
        *,
        addresses: Sequence[str] = ("127.0.0.1", "localhost"),
        named: bool = True,
        ends_in: timedelta = DAY,
    ) -> Files:
        """
        Make a service's certificate, or make it anew, in the same files.

        Args:
            service: Its name.
            addresses: Where it listens.
            named: Whether the certificate has its name in the fleet.
            ends_in: When it ends; what is negative has ended.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [_address(address) for address in addresses]
        if named:
            names.append(x509.UniformResourceIdentifier(SCHEME + service))
        cert = (
            self._begun(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service)]), key.public_key(), ends_in, 2 * DAY
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = Files(self._folder / f"{service}.pem", self._folder / f"{service}.key", self.ca)
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        files.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        return files

    def _begun(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, ends_in: timedelta, began: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(subject_name=subject, issuer_name=self._name, public_key=key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - began)
            .not_valid_after(now + ends_in)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _address(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _usage(**given: bool) -> x509.KeyUsage:
    none = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**none | given)
